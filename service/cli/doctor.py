"""``sml doctor``: what the settings will cost, and what would fail."""

import typer

from service.cli.program import CONFIG, Config, Json, answer, settings_of
from service.tables import labelled


def doctor(*, config: Config = CONFIG, as_json: Json = False) -> None:
    """Report what the settings will cost, what would fail, and what to do.

    Nothing is created or changed. The exit status is 1 if something would fail.

    \b
        sml doctor
        SML_LOG__URL=kafka://localhost:9092 sml doctor --json
    """
    from service.commands.doctor import examine

    findings = list(examine(settings_of(config)))
    if as_json:
        answer([finding._asdict() for finding in findings], as_json)
    else:
        for finding in findings:
            label = f"{'ok' if finding.fine else 'FAILS':5}  {finding.what:24}  "
            typer.secho(labelled(label, finding.found), fg=None if finding.fine else "red")
            if finding.todo:
                typer.echo(labelled(f"{'':33}→ ", finding.todo))
    if not all(finding.fine for finding in findings):
        raise typer.Exit(1)
