"""A process that counts an experiment in small batches, and says each on stdout: ``python -m tests.stream.experiment.counter URL PATH``."""

import sys
from pathlib import Path

from stream.experiment import reporter
from stream.experiment.plan import Plan
from stream.experiment.sums import Sums
from stream.log.sqlite.log import SqliteLog
from tests.stream.experiment.experiments import PLAN, TOPICS, USER


def plan() -> Plan:
    """Return the plan, and say that a batch is about to be counted."""
    sys.stdout.write("batch\n")
    sys.stdout.flush()
    return PLAN


if __name__ == "__main__":
    reporter.BATCH = 100
    with SqliteLog(sys.argv[1]) as log:
        reporter.Reporter(log, TOPICS, Sums(Path(sys.argv[2])), plan, unit=USER).run(lambda: False, until_caught_up=True)
    sys.stdout.write("done\n")
