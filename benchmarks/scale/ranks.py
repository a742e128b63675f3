"""Two ranks beside one: examples a second, rank 0's processor time, bytes that are exchanged for an example, and the digest of one process.

    uv sync --extra torch
    python -m benchmarks.scale.ranks clicks.csv.gz clicks.toml --rows 40000

The examples are encoded beforehand: what is measured is learning, the exchange and the merge. One rank and two take turns. By processor
time two ranks are as much quicker as they would be on cores that nobody else uses, if no rank had to wait for another.
"""

import argparse
import time
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median

from benchmarks.accuracy.recorded import RecordedLog, recorded
from model.online import OnlineModel
from model.rounds import OneProcess, Part, split
from service.settings import load
from stream.learn.ranks.groups import Processes
from stream.learn.ranks.leader import PART, Leader


def learn(model: OnlineModel, ranks: OneProcess | Leader, parts: list[Part], count: int) -> tuple[float, float]:
    """Learn each part in a round of ``count`` ranks; return the examples a second, and those of a second of this process's own time."""
    start, used = time.perf_counter(), time.process_time()
    for part in parts:
        ranks.learn(model, [part.between(each.start, each.stop) for each in split(len(part.labels), count)])
    examples = sum(len(part.labels) for part in parts)
    return examples / (time.perf_counter() - start), examples / (time.process_time() - used)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("settings", type=Path)
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--part", type=int, default=PART)
    arguments = parser.parse_args()
    log, count = recorded(arguments.file, load(arguments.settings), arguments.rows), arguments.ranks
    alone, model, twin = (OnlineModel(log.settings.spec) for _ in range(3))
    leader = Leader(count, partial(Processes, count), mature=0, part=arguments.part)
    turns = turns_of(log, leader.batch)
    while leader.ready(model, leader.batch) == 1:
        time.sleep(0.1)
    speeds = []
    for turn in turns:
        sent = leader.bytes
        speeds.append((*learn(alone, OneProcess(), turn, 1), *learn(model, leader, turn, count)))
        bytes_each = (leader.bytes - sent) / sum(len(part.labels) for part in turn)
    leader.close()
    learn(twin, OneProcess(), [*chain(*turns)], count)
    one, of_one, several, of_several = (median(each) for each in zip(*speeds[1:], strict=True))  # the first turn is a warm-up
    same = "the same digest as one process" if model.digest() == twin.digest() else "ANOTHER DIGEST"
    quicker = f"{several / one:.2f} times, by processor time {of_several / of_one:.2f}"
    print(f"1 rank {one:,.0f}/s, {count} ranks {several:,.0f}/s: {quicker}; {bytes_each:,.0f} bytes an example; {same}")


def turns_of(log: RecordedLog, batch: int) -> list[list[Part]]:
    """Return the examples in six turns of rounds."""
    whole, rounds = Part(log.features, log.labels, None, None), len(log) // batch
    parts = [whole.between(n * batch, (n + 1) * batch) for n in range(rounds)]
    return [parts[turn.start : turn.stop] for turn in split(rounds, 6)]


if __name__ == "__main__":
    main()
