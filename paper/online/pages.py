"""Writes what is known of the stream as ``online.md``, with a JSON file for each table, and pictures of the tables and figures."""

from pathlib import Path

from paper.offline.pages import section
from paper.offline.plan import SML
from paper.online import figures, tables
from paper.online.bootstrap import RESAMPLES
from paper.online.passes import PROBES
from paper.online.plan import DEEP, TOWER, WIDTH, Plan
from paper.online.stream import PREFIX, ROWS, SAMPLES, USER_GROUPS
from paper.pictures import Panel, draw_curves

HEAD = f"""# The paper's claims in a stream

Written by `sml reproduce --online` from [online.jsonl](online.jsonl), a line for each pass;
[what it shows and does not show](online_notes.md).

One pass, one example a step, predicted before learned. At least the first {PREFIX:.0%} of each sample are learned and never scored; the
tower's rate and accumulator were chosen on them. Tower {"-".join(map(str, TOWER))}, embeddings 8 wide, Adagrad, wide term; the rest as
`sml init --all` has it.

A number is the mean over seeds. In brackets: the middle 95 % of {RESAMPLES:,} resamples, each of as many seeds and as many blocks of
the stream as there are, drawn with replacement, with log loss and AUC worked out again; a difference is taken on the same seeds and blocks.
"By user" draws {USER_GROUPS} groups of users in place of days. The paper's numbers stand beside ours to compare directions: they are of
more data, learned in batches and in several passes. What is not measured yet is left empty.
"""

FIGURES = {
    "online_figure2": (
        "Figure 2: the logit by depth",
        f"At the end of the stream, first seed, over {PROBES} examples. Line: median.",
        figures.figure2,
    ),
    "online_figure3": (
        "Figure 3: how often a neuron is active",
        f"Share of {PROBES} examples on which it is above 0, by layer, first seed. Line: median neuron. Band: 5 % to 95 % of neurons.",
        figures.figure3,
    ),
    "online_figure4": (
        "Figure 4: how alike two examples look",
        f"Mean cosine similarity between a layer's outputs on two of {PROBES} examples, first seed; 1: it no longer tells them apart.",
        figures.figure4,
    ),
    "online_figure5": ("Figure 5: AUC and log loss by depth", "Over the whole pass. Band: as in the tables.", figures.figure5),
    "online_figure5_stream": (
        "Figure 5, as the stream goes by",
        "AUC within each block of time, the mean over seeds.",
        figures.figure5_stream,
    ),
}


def write(plan: Plan, folder: Path) -> None:
    """Write the page, the JSON files and the pictures."""
    parts = [HEAD, _samples(plan), _chosen(plan)]
    parts += [section(tables.table1(plan, measure), "difference", folder) for measure in tables.MEASURES]
    parts.append(section(tables.table2(plan), "AUC, difference from none", folder))
    parts.append(section(tables.hindsight(plan), "difference", folder))
    for name, (title, text, make) in FIGURES.items():
        panels: list[Panel] = [panel for panel in make(plan) if any(panel.curves.values())]
        if panels:
            draw_curves(panels, folder / f"{name}.png")
            parts.append(f"## {title}\n\n{text}\n\n![{title}]({name}.png)")
    parts += [section(tables.depth(plan, measure), None, folder) for measure in ("auc", "log_loss")]
    (folder / "online.md").write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


def _samples(plan: Plan) -> str:
    lines = ["| data | examples | learned, not scored | scored | clicked | blocks | order |", "| --- | --- | --- | --- | --- | --- | --- |"]
    for data, stream in plan.streams.items():
        sample, scored = SAMPLES[data], stream.labels[stream.scored :]
        what = f"{sample.block // 3_600_000} hours" if sample.block else f"{ROWS:,} rows"
        order = "of time" if stream.ordered else "drawn anew for each seed"
        counts = f"{len(stream.labels):,} | {stream.scored:,} | {len(scored):,} | {scored.mean():.1%}"
        lines.append(f"| {sample.title} | {counts} | {stream.blocks.max() + 1} of {what} | {order} |")
    return "\n".join(lines)


def _chosen(plan: Plan) -> str:
    lines = ["| data | tower | tower_rate, tower_accumulator without SML | with a skip term |", "| --- | --- | --- | --- |"]
    for data in plan.streams:
        for deep, what in (
            (False, f"below {DEEP // 2} layers, chosen at {len(TOWER)}"),
            (True, f"from {DEEP // 2} layers, chosen at {DEEP}"),
        ):
            found = [plan.chosen(data, skip, deep=deep) for skip in ("none", SML)]
            shown = " | ".join(f"{tower.rate}, {tower.accumulator}" for tower in found)
            lines.append(f"| {SAMPLES[data].title} | {what}, {WIDTH} wide | {shown} |")
    return "\n".join(lines)
