"""Tables and pictures of the results.

Axes: S seeds, B blocks.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.accuracy.contenders import BASE_RATE, OURS
from benchmarks.accuracy.results import START, Difference, Result, difference

HEADER = (
    f"| | log loss | NE | AUC | calibration | SML's, against it | first {START:,}: log loss | SML's, against it | examples/s |\n"
    "| --- | ---: | ---: | ---: | ---: | --- | ---: | --- | ---: |"
)


def table(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of the table of one log under one protocol."""
    ours = next(result for result in results if result.contender == OURS)
    yield f"**{ours.log}**, protocol `{ours.protocol}`, {ours.examples:,} examples scored\n"
    yield HEADER
    for each in results:
        scores = f"{each.log_loss:.4f} | {each.normalized_entropy:.4f} | {each.auc:.4f} | {each.calibration:.3f}"
        against = [""] * 2 if each is ours else [told(difference(ours.blocks, each.blocks)), told(difference(ours.start, each.start))]
        start = f"{np.mean(each.start):.4f}"
        yield f"| {each.contender} | {scores} | {against[0]} | {start} | {against[1]} | {round(each.per_second, -2):,.0f} |"


def told(of: Difference | None) -> str:
    """Return a difference in percent."""
    return "" if of is None else f"{of.mean:+.1%} ({of.low:+.1%} to {of.high:+.1%})"


def draw(results: Sequence[Result], path: Path) -> None:
    """Draw the log loss so far over the stream of one log, as a share of the click rate's, for each protocol."""
    import matplotlib as mpl  # noqa: PLC0415 - only who draws needs it
    from matplotlib.figure import Figure  # noqa: PLC0415

    mpl.rcParams["svg.hashsalt"] = "sml"
    protocols = list(dict.fromkeys(result.protocol for result in results))
    canvas = Figure(figsize=(6.2 * len(protocols), 4), layout="constrained")
    for axes, protocol in zip(canvas.subplots(1, len(protocols), sharey=True, squeeze=False)[0], protocols, strict=True):
        curves = {each.contender: so_far(each) for each in results if each.protocol == protocol}
        for name, curve in curves.items():
            if name != BASE_RATE:
                axes.plot(
                    np.linspace(0, 1, len(curve) + 1)[1:], curve / curves[BASE_RATE], label=name, linewidth=2.2 if name == OURS else 1.1
                )
        axes.set_title(f"{results[0].log}, {protocol}")
        axes.set_xlabel("share of the stream")
        axes.set_ylim(top=1.02)
    canvas.axes[0].set_ylabel("log loss so far / that of the click rate")
    canvas.axes[0].legend(fontsize=7)
    canvas.savefig(path, metadata={"Date": None})


def so_far(result: Result) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """Return the mean log loss up to the end of each block, ``(B,)``, over all seeds."""
    blocks = np.array(result.blocks).mean(0)
    return np.asarray(np.cumsum(blocks) / np.arange(1, len(blocks) + 1))
