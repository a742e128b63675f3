"""``sml reproduce``: the options of the paper's tables and figures; ``paper`` makes them."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.program import Json, answer

if TYPE_CHECKING:
    from paper.plan import Source

Criteo = Annotated[Path | None, typer.Option(help="Criteo's train.txt, or a sample in its format, gzipped or not.")]
Avazu = Annotated[Path | None, typer.Option(help="Avazu's train.csv, or a sample in its format, gzipped or not.")]


class Part(StrEnum):
    """What can be made by itself."""

    TABLE_1 = "table1"
    TABLE_2 = "table2"
    DEPTH = "depth"


def reproduce(
    *,
    criteo: Criteo = None,
    avazu: Avazu = None,
    criteo_least: Annotated[int, typer.Option(min=1, help="Occurrences from which a category is kept.")] = 11,
    avazu_least: Annotated[int, typer.Option(min=1, help="Occurrences from which a category is kept.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Examples in a step; take fewer for a small sample.")] = 10_000,
    epochs: Annotated[int, typer.Option(min=1, help="Train for so many at most.")] = 20,
    seeds: Annotated[int, typer.Option(min=1, help="Of the tables.")] = 5,
    depth_seeds: Annotated[int, typer.Option(min=1, help="Of the figures by depth.")] = 1,
    depths: Annotated[str, typer.Option(help="Of the figures by depth.")] = "1,2,4,8,16,27,32,64,100",
    only: Annotated[list[Part] | None, typer.Option(help="Only this part; may be given more than once.")] = None,
    most: Annotated[int | None, typer.Option(min=0, help="Make so many runs at most; 0 only writes the page.")] = None,
    cache: Annotated[Path, typer.Option(help="The folder of what is encoded.")] = Path("data/paper"),
    pages: Annotated[Path, typer.Option(help="The folder of the results and the page.")] = Path("benchmarks/paper"),
    as_json: Json = False,
) -> None:
    """Make the paper's tables and figures.

    Six networks, every skip term, every depth. A run that has ended is kept: after a kill, the same command goes on.

    \b
        sml reproduce --criteo train.txt --avazu train.csv
        sml reproduce --avazu avazu_sample.csv.gz --avazu-least 3 --batch 1000 --only table1
    """
    from paper.offline import reproduce as run
    from paper.plan import PARTS, Plan
    from paper.run import Recipe

    sources = [*_encoded("criteo", criteo, criteo_least, cache), *_encoded("avazu", avazu, avazu_least, cache)]
    if not sources:
        raise typer.BadParameter("got neither --criteo nor --avazu, expected one at least")
    layers = [int(depth) for depth in depths.split(",")]
    plan = Plan(sources, Recipe(batch=batch, epochs=epochs), seeds, depth_seeds, layers, only or PARTS)
    answer(run(plan, pages, most)._asdict(), as_json)


def _encoded(name: str, path: Path | None, least: int, cache: Path) -> "list[Source]":
    """Encode a file, unless it is encoded already."""
    from paper.plan import Source
    from paper.preprocess import encode
    from service.progress import counting

    return [Source.open(encode(path, name, least, cache, counting))] if path else []
