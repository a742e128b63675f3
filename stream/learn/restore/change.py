"""Change the settings of a model that is learned: what can be changed in place is, and whatever else differs is named."""

import logging
from collections.abc import Iterator

from model.migrate import MigrationError, migrate
from model.online import OnlineModel
from model.settings import Spec
from stream.learn.errors import OtherSettingsError
from stream.learn.trainer import Trainer
from stream.records.version import Version

logger = logging.getLogger(__name__)


def changed(trainer: Trainer, spec: Spec, version: Version) -> Trainer:
    """Return a trainer with the same state under settings that were changed in place; the same trainer if they are the same."""
    old = trainer.model.spec
    if old == spec:
        return trainer
    try:
        model = OnlineModel.from_state(spec, migrate(trainer.model.state(), old, spec))
    except MigrationError as error:
        raise OtherSettingsError(f"{other_settings(version)}: {error}") from error
    except MemoryError as error:
        raise OtherSettingsError(f"table.capacity: got {spec.table.capacity:,} rows, expected no more than memory holds") from error
    logger.info("after version %s the settings change: %s", version.version, "; ".join(_changes(old, spec)))
    same_inputs = (old.fields, old.label_delay, old.model.records) == (spec.fields, spec.label_delay, spec.model.records)
    guard = trainer.guard if same_inputs else trainer.guard.with_other_fields()
    return Trainer(model, trainer.scores, trainer.forgotten, guard)


def _changes(old: Spec, new: Spec) -> Iterator[str]:
    """Yield each setting that differs, with what it was and what it is."""
    if old.fields != new.fields:
        yield " to ".join(", ".join(field.name for field in each.fields) for each in (old, new))
    for before, after in ((old, new), (old.model, new.model), (old.table, new.table)):
        for name, value in before:
            if name not in {"fields", "model", "table"} and value != getattr(after, name):
                yield f"{name} {value} to {getattr(after, name)}"


def other_settings(version: Version) -> str:
    """Return what is wrong where the settings of a version are not those that it was learned with."""
    return (
        f"version {version.version} was learned with other settings, of which not all can be changed in place: let the new ones be an arm "
        "beside it, [arms.NAME], or set another log.prefix and learn.directory"
    )
