"""Writes what is known as ``offline.md``, with a JSON file and a picture for each table and figure."""

import json
from collections.abc import Sequence
from pathlib import Path

from paper.offline import figures, tables
from paper.offline.plan import TOWERS, WIDTH, Plan
from paper.offline.run import WIDE
from paper.offline.tables import Known
from paper.pictures import Panel, draw_curves, draw_table
from paper.published import DATA, NETWORKS
from paper.report import Table, markdown, write_json

DIFFERENCE = {"table2": "AUC, difference from none"}  # the measure that is drawn; of the others it is "difference"

HEAD = """# The paper's tables and figures, offline

Written by `sml reproduce` from [results.jsonl](results.jsonl), a line for each run; [what they show and do not show](README.md).
Of each number: the paper's, ours, and Student's 95 % interval over seeds. A difference is taken seed by seed, on the same split.
What is not measured yet is left empty.
"""

FIGURES = {
    "figure2": ("Figure 2: the logit by depth", "Test set, first seed. Line: median. Bands: from 5 % to 95 %, and from 25 % to 75 %."),
    "figure3": (
        "Figure 3: how often a neuron is active, by layer",
        "Share of the test examples on which it is above 0, in networks of several depths. Line: the median neuron. Band: 5 % to 95 %.",
    ),
    "figure4": (
        "Figure 4: how alike two examples look, by layer",
        "Mean cosine similarity of a layer's outputs on two test examples; at 1 it tells none apart. An output of zeros counts as 0.",
    ),
    "figure5": ("Figure 5: AUC and log loss by depth", "Test set. Band: 95 % interval over seeds, where there are several."),
}


def write(known: Known, folder: Path) -> None:
    """Write the page, the JSON files and the pictures."""
    parts = [HEAD, _settings(known.plan)]
    shown = (tables.table1(known, "auc"), tables.table1(known, "log_loss"), tables.table2(known))
    parts += [section(table, DIFFERENCE.get(table.name, "difference"), folder) for table in shown]
    parts.append(
        "## Table 3: the online A/B test\n\n| | |\n| --- | --- |\n| A/B test, with SML against without | not measured: it needs traffic |"
    )
    for name, (title, text) in FIGURES.items():
        panels: list[Panel] = getattr(figures, name)(known)
        _draw(panels, name, folder)
        parts.append(f"## {title}\n\n{text}\n\n![{title}]({name}.png)")
    parts += [section(tables.depth(known, measure), None, folder) for measure in tables.MEASURES]
    (folder / "offline.md").write_text("\n\n".join(part.strip() for part in parts) + "\n", encoding="utf-8")


def section(table: Table, drawn: str | None, folder: Path) -> str:
    """Write a table's JSON file, and a picture of its measure ``drawn``; give what stands on the page."""
    write_json(table, folder)
    text = f"## {table.title}\n\n{markdown(table)}"
    if drawn is None:
        return text
    draw_table(table, drawn, folder / f"{table.name}.png")
    return f"{text}\n\n![{drawn}]({table.name}.png)"


def _draw(panels: Sequence[Panel], name: str, folder: Path) -> None:
    draw_curves(panels, folder / f"{name}.png")
    curves = [
        panel._asdict()
        | {"curves": {curve: {place: of._asdict() for place, of in points.items()} for curve, points in panel.curves.items()}}
        for panel in panels
    ]
    (folder / f"{name}.json").write_text(json.dumps(curves, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _settings(plan: Plan) -> str:
    """What the networks are and how they were trained."""
    recipe = plan.recipe
    towers = ", ".join(f"{'-'.join(map(str, TOWERS[source.data]))} ({DATA[source.data]})" for source in plan.sources)
    cin, attention = ("-".join(map(str, widths)) for widths in (recipe.cin, recipe.attention))
    rows = {
        "data": ", ".join(f"{DATA[source.data]}, {source.rows:,} rows, categories of {source.least} or more" for source in plan.sources),
        "split": "8:1:1 at random, another for each seed",
        "optimiser": f"Adam, rate {recipe.rate}, batches of {recipe.batch:,}; no batch normalisation, no dropout, no weight decay",
        "epochs": f"at most {recipe.epochs}, ended by {recipe.patience} that are no better; the best on the validation set counts",
        "towers": f"{towers}; Figures 2 to 5: {WIDTH} wide, {plan.depths[0]} to {plan.depths[-1]} layers",
        "embeddings": f"{recipe.embedding} wide, from a normal distribution of spread {recipe.embedding_std}",
        "initial weights": "tower: He, biases 0; skip weights: spread 0.01; meta learner: spread 0.1/√n, bias 1; output: spread 0.05",
        "branches": f"DCN, DCN-V2: {recipe.cross_layers} cross layers; xDeepFM: {cin} feature maps; AutoInt: {attention} wide, one head",
        "wide term": f"{' and '.join(NETWORKS[network] for network in WIDE)} only",
        "seeds": f"{plan.seeds} of the tables, {plan.depth_seeds} of the figures by depth, as far as they are measured",
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows.items())])
