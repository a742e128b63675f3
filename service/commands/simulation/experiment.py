"""The settings of an experiment on the simulated site: those of the site, and two arms that differ in the skip terms."""

import re
from pathlib import Path

from service.settings import Settings, SettingsError
from stream.arms import NAME
from stream.log.connect import open_log
from stream.log.contract import Log, UnknownTopicError


def settings_file(config: Path, settings: Settings, name: str) -> Path:
    """Write the settings of an experiment to a file of their own, where its sums will be, and return its path.

    Raises:
        SettingsError: the name is none, there is an experiment already, or the log is another site's.
        LogError: the log can't be used.
    """
    if not re.fullmatch(NAME, name):
        raise SettingsError(f"--experiment: got {name!r}, expected a name of up to 40 small letters, digits, - and _")
    if settings.model_fields_set & {"arms", "experiment"}:
        raise SettingsError(f"--experiment: got {name!r}, but {config} has an experiment already: leave it out")
    _check_log(settings)
    skip = "meta_tanh" if settings.model.skip == "none" else "none"
    file = Path(settings.experiment.directory) / f"{name}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(
        f"""# Written by `sml up --simulate --experiment {name}`, which writes it anew each time.
{config.read_text(encoding="utf-8")}
[experiment]
name = "{name}"
unit = "user_id"

[arms.control]
share = 0.5

[arms.treatment]
share = 0.5
model = {{ skip = "{skip}" }}
""",
        encoding="utf-8",
    )
    return file


def _check_log(settings: Settings) -> None:
    """Make sure that the log is empty, or the experiment's own: what another site has taught would be wrong on this one."""
    control, treatment = settings.topics, settings.topics._replace(arm="treatment")
    with open_log(settings.log) as log:
        is_anothers = _exists(log, control.versions) and not _exists(log, treatment.versions)
    if is_anothers:
        raise SettingsError(
            f"--experiment: got {settings.log.url}, which another site has written, expected an empty log: move `data` away first"
        )


def _exists(log: Log, topic: str) -> bool:
    try:
        log.bounds(topic)
    except UnknownTopicError:
        return False
    return True
