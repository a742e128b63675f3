"""``sml reproduce``: the options of the paper's tables and figures."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.program import Json, answer

Criteo = Annotated[Path | None, typer.Option(help="Criteo's train.txt, or a sample in its format, gzipped or not.")]
Avazu = Annotated[Path | None, typer.Option(help="Avazu's train.csv, or a sample in its format, gzipped or not.")]
KuaiRand = Annotated[Path | None, typer.Option(help="KuaiRand-Pure as CSV, gzipped or not; for --online only.")]


class Part(StrEnum):
    """A part that can be made by itself."""

    TABLE_1 = "table1"
    TABLE_2 = "table2"
    DEPTH = "depth"


def reproduce(
    *,
    criteo: Criteo = None,
    avazu: Avazu = None,
    kuairand: KuaiRand = None,
    online: Annotated[bool, typer.Option("--online", help="Run in a stream: one pass, one example a step.")] = False,
    criteo_least: Annotated[int, typer.Option(min=1, help="Keep a category of so many occurrences or more.")] = 11,
    avazu_least: Annotated[int, typer.Option(min=1, help="Keep a category of so many occurrences or more.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Examples in a step; use fewer for a small sample.")] = 10_000,
    epochs: Annotated[int, typer.Option(min=1, help="Train for at most so many epochs.")] = 20,
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds of the tables, and of everything online; default: 5, online 10.")] = None,
    depth_seeds: Annotated[int, typer.Option(min=1, help="Seeds of the figures by depth.")] = 1,
    depths: Annotated[str, typer.Option(help="Numbers of hidden layers in the figures by depth.")] = "1,2,4,8,16,27,32,64,100",
    only: Annotated[list[Part] | None, typer.Option(help="Make only this part; may be given more than once.")] = None,
    most: Annotated[int | None, typer.Option(min=0, help="Make at most so many runs; 0 only writes the page.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Make so many runs at a time, each in one thread; a single one uses every core.")] = 1,
    cache: Annotated[Path, typer.Option(help="The folder of the encoded files.")] = Path("data/paper"),
    pages: Annotated[Path, typer.Option(help="The folder of the results and the page.")] = Path("benchmarks/paper"),
    as_json: Json = False,
) -> None:
    """Make the paper's tables and figures.

    Six networks, every skip term, every depth. A finished run is kept: after a kill, the same command goes on where it was.

    \b
        sml reproduce --criteo train.txt --avazu train.csv
        sml reproduce --avazu avazu_sample.csv.gz --avazu-least 3 --batch 1000 --only table1
        sml reproduce --online --avazu avazu_sample.csv.gz --kuairand kuairand_pure.csv.gz
    """
    if online:
        files = {name: path for name, path in (("avazu", avazu), ("kuairand", kuairand), ("criteo", criteo)) if path}
        answer(_online(files, seeds or 10, pages, most, jobs), as_json)
        return
    from service.commands.evaluation.reproduce_offline import Raw, reproduce_offline

    data_sets = {name: Raw(path, least) for name, path, least in (("criteo", criteo, criteo_least), ("avazu", avazu, avazu_least)) if path}
    if not data_sets:
        raise typer.BadParameter("got neither --criteo nor --avazu, expected one at least")
    done = reproduce_offline(
        data_sets,
        cache,
        batch=batch,
        epochs=epochs,
        seeds=seeds or 5,
        depth_seeds=depth_seeds,
        depths=[int(depth) for depth in depths.split(",")],
        parts=only,
        pages=pages,
        most=most,
        jobs=jobs,
    )
    answer(done._asdict(), as_json)


def _online(files: dict[str, Path], seeds: int, pages: Path, most: int | None, jobs: int) -> dict[str, Any]:
    """Make the tables and figures of the stream."""
    from service.commands.evaluation.reproduce_online import reproduce_online

    if not files:
        raise typer.BadParameter("got no file, expected --avazu, --kuairand or --criteo")
    return reproduce_online(files, seeds, pages, most, jobs)._asdict()
