"""Made-up files in the formats of Kaggle: of few values, so that some are frequent, some rare and some missing."""

from pathlib import Path

import numpy as np

from paper.offline.dataset import FORMATS

ROWS = 500


def write(path: Path, name: str, rows: int = ROWS, seed: int = 0) -> list[dict[str, str]]:
    """Write a file, and return its rows as text."""
    form, random = FORMATS[name], np.random.default_rng(seed)
    table = [
        {form.label: str(random.integers(2))}
        | {field: "" if random.random() < 0.2 else str(random.integers(-2, 60)) for field in form.numeric}
        | {field: "" if random.random() < 0.1 else f"{int(random.exponential(5)):x}" for field in form.categorical}
        for _ in range(rows)
    ]
    lines = [form.delimiter.join(row.values()) for row in table]
    if form.header:
        table_header = form.delimiter.join(["id", *table[0]])
        lines = [table_header, *(f"{number}{form.delimiter}{line}" for number, line in enumerate(lines))]
    path.write_text("\n".join(lines) + "\n")
    return table
