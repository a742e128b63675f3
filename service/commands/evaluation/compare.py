"""``sml compare``, and the page of ``sml evaluate``: several models learn the same rows, which are read once, batch by batch in turn."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from service.commands.compile import compile_kernels
from service.commands.evaluation.evaluate import Protocol, ProtocolError, batches, check_together, sampling_of
from service.commands.evaluation.watched import BATCH, Detailed, Watched, base_rate_alone, watch, wide_alone
from service.report.blocks import Blocks, Interval
from service.report.page import Page, Section, html
from service.screen import counting, say_notes
from service.settings import Settings
from stream.files.left_out import LeftOut
from stream.files.opened import Recorded, name_of
from stream.files.rows import read
from stream.sampling import NO_SALT

_SCORES = ("log_loss", "auc", "normalized_entropy", "calibration", "examples", "bad", "excluded", "examples_per_second")


class ReportError(Exception):
    """A page can't be made."""


class Report(NamedTuple):
    """Where a page is written, and the names of the fields that it slices by; None: some with few values."""

    path: Path
    sliced: Sequence[str] | None = None


class Compared(NamedTuple):
    """One of several settings: what an evaluation found, its speed by processor time, and its log loss minus the best one's."""

    settings: str
    result: Mapping[str, Any]
    protocol: Protocol
    above_best: Interval

    def plain(self) -> dict[str, Any]:
        """Return it as it is printed."""
        above_best = (None, None, None) if self.result["log_loss"] is None else self.above_best
        difference = dict(zip(("above_best", "low", "high"), above_best, strict=True))
        return {"settings": self.settings, **{name: self.result[name] for name in _SCORES}, **difference, **self.protocol.told()}


def compare(
    recorded: Recorded, settings: Mapping[str, Settings], protocols: Sequence[Protocol], report: Report | None = None, salt: str = NO_SALT
) -> list[Compared]:
    """Evaluate settings on one reading of a recorded log, with progress and notes on stderr; return what each found, the best first.

    Args:
        recorded: The log.
        settings: The settings by their name.
        protocols: The protocol of each.
        report: The page to write.
        salt: As of :func:`~service.commands.evaluation.evaluate.evaluate`.

    Raises:
        FileError: the log can't be read.
        ProtocolError: the settings name different columns, or a column of a page is missing.
        ReportError: the page's folder is missing, or a field to slice by.
    """
    _check_data(settings)
    if report:
        _check_report(report, settings.values())
    data = next(iter(settings.values())).data.model_copy(update={"together": protocols[0].together})
    check_together(recorded, data)
    models, blocks = _models(settings, protocols, report, salt)
    left_out = LeftOut(data.max_bad)
    watch(models, counting(batches(read(recorded, data, left_out), BATCH), name_of(recorded)))
    say_notes(left_out.notes())
    own = [model.result() | left_out.counts() for model in models[: len(settings)]]
    order = sorted(range(len(own)), key=lambda n: (own[n]["log_loss"] is None, own[n]["log_loss"]))
    compared = [Compared(models[n].name, own[n], protocols[n], blocks.difference(n, order[0])) for n in order]
    if report:
        report.path.write_text(html(_page(name_of(recorded), models, blocks, compared)), encoding="utf-8")  # /dev/stdout, too
    return compared


def verdict(compared: Sequence[Compared]) -> str:
    """Return in words which settings are the best, and by how much."""
    best, *others = compared
    if best.result["log_loss"] is None:
        return "no example was scored"
    said = []
    for other in others:
        if other.result["log_loss"] is None:
            said.append(f"{other.settings} scored no example")
            continue
        difference = other.above_best
        interval = "" if difference.low is None else f", 95 % interval {difference.low:.5f} to {difference.high:.5f}"
        size = f"{difference.mean:.5f} ({difference.mean / other.result['log_loss']:.2%}{interval})"
        speed = best.result["examples_per_second"] / other.result["examples_per_second"]
        found = f"better than {other.settings} by {size}" if difference.decided else f"not told apart from {other.settings}: {size}"
        said.append(f"{best.settings} is {found}, at {speed:.2f} times its speed")
    return "; ".join(said)


def _check_data(settings: Mapping[str, Settings]) -> None:
    """Raise an error unless all read the same columns."""
    (first, expected), *others = ((name, each.data.model_dump()) for name, each in settings.items())
    for name, data in others:
        for key, value in data.items():
            if value != expected[key]:
                raise ProtocolError(
                    f"[data] {key} of {name}: got {value!r}, expected {expected[key]!r}, as in {first}: the file is read once"
                )


def _check_report(report: Report, settings: Iterable[Settings]) -> None:
    """Raise an error unless the page can be written, and each of its slices is a field."""
    if not report.path.parent.is_dir():
        raise ReportError(f"report: got {str(report.path)!r}, expected a file in a folder that exists")
    for each in settings:
        names = [field.name for field in each.spec.fields if not field.of]
        for name in report.sliced or ():
            if name not in names:
                raise ReportError(f"slice: got {name!r}, expected a field ({', '.join(names)})")


def _models(
    settings: Mapping[str, Settings], protocols: Sequence[Protocol], report: Report | None, salt: str
) -> tuple[list[Watched], Blocks]:
    """Return the model of each of the settings, and for a page two more to compare the first with."""
    blocks = Blocks(len(settings) + 2)
    named = enumerate(zip(settings.items(), protocols, strict=True))
    models: list[Watched] = []
    for n, ((name, each), protocol) in named:
        compile_kernels(each.spec.model.network)
        of_series = (name, each.spec, protocol, blocks, n, sampling_of(each, salt))
        models.append(Detailed(*of_series, report.sliced) if report else Watched(*of_series))
    if report:
        spec = models[0].spec
        for name, reference in (("wide part alone", wide_alone(spec)), ("base rate", base_rate_alone(spec))):
            compile_kernels(reference.model.network)
            models.append(Watched(name, reference, protocols[0], blocks, len(models)))
    return models, blocks


def _page(file: str, models: Sequence[Watched], blocks: Blocks, compared: Sequence[Compared]) -> Page:
    notes = [verdict(compared)] if len(compared) > 1 else []
    notes += [f"{each.settings}: {_in_words(each.protocol)}" for each in compared]
    if not compared[0].result["in_time_order"]:
        notes.append("The file's order is not the order of time; rows were learned in the file's order.")
    scores = [(model.name, *map(model.result().get, _SCORES)) for model in models]
    sections = [_section(model) for model in models if isinstance(model, Detailed)]
    heads = ("", *(name.replace("_", " ") for name in _SCORES))
    return Page(f"Evaluation on {file}", notes, heads, scores, [model.name for model in models], blocks, sections)


def _section(model: Detailed) -> Section:
    return Section(
        model.name,
        model.scores.calibration_curve(),
        {slices.field.name: slices.shown() for slices in model.slices},
        model.worth.fields(),
        model.worth.unseen,
        [field.name for field in model.spec.fields],
        model.set_aside(),
    )


def _in_words(protocol: Protocol) -> str:
    told = protocol.told()
    pages = f"; rows with equal {', '.join(protocol.together)} are predicted together" if protocol.together else ""
    return f"protocol {protocol.name}: each row is predicted with the labels of rows {told['delay']} before it{pages}."
