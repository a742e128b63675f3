"""How much memory, disk and time the sums of an experiment take, by the number of its units.

python -m benchmarks.experiments.units --units 1000000
"""

import argparse
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from stream.experiment.counting import Counting, Shown
from stream.experiment.plan import Plan
from stream.experiment.sums import Sums

BATCH = 10_000  # as a reporter reads
PLAN = Plan("exp", "control", {"control": 0.5, "treatment": 0.5}, lambda _: "control")


def main() -> None:
    """Count two impressions of each unit, then sum over the units."""
    parser = argparse.ArgumentParser(description="Measure memory, disk and time of the sums of an experiment.")
    parser.add_argument("--units", type=int, default=1_000_000)
    units = parser.parse_args().units
    random = np.random.default_rng(0)
    keys = random.integers(0, 2**64, units, dtype=np.uint64)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "exp.db"
        sums = Sums(path)
        begun = time.process_time()
        for start in range(0, 2 * units, BATCH):
            counting = Counting(PLAN, None, 0, at_once=False)
            for unit in keys[np.arange(start, start + BATCH) % units].tolist():
                counting.shown.append(Shown(unit, "treatment" if unit % 2 else "control", 1, int(unit % 8 < 1), 1.0, 0.1))
            with sums.transaction():
                sums.add(counting)
                sums.write_bins()
        seconds = time.process_time() - begun
        begun = time.process_time()
        sums.arms(PLAN.shares)
        summing = time.process_time() - begun
        sums.close()
        size = path.stat().st_size
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - keys.nbytes
    print(f"{units:,} units: {2 * units / seconds:,.0f} impressions/s of processor time, {size / 1e6:,.0f} MB of disk,", end=" ")
    print(f"{memory / 1e6:,.0f} MB of memory, {summing:.1f} s of processor time to sum over the units")


if __name__ == "__main__":
    main()
