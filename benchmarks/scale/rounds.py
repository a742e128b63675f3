"""What sharing costs in log loss: ranks simulated in one process, beside one rank, on recorded logs.

    python -m benchmarks.scale.rounds clicks.csv.gz clicks.toml [MORE.csv MORE.toml …] --seeds 10

Each example is predicted before its rank learns it, from the base of its round and what the rank has learned since. The weights are bit
for bit those of as many processes. The loss is that of the examples after those that one rank learns alone.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.accuracy.recorded import Floats, RecordedLog, recorded
from model.evaluation.scores import log_losses
from model.online import OnlineModel
from model.rounds import OneProcess, Part, split
from service.settings import load
from stream.learn.ranks.leader import PART


def losses(log: RecordedLog, seed: int, ranks: int, size: int, alone: int) -> Floats:
    """Return the log loss of each example, ``(N,)``, where so many ranks share what comes after the first ``alone``."""
    model = log.settings.model.model_copy(update={"seed": seed})
    learner, learn = OnlineModel(log.settings.model_copy(update={"model": model}).spec), OneProcess().learn
    whole = Part(log.features, log.labels, None, None)
    logits = [learner.learn(*whole.between(0, alone)).logits]
    for start in range(alone, len(log), ranks * size):
        count = min(ranks * size, len(log) - start)
        learned, _ = learn(learner, [whole.between(start + part.start, start + part.stop) for part in split(count, ranks)])
        logits.append(learned.logits)
    return log_losses(np.concatenate(logits), log.labels)


def main() -> None:
    """Print a row for each log, number of ranks and number of examples that one learns alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="recorded logs, each followed by its settings")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rows", type=int, help="of each log, the first; default all")
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--alone", type=int, nargs="+", default=[0, 5_000, 10_000, 20_000, 40_000, 80_000])
    parser.add_argument("--part", type=int, default=PART, help="examples of a rank in a round")
    arguments = parser.parse_args()
    for path, config in zip(arguments.files[::2], map(load, arguments.files[1::2]), strict=True):
        log, name = recorded(path, config, arguments.rows), path.name.partition(".")[0]
        sequential = [losses(log, seed, 1, len(log), len(log)) for seed in range(arguments.seeds)]
        for ranks in arguments.ranks:
            for alone in (each for each in arguments.alone if each < 0.9 * len(log)):
                start = time.process_time()
                shared = [losses(log, seed, ranks, arguments.part, alone) for seed in range(arguments.seeds)]
                seconds = (time.process_time() - start) / arguments.seeds
                worse = [100 * (a[alone:].mean() / b[alone:].mean() - 1) for a, b in zip(shared, sequential, strict=True)]
                spread = f"± {2 * np.std(worse, ddof=1) / len(worse) ** 0.5:.3f}" if len(worse) > 1 else ""
                print(f"| {name} | {ranks} | {alone:,} | {np.mean(worse):+.3f} {spread} % | {seconds:.1f} s |", flush=True)


if __name__ == "__main__":
    main()
