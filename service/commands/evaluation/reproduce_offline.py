"""``sml reproduce``: encode the files of the paper's data sets, unless they are encoded already, and reproduce the study on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from paper.offline.dataset import EncodedFile
from paper.offline.preprocess import encode
from paper.offline.study import PARTS, OfflineStudy
from paper.offline.train import Outcome, Recipe
from paper.reproduce import Done, reproduce
from paper.runs import Results
from service.screen import counting


class Raw(NamedTuple):
    """A data set as it was downloaded."""

    path: Path
    least: int  # occurrences of a category that is kept


def reproduce_offline(
    files: Mapping[str, Raw],
    cache: Path,
    *,
    batch: int,
    epochs: int,
    seeds: int,
    depth_seeds: int,
    depths: Sequence[int],
    parts: Sequence[str] | None,
    pages: Path,
    most: int | None,
    jobs: int,
) -> Done:
    """Make the tables and figures.

    Args:
        files: by the name of their data set.
        cache: the folder of the encoded files.
        batch: examples in a step.
        epochs: train for at most so many.
        seeds: how many of the tables.
        depth_seeds: how many of the figures by depth.
        depths: numbers of hidden layers in those figures.
        parts: which to make; None makes all.
        pages: the folder of the results and the page.
        most: make at most so many runs; None makes all.
        jobs: make so many at a time.
    """
    study = OfflineStudy(
        results=Results(pages / "results.jsonl", Outcome),
        seeds=seeds,
        depth_seeds=depth_seeds,
        depths=list(depths),
        sources={name: EncodedFile.open(encode(raw.path, name, raw.least, cache, counting)) for name, raw in files.items()},
        recipe=Recipe(batch=batch, epochs=epochs),
        parts=parts or PARTS,
    )
    return reproduce(study, pages, most, jobs)
