"""Accuracy beside what people would pick instead, on recorded logs, under the usual and the served protocol of ``sml evaluate``.

    uv sync --group bench
    sml init clicks.csv.gz --label click --time ts -o clicks.toml
    python -m benchmarks.accuracy clicks.csv.gz clicks.toml [MORE.csv MORE.toml …]

prints a table for each log and protocol and draws FILE.svg. Every run is kept in results.jsonl, and none that stands there is done again.
"""

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from benchmarks.accuracy.contenders import BASE_RATE, CONTENDERS, OURS, Contender, changed
from benchmarks.accuracy.recorded import RecordedLog, recorded, schedule
from benchmarks.accuracy.report import draw, table
from benchmarks.accuracy.results import Result, append_result, read_results
from service.commands.evaluation.evaluate import USUAL, Protocol, protocol_of
from service.settings import Settings, load


def main() -> None:
    """Run what is missing, then print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="recorded logs, each followed by its settings")
    parser.add_argument("--seeds", type=int, default=10, help="of contenders in which chance has a part")
    parser.add_argument("--rows", type=int, help="of each log, the first; default all")
    parser.add_argument("--only", nargs="*", default=[""], help="run contenders whose name begins so; what stands there is shown with them")
    parser.add_argument("--also", nargs="*", default=[], help="""SML with other settings of its model, such as 'network = "dcn_v2"'""")
    parser.add_argument("--draw", action="store_true", help="only print and draw what results.jsonl holds")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="the folder of results.jsonl and the pictures")
    arguments = parser.parse_args()
    also = dict(map(changed, arguments.also))
    chosen = {name: each for name, each in CONTENDERS.items() if name.startswith(tuple(arguments.only))} | also
    arguments.output.mkdir(parents=True, exist_ok=True)
    file = arguments.output / "results.jsonl"
    for path, config in zip(arguments.files[::2], map(load, arguments.files[1::2]), strict=True):
        name = path.name.partition(".")[0]
        if not arguments.draw:
            run_missing(file, name, recorded(path, config, arguments.rows), chosen, range(arguments.seeds))
        results = read_results(file)
        found = [
            [results[key] for each in CONTENDERS | also if (key := (name, protocol.name, each)) in results]
            for protocol in protocols(config)
        ]
        comparable = [each for each in found if {OURS, BASE_RATE} <= {result.contender for result in each}]
        for each in comparable:
            print(*table(each), "", sep="\n", flush=True)
        if comparable:
            draw([*chain(*comparable)], arguments.output / f"{name}.svg")


def protocols(settings: Settings) -> list[Protocol]:
    """Return the protocols that can be followed: without a time there is only the usual one."""
    return [*([protocol_of(settings, "served")] if settings.data.timed else []), USUAL]


def run_missing(file: Path, name: str, log: RecordedLog, contenders: Mapping[str, Contender], seeds: Sequence[int]) -> None:
    """Measure each contender that the file has no result of, under each protocol, and add it."""
    for protocol in protocols(log.settings):
        known = schedule(log, protocol)
        scored = known > 0
        for each, contender in contenders.items():
            if (name, protocol.name, each) in read_results(file):
                continue
            print(name, protocol.name, each, sep=", ", file=sys.stderr, flush=True)
            learn = contender.prepare(log, known, seeds if contender.by_chance else seeds[:1])
            start = time.process_time()
            predictions = learn()
            seconds = time.process_time() - start
            append_result(file, Result.of((name, protocol.name, each), predictions[:, scored], log.labels[scored], seconds))


if __name__ == "__main__":
    main()
