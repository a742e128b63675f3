"""What torchrun starts in a test: a learner on the log in a folder, and the rank that learns with it, which it kills once."""

import os
import signal
import sys
from contextlib import closing
from pathlib import Path

from stream.learn.ranks.groups import assist_torchrun, torchrun
from stream.learn.ranks.leader import Leader
from tests.stream.learning import learner, opened


def main(folder: Path) -> None:
    """Be the rank that the environment says."""
    other, restarts = folder / "pid", os.environ["TORCHELASTIC_RESTART_COUNT"]
    if int(os.environ["RANK"]):
        other.write_text(str(os.getpid()))
        assist_torchrun()
        return
    with opened(folder) as log, closing(Leader(2, torchrun(), mature=0, part=64, again=0.0)) as leader:

        def kill() -> bool:
            if leader.rounds >= 4 and restarts == "0":
                os.kill(int(other.read_text()), signal.SIGKILL)
            return False

        learner(log, folder, ranks=leader, publish_every=0.001).run(kill, until_caught_up=True)
        (folder / "restarts").write_text(restarts)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
