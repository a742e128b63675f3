"""Write ``sml.toml`` from a sample of the data: every column is a field or is left out, with the reason as a comment.

:func:`service.settings.load` reads what is written: nothing is decided later, and everything can be changed by hand.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from model.settings import Field, ModelSettings
from service.arm_settings import ArmSettings
from service.onboarding.event_shape import Shape
from service.onboarding.field_kinds import KindGuess, infer_kind
from service.onboarding.pages import page_columns
from service.onboarding.pairs import FoundPair
from service.onboarding.sample import Column, Sample
from service.screen import counting
from service.settings import Settings
from stream.inputs.settings import ClickInput, ImpressionInput, InputSettings, TopicSettings
from stream.log.settings import LogSettings, Section
from stream.settings import DataSettings

_HOUR, _DAY = 3_600_000, 86_400_000  # ms
# The settings that most people need; the others have defaults.
_SHOWN = {
    "log": {"url", "prefix"},
    "model": {"network", "skip", "skip_input", "hidden", "embedding", "wide", "base_rate", "records", "accumulator_half_life", "seed"},
    "table": {"capacity"},
    "join": {"label_policy", "click_window", "lateness", "idle_after"},
    "learn": {"directory", "publish_every", "checkpoint_every", "metrics_port"},
    "archive": set(),
    "serve": {"host", "port"},
    "privacy": {"fields"},
    "access": {"keys"},
    "limits": set(),
    "data": {"format", "label", "time", "click_time", "together"},
    "input": set(),
    "experiment": set(),
    "trace": set(),
}
# Better than the defaults, which stay: benchmarks/accuracy.
_MODEL = ModelSettings(embedding=7, base_rate=True, records=True, tower_rate=0.005, tower_accumulator=0.001, accumulator_half_life=50_000)
_FEW_FIELDS, _WIDE = 16, {"embedding": 15}  # up to so many fields, an embedding twice as wide costs no more than 32 fields do
_TILES = 4  # of a numeric field
_RARE = 0.02  # of the impressions are clicked: below that a model begins far off, if it isn't told
_OF_FEATURES = ("features", "item_features")
_COLUMN = 36  # where comments begin
_OVERRIDDEN = "SML_LOG__URL and the like override what stands here."


def initial_model(fields: int) -> ModelSettings:
    """Return the settings of the model that are written for so many fields."""
    return _MODEL if fields > _FEW_FIELDS else _MODEL.model_copy(update=_WIDE)


def settings_text(name: str, data: DataSettings, sample: Sample, *, every: bool) -> str:
    """Return the settings for the log that ``sample`` was taken from; with ``every``, also those that few people need."""
    guesses = [(column, _guess(column, sample, data)) for [column] in counting([[each] for each in sample.columns], "judging columns")]
    clicked_at = [column.name for column, guess in guesses if guess.clicked_at]
    if data.time and clicked_at and not data.click_time:
        data = data.model_copy(update={"click_time": clicked_at[0]})
    data = data.model_copy(update={"together": page_columns(sample, data)})
    lines = [f"# By `sml init {name}`, from {'all' if sample.whole else 'the first'} {sample.rows:,} rows:"]
    lines += [f"# {sample.labels.mean():.1%} were clicked. {_OVERRIDDEN}", ""]
    fields = list(_fields(guesses))
    if data.time or data.format == "avazu":
        fields += _time_fields(sample, whole=sample.whole)
    settings = _settings(fields, float(sample.labels.mean()))
    lines += _sections(settings.model_copy(update={"data": data}), every=every)
    lines += [*_left_out(guesses, _roles(data)), *fields]
    return "\n".join(lines).rstrip() + "\n"


def settings_text_of_topics(name: str, log: LogSettings, shape: Shape, sample: Sample, *, every: bool) -> str:
    """Return the settings for a site's own topics, of whose shape ``sample`` is what was shown and, as far as it is known, clicked."""
    guesses = [(column, infer_kind(column, sample)) for column in sample.columns]
    fields = [*_fields(guesses), *_time_fields(sample, whole=False)]
    settings = _settings(fields)
    join = settings.join.model_copy(update={"rekey": True})
    lines = [
        _comment(f"By `sml init {name}`,"),
        f"# from the newest {sample.rows:,} impressions: [input] says where they were found.",
        f"# {_OVERRIDDEN}",
    ]
    lines += [*map(_comment, shape.notes), ""]
    lines += _sections(settings.model_copy(update={"log": log, "join": join, "input": shape.inputs}), every=every, without={"data"})
    lines += [*_left_out(guesses, []), *fields]
    return "\n".join(lines).rstrip() + "\n"


def with_pairs(text: str, pairs: Sequence[FoundPair]) -> str:
    """Return settings with a field for each pair of fields."""
    lines: list[str] = []
    for field, saved in pairs:
        worth = f"together they save {saved.share:.2%} ± {saved.error:.2%} of the log loss"
        lines += ["", "[[field]]", _line("name", field.name, worth), _line("kind", field.kind, ""), _line("of", field.of, "")]
    return text + "\n".join([*lines, ""] if lines else [])


def _settings(fields: list[str], clicked: float = 0.0) -> Settings:
    model = initial_model(fields.count("[[field]]"))
    rate = max(float(f"{clicked:.2g}"), 1e-5) if 0 < clicked < _RARE else None
    return Settings(model=model.model_copy(update={"click_rate": rate}))


def _sections(settings: Settings, *, every: bool, without: Collection[str] = ()) -> Iterator[str]:
    for section, values in settings:
        if section == "input" and (every or values.topics):
            yield from _input(values, every=every)
        elif section not in {"field", "arms", "input", *without} and (every or _SHOWN[section]):
            yield from (*_table(section, values, every=every), *(_arms() if section == "experiment" else ()), "")


def _input(inputs: InputSettings, *, every: bool) -> Iterator[str]:
    """Yield a table for each topic of a site's own; with ``every``, as comments what those that are not given may hold."""
    for kind, section in (("impressions", ImpressionInput), ("clicks", ClickInput)):
        given: TopicSettings | None = getattr(inputs, kind)
        if given:
            yield from (*_topic(f"input.{kind}", given), "")
        elif every:
            yield f"# [input.{kind}]: {_description(InputSettings.model_fields[kind])}"
            yield from (*(f"# {key}: {_description(info)}" for key, info in section.model_fields.items()), "")


def _topic(table: str, given: TopicSettings) -> Iterator[str]:
    yield f"[{table}]"
    described = [(key, getattr(given, key), _description(info)) for key, info in type(given).model_fields.items()]
    for key, value, text in described:
        if key not in _OF_FEATURES:
            yield f"# {key}: {text}" if value in (None, {}) else _line(key, value, text)
    for key, value, text in described:
        if key in _OF_FEATURES and value:
            pointers = (f"{_toml(name)} = {_toml(pointer)}" for name, pointer in value.items())
            yield from ("", f"[{table}.{key}]{'':{_COLUMN - len(table) - len(key) - 3}} {_comment(text)}", *pointers)


def _guess(column: Column, sample: Sample, data: DataSettings) -> KindGuess:
    guess = infer_kind(column, sample)
    if data.format == "criteo" and guess.kind and column.name.startswith("I"):
        return KindGuess("numeric", "a count, by the format")
    return guess


def _table(name: str, section: Section, *, every: bool) -> Iterator[str]:
    yield f"[{name}]"
    values, tables = section.model_dump(), []
    for key, info in type(section).model_fields.items():
        if isinstance(table := getattr(section, key), Section):
            tables.append((f"{name}.{key}", table))
        elif every or key in _SHOWN[name] or values[key] != info.default:
            hidden = values[key] is None or isinstance(values[key], SecretStr)
            yield f"# {key}: {_description(info)}" if hidden else _line(key, values[key], _description(info))
    for path, table in tables if every else ():
        yield ""
        yield from _table(path, table, every=every)


def _arms() -> Iterator[str]:
    """Yield, as comments, what a table of ``[arms]`` may hold."""
    yield "# [arms.NAME]: one of several models that learn from this log; one of them is named control"
    for key in ("share", "learn_from", "begin_from", "metrics_port"):
        yield f"# {key}: {_description(ArmSettings.model_fields[key])}"
    yield "# [arms.NAME.model], [arms.NAME.table], [arms.NAME.join]: what differs from [model], [table] and [join] label_policy"


def _description(info: FieldInfo) -> str:
    """Return the description of a setting, or else its choices."""
    choices = " or ".join(map(str, get_args(info.annotation))) if get_origin(info.annotation) is Literal else ""
    return info.description or choices


def _roles(data: DataSettings) -> Iterator[tuple[str, str]]:
    """Yield the columns of a file that are no features, each with what it is."""
    yield data.label, "the label"
    if data.time:
        yield ", ".join(data.time_columns), "the time, from which hour and weekday are derived"
    if data.click_time:
        yield data.click_time, "when the click came"


def _left_out(guesses: list[tuple[Column, KindGuess]], roles: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield the columns that are no field, with the reasons."""
    named = dict(roles)
    yield "# Columns that are no field:"
    for name, what in named.items():
        yield _comment(f"  {name}: {what}")
    for column, guess in guesses:
        if guess.kind is None and column.name not in named:
            yield _comment(f"  {column.name}: {guess.reason}")
    yield ""


def _extent(column: Column) -> str:
    """Return how many different values a column has, and how much of it is missing."""
    missing = 1 - column.filled.mean()
    return f"{len(column.values):,} different values, {f'{missing:.1%}' if missing else 'none'} missing"


def _fields(guesses: list[tuple[Column, KindGuess]]) -> Iterator[str]:
    """Yield the fields that are columns."""
    for column, guess in guesses:
        if guess.kind:
            yield from _field(column.name, guess.kind, _extent(column), guess.reason, guess.separator, guess.bucket_width)


def _field(name: str, kind: str, extent: str, reason: str, separator: str = ",", width: float | None = None) -> Iterator[str]:
    yield "[[field]]"
    yield _line("name", name, extent)
    yield _line("kind", kind, reason)
    if separator != Field.model_fields["separator"].default:
        yield _line("separator", separator, "")
    if kind == "numeric":
        yield _line("tiles", _TILES, _description(Field.model_fields["tiles"]))
    if width:
        yield _line("bucket_width", width, _description(Field.model_fields["bucket_width"]))
    yield ""


def _time_fields(sample: Sample, *, whole: bool) -> Iterator[str]:
    """Yield the fields derived from the time; of a ``whole`` log only if it spans more than an hour, or more than a day."""
    names = {column.name for column in sample.columns}
    for kind, length in (("hour", _HOUR), ("weekday", _DAY)):
        if sample.span > length or not whole:
            name = f"time_{kind}" if kind in names else kind
            reason = f"the sample spans {sample.span / length:,.1f} {'hours' if kind == 'hour' else 'days'}"
            yield from _field(name, kind, "of the time, UTC", reason)


def _line(key: str, value: Any, comment: str) -> str:
    setting = f"{key} = {_toml(value)}"
    return f"{setting:{_COLUMN}} {_comment(comment)}" if comment else setting


def _comment(text: str) -> str:
    """Return a comment; no character of the data may end it."""
    return "# " + "".join(character if character.isprintable() else "?" for character in text)


def _toml(value: Any) -> str:
    """Return a value as TOML, whose strings, booleans and lists are JSON's."""
    if isinstance(value, int) and value >= 100_000:  # noqa: PLR2004 - long enough to be hard to read
        return f"{value:_}"
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_toml(key)} = {_toml(inner)}' for key, inner in value.items())} }}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
