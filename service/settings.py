"""All settings: ``sml.toml``, overridden by environment variables such as ``SML_LOG__URL``.

All are validated when they are read, and of all that is wrong an error tells at once.
"""

import math
import tomllib
from pathlib import Path
from typing import Any, Self

from pydantic import PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError as VariableError

from model.settings import Field, ModelSettings, Spec, TableSettings, check_pairs
from service import arm_settings
from service.arm_settings import ArmSettings, ExperimentSettings
from service.server_settings import AccessSettings, LimitSettings, PrivacySettings, ServeSettings, TraceSettings
from service.setting_errors import SettingsError, described
from stream.arms import Traffic
from stream.inputs.settings import InputSettings
from stream.log.settings import LogSettings, format_duration
from stream.log.topics import CONTROL, Kept, Topics, wanted
from stream.settings import ArchiveSettings, DataSettings, JoinSettings, LearnSettings, least_retention

__all__ = ["Settings", "SettingsError", "load"]

_UNTIMED_DELAY = 50  # rows: those of one page, shown together, tell nothing of each other


class Settings(BaseSettings):
    """The settings of ``sml.toml``; environment variables override it."""

    model_config = SettingsConfigDict(env_prefix="SML_", env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True)

    log: LogSettings = LogSettings()
    model: ModelSettings = ModelSettings()
    table: TableSettings = TableSettings()
    join: JoinSettings = JoinSettings()
    learn: LearnSettings = LearnSettings()
    archive: ArchiveSettings = ArchiveSettings()
    serve: ServeSettings = ServeSettings()
    privacy: PrivacySettings = PrivacySettings()
    access: AccessSettings = AccessSettings()
    limits: LimitSettings = LimitSettings()
    trace: TraceSettings = TraceSettings()
    data: DataSettings = DataSettings()
    input: InputSettings = InputSettings()
    experiment: ExperimentSettings = ExperimentSettings()
    arms: dict[arm_settings.Name, ArmSettings] = {}
    field: tuple[Field, ...] = ()
    _arm: str = PrivateAttr(default=CONTROL)
    _of_all: "Settings | None" = PrivateAttr(default=None)  # those of an arm: those that they are taken from

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the names are pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Rank the environment above the file."""
        return env_settings, init_settings

    @model_validator(mode="before")
    @classmethod
    def _arms_inherit(cls, data: dict[str, Any]) -> dict[str, Any]:
        return arm_settings.inherit(data)

    @model_validator(mode="after")
    def _arms_fit(self) -> Self:
        arm_settings.check(self.arms, self.experiment, self.join)
        return self

    @field_validator("field")
    @classmethod
    def _names_differ(cls, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        names = [field.name for field in fields]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"each name once, but {', '.join(sorted(twice))} stands there again")
        check_pairs(fields)
        return fields

    @model_validator(mode="after")
    def _personal_fields_exist(self) -> Self:
        kinds = {field.name: field.kind for field in self.field}
        wrong = [name for name in self.privacy.fields if kinds.get(name) not in ("categorical", "multi")]
        if wrong:
            raise ValueError(f"privacy.fields to be fields of kind categorical or multi, got {', '.join(wrong)}")
        crossed = [name for name in self.privacy.fields if any(name in field.of for field in self.field if field.kind == "cross")]
        if crossed:
            raise ValueError(
                f"privacy.fields to be fields of which no cross is made, got {', '.join(crossed)}: its rows can't be forgotten"
            )
        return self

    @model_validator(mode="after")
    def _slices_are_few_and_not_personal(self) -> Self:
        kinds = {field.name: field.kind for field in self.field}
        wrong = [name for name in self.learn.slices if kinds.get(name) not in ("categorical", "weekday") or name in self.privacy.fields]
        if wrong:
            raise ValueError(
                f"learn.slices to be fields of kind categorical or weekday that are not in privacy.fields, got {', '.join(wrong)}"
            )
        return self

    @model_validator(mode="after")
    def _input_is_rekeyed(self) -> Self:
        ours = {topic.name for topic in wanted(self.topics, 1, Kept(), rekey=True, arms=tuple(self.arms))} | {self.topics.arms}
        if wrong := ours & set(self.input.topics):
            raise ValueError(f"input: got the topic {', '.join(sorted(wrong))}, expected one of your site's: this one is the model's own")
        if self.input.topics and not self.join.rekey:
            raise ValueError("join.rekey: got false, expected true where there is [input]: what it gives is written to the topics …-by-id")
        return self

    @model_validator(mode="after")
    def _thompson_has_records(self) -> Self:
        models = {f"arms.{name}.model": arm.model for name, arm in self.arms.items()} or {"model": self.model}
        without = [name for name, model in models.items() if not model.records]
        if self.serve.explore == "thompson" and without:
            raise ValueError(f"serve.explore: got 'thompson', expected records = true in {', '.join(without)}: they say how sure it is")
        return self

    @model_validator(mode="after")
    def _keep_what_a_restart_needs(self) -> Self:
        least = least_retention(self.log, self.join, self.learn)
        minutes = 60 * math.ceil(least / 60)
        for name in {"retention", "dead_letter_retention"} & self.log.model_fields_set:
            seconds = getattr(self.log, name)
            if seconds < least:
                raise ValueError(
                    f"log.{name}: got {format_duration(seconds)}, expected at least {format_duration(minutes)}, which a restart needs by "
                    "click_window, lateness, clock_skew, idle_after, keep, checkpoint_every, snapshot_every and weights_retention"
                )
        return self

    @property
    def kept(self) -> Kept:
        """How long the topics keep their records: as the settings say; where they say nothing, never less than a restart needs."""
        least = least_retention(self.log, self.join, self.learn)
        records, letters = max(self.log.retention, least), max(self.log.dead_letter_retention, least)
        return Kept(records, letters, self.log.dead_letter_bytes, self.log.weights_retention)

    def expect_arms(self) -> None:
        """Make sure that there are arms.

        Raises:
            SettingsError: there are none.
        """
        if not self.arms:
            raise SettingsError("arms: got none, expected [arms.control] and another in the settings")

    def of_arm(self, name: str | None) -> Self:
        """Return the settings of an arm: of control if no name is given.

        Raises:
            SettingsError: there is no such arm.
        """
        if not self.arms and name in {None, CONTROL}:
            return self
        name = name or CONTROL
        if name not in self.arms:
            raise SettingsError(f"arms: got {name!r}, expected {' or '.join(self.arms) or f'[arms.{name}] in the settings'}")
        arm, port, folder = self.arms[name], self.learn.metrics_port, Path(self.learn.directory)
        learn = {
            "directory": str(folder if name == CONTROL else folder / name),
            "metrics_port": port and port + 10 * list(self.arms).index(name) if arm.metrics_port is None else arm.metrics_port,
        }
        own = self.model_copy(
            update={
                "model": arm.model,
                "table": arm.table,
                "join": self.join.model_copy(update={"label_policy": arm.join.label_policy}),
                "learn": self.learn.model_copy(update=learn),
            }
        )
        own._arm, own._of_all = name, self._of_all or self  # noqa: SLF001 - its own, of the same class
        return own

    @property
    def begin_from(self) -> "Settings | None":
        """The settings of the arm that this one begins from."""
        name = self.arms[self._arm].begin_from if self.arms else None
        return self._of_all.of_arm(name) if name and self._of_all else None

    def of_every_arm(self) -> list[Self]:
        """Return the settings of each arm, these alone where there are none."""
        return [self.of_arm(name) for name in self.arms] or [self]

    @property
    def topics(self) -> Topics:
        """The names of the topics: of versions and weights, those of the arm."""
        return Topics(self.log.prefix, arm=self._arm)

    @property
    def traffic(self) -> Traffic:
        """How an experiment between the arms begins."""
        return Traffic.of(self.experiment.name, arm_settings.shares_of(self.arms))

    @property
    def spec(self) -> Spec:
        """The settings that decide what the weights mean.

        Raises:
            SettingsError: no field is declared.
        """
        if not self.field:
            raise SettingsError("field: got none, expected at least one [[field]]; `sml init` writes them from a sample of your data")
        return Spec(
            model=self.model,
            table=self.table,
            fields=self.field,
            label_policy=self.join.label_policy,
            label_delay=self._label_delay() if self.model.records else 0,
            served_by=self._arm if self.arms and self.arms[self._arm].learn_from == "own" else None,
        )

    def _label_delay(self) -> int:
        """Return how long after its time an example's label is known, ms. The times of a file without a time are its rows' numbers.

        It is the same under every policy: where an impression is learned at once, as a negative, its positive must not read that negative.
        """
        untimed = "data" in self.model_fields_set and not self.data.timed
        return _UNTIMED_DELAY if untimed else round(1000 * (self.join.click_window + self.join.lateness))


def load(path: Path) -> Settings:
    """Read the settings from ``path`` and the environment.

    Raises:
        SettingsError: the file is missing or no TOML, or settings are unknown or wrong; the message names each.
    """
    try:
        return Settings(**tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(
            f"{path}: got {error.strerror}, expected a settings file; `sml init` writes one from a sample of your data"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: expected TOML: {error}") from error
    except ValidationError as error:
        raise SettingsError(described(error, path, Settings)) from error
    except VariableError as error:
        raise SettingsError(f"environment: got {error}, expected JSON in a variable that is a list or a table") from error
