"""Accuracy beside what people would pick instead, on recorded logs, under the usual and the served protocol of ``sml evaluate``.

    uv sync --group bench
    sml init clicks.csv.gz --label click --time ts -o clicks.toml
    python -m benchmarks.accuracy clicks.csv.gz clicks.toml [MORE.csv MORE.toml …]

prints a table for each log and protocol and draws FILE.svg. Every run is kept in results.jsonl, and none that stands there is done again.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy.contenders import CONTENDERS, Contender, changed
from benchmarks.accuracy.recorded import Ints, RecordedLog, recorded, schedule
from benchmarks.accuracy.report import draw, table
from benchmarks.accuracy.results import Result, append_result, read_results
from service.commands.evaluate import USUAL, Protocol, protocol_of
from service.settings import Settings, load


def main() -> None:
    """Run what is missing, then print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", help="recorded logs, each followed by its settings")
    parser.add_argument("--seeds", type=int, default=10, help="of contenders in which chance has a part")
    parser.add_argument("--rows", type=int, help="of each log, the first; default all")
    parser.add_argument("--only", nargs="*", default=[""], help="contenders whose name begins so")
    parser.add_argument("--also", nargs="*", default=[], help="""SML with other settings of its model, such as 'network = "dcn_v2"'""")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="the folder of results.jsonl and the pictures")
    arguments = parser.parse_args()
    contenders = {name: each for name, each in CONTENDERS.items() if name.startswith(tuple(arguments.only))}
    contenders |= dict(map(changed, arguments.also))
    file = arguments.output / "results.jsonl"
    for path, config in zip(arguments.files[::2], map(load, arguments.files[1::2]), strict=True):
        name = path.name.partition(".")[0]
        log = recorded(path, config, arguments.rows)
        found = [
            run(
                file,
                (name, protocol.name, each),
                log,
                schedule(log, protocol),
                contender,
                range(arguments.seeds),
            )
            for protocol in protocols(config)
            for each, contender in contenders.items()
        ]
        for protocol in protocols(config):
            print(*table([each for each in found if each.protocol == protocol.name]), "", sep="\n", flush=True)
        draw(found, arguments.output / f"{name}.svg")


def protocols(settings: Settings) -> list[Protocol]:
    """Return the protocols that can be followed: without a time there is only the usual one."""
    return [*([protocol_of(settings, "served")] if settings.data.timed else []), USUAL]


def run(file: Path, name: tuple[str, str, str], log: RecordedLog, known: Ints, contender: Contender, seeds: Sequence[int]) -> Result:
    """Return a contender's result, from the file if it is there, else measured, and then it is."""
    results = read_results(file)
    if name not in results:
        print(*name, sep=", ", file=sys.stderr, flush=True)
        learn = contender.prepare(log, known, seeds if contender.by_chance else seeds[:1])
        start = time.process_time()
        predictions = learn()
        seconds = time.process_time() - start
        results[name] = Result.of(name, predictions[:, known > 0], log.labels[known > 0], seconds)
        append_result(file, results[name])
    return results[name]


if __name__ == "__main__":
    main()
