"""A recorded log row by row and in columns, and its records with and without dictionaries, in turn: rows a second of processor time.

python -m benchmarks.learning.columns LOG.csv.gz --config sml.toml
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from model.encoding.features import Encoder
from service.commands.evaluation.evaluate import Evaluation
from service.settings import Settings, load
from stream.ahead import ahead
from stream.files.columns import LoggedBlock, read_blocks
from stream.files.rows import read
from stream.learn.field_values import FieldValues
from stream.records.events import Example, decode_example, encode

Reader: TypeAlias = Callable[[Path, Settings], Iterable[LoggedBlock]]

ROWS, BATCH = 20_000, 4_096  # records; rows encoded together
BATCHES = (1, 10, 512, 4_096)  # records decoded together


def in_rows(path: Path, settings: Settings) -> Iterable[LoggedBlock]:
    """Read row by row."""
    rows = read(path, settings.data)
    while batch := list(islice(rows, BATCH)):
        yield LoggedBlock.of(batch)


def in_columns(path: Path, settings: Settings) -> Iterable[LoggedBlock]:
    """Read in columns."""
    return read_blocks(path, settings.data, [field.name for field in settings.spec.fields])


def measured(name: str, sides: dict[str, Callable[[], int]], repeats: int) -> None:
    """Print the median speed of each side, measured in turn; a side returns how many rows it took."""
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, work in sides.items():
            start = time.process_time()
            speeds[side].append(work() / (time.process_time() - start))
    print(f"| {name} | " + " | ".join(f"{side} {statistics.median(found):,.0f}" for side, found in speeds.items()) + " |", flush=True)


def decoding(path: Path, settings: Settings, repeats: int) -> None:
    """Measure decoding and encoding the records of a file's rows."""
    encoder, fields = Encoder(settings.spec.fields), FieldValues(settings.spec.fields)
    known = {field.name for field in settings.spec.fields}
    values = [
        encode(
            Example(str(row.number), row.time, {name: row.features[name] for name in row.features.keys() & known}, 1 if row.label else 0)
        )
        for row in islice(read(path, settings.data), ROWS)
    ]
    for size in BATCHES:
        records = values[: size * 2_000]

        def dictionaries(records: list[bytes] = records, size: int = size) -> int:
            for start in range(0, len(records), size):
                examples = [decode_example(value) for value in records[start : start + size]]
                encoder.encode([each.features for each in examples], [each.time for each in examples])
            return len(records)

        def structs(records: list[bytes] = records, size: int = size) -> int:
            for start in range(0, len(records), size):
                examples: list[Any] = [fields.decode(value) for value in records[start : start + size]]
                encoder.encode(fields.of(examples), [each.time for each in examples])
            return len(records)

        measured(f"{size} records", {"dictionaries": dictionaries, "structs": structs}, repeats)


def main() -> None:
    """Measure a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--config", type=Path, default=Path("sml.toml"))
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    path, settings = options.path, load(options.config)
    sides: dict[str, Reader] = {"rows": in_rows, "columns": in_columns}
    encoder = Encoder(settings.spec.fields)

    def only_read(reader: Reader) -> int:
        return sum(map(len, reader(path, settings)))

    def read_and_encode(reader: Reader) -> int:
        return sum(len(block) for block in reader(path, settings) if block.encoded(encoder))

    def learn(reader: Reader) -> int:
        evaluation = Evaluation(settings.spec)
        for block in ahead(map(evaluation.encoded, reader(path, settings))):
            evaluation.learn(block)
        return evaluation.model.examples

    learn(in_columns)  # compiles
    for name, work in {"read": only_read, "read, encode": read_and_encode, "read, encode, learn": learn}.items():
        measured(name, {side: partial(work, reader) for side, reader in sides.items()}, options.repeats)
    decoding(path, settings, options.repeats)


if __name__ == "__main__":
    main()
