"""``sml explain``: the terms of a prediction, in lines that add up."""

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from service.cli.program import CONFIG, Arm, Config, Json, answer, settings_of
from service.telemetry.log_lines import printable


def explain(
    request: Annotated[typer.FileBinaryRead, typer.Argument(help="A request as for /v1/explain; - is stdin.")] = "-",  # type: ignore[assignment]
    *,
    arm: Arm = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Explain one request's predictions, from the newest checkpoint.

    A logit is a sum, and these are its terms. Beside each field's own weight stands what it gives the deep part: what goes there when the
    field is as one never seen. Neither a log nor a server is needed.

    \b
        sml explain request.json
        echo '{"candidates": [{"id": 1, "item_id": "a"}]}' | sml explain --json
    """
    from service.commands.models.explain import explain as run

    explained = run(request.read(), settings_of(config).of_arm(arm))
    if as_json:
        answer(explained, as_json)
        return
    for each in explained["explanations"]:
        for line in _lines(each):
            typer.echo(printable(line))


def _lines(explained: dict[str, Any]) -> Iterator[str]:
    yield f"candidate {explained['id']}: probability {explained['probability']:.6g}, logit {explained['logit']:+.4f}"
    terms = {"bias": explained["bias"], "wide": sum(explained["wide"].values())}
    for name, of_layers in (("skip", explained["skip"]), ("cross", explained.get("cross", []))):
        terms |= {f"{name} {layer}": term for layer, term in enumerate(of_layers, 1)}
    terms |= {"main path": explained["main"], "branch": explained.get("branch", 0.0)}
    yield from (f"  {name:12} {term:+9.4f}" for name, term in terms.items())
    names = explained["wide"]
    width = max([5, *map(len, names)])
    records = explained.get("records", {})
    yield f"  {'field':{width}} {'wide':>9} {'deep':>9}{'   record' if records else ''}"
    for name in names:
        record = f" {records[name]:+8.4f}" if records else ""
        yield f"  {name:{width}} {explained['wide'][name]:+9.4f} {explained['deep'][name]:+9.4f}{record}"
