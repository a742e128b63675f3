"""Infer what a column can be to the model: a field of some kind, or nothing, each with the reason.

Text is categorical; fractions are numeric. Whole numbers may be either. A count that is taken for a category loses little; a category
that is taken for a count loses nearly everything. So they are categorical, unless their name, their distribution or their relation to
the label shows that they measure something.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.encoding.buckets import bucket
from model.encoding.keys import parts_of
from service.onboarding.bucket_width import bucket_width
from service.onboarding.evidence import error, losses
from service.onboarding.sample import Column, Sample, is_number

Kind: TypeAlias = Literal["categorical", "numeric", "multi"]

_ENOUGH = 20  # rows from which we infer that values never return, if none has returned
_ENOUGH_OF_SUBJECTS = 1_000  # the same, for users and items
_ENOUGH_CLICKS = 50  # and as many rows without: below that, nothing is said of what a column gives away
_TELLS_TOO_MUCH = 0.5  # of the click rate's log loss is left: whole models leave .87 of it on public logs
_MANY = 0.01  # of all clicks, that one value comes with
_BY_CHANCE = np.log(1e-9)  # a chance, for a value to come with clicks only
_FEW = 12  # whole numbers that are worth a row each, whatever they mean
_JOINED = 0.01  # of the rows: from this share on, a separator is no accident
_MOVE = 1.5  # places that a tag of lists of one length has at least, in the mean
_RARER = -0.6  # rank correlation of number and frequency: counts have -0.6 to -1, codes about 0
_MEASURES = re.compile(
    "num|counts?|cnt|days|age|price|amount|duration|width|height|length|len|score|rate|ratio|ctr|total|sum|avg|mean|median|qty|quantity|seconds|secs"
    "|ms|minutes|distance|income|revenue|cost|impressions|clicks|views|likes|balance|pct|percent|share"
)
_CODES = re.compile(
    "id|ids|[a-z]{2,}id|uid|code|type|kind|category|cat|class|group|segment|zip|postcode|flag|feat|tag|slot|position|pos|version"
)
_TIMES = re.compile("time|ts|timestamp|at")
_FEW_WORDS = 3  # among numbers: what stands for a missing one, such as NA
_SKEWED = 5  # times the median: codes that are spread evenly stay below
_SUBJECTS = re.compile(
    "user|customer|visitor|member|cookie|device|ip|item|product|video|author|ad|campaign|advertiser|publisher|creative|site|app|page|url|query|title|zip"
)
_SEPARATORS = (",", "|", ";", "^", " ")
_HARDLY = 0.8  # of the rows have values of their own
_LITTLE = 0.99  # of the click rate's log loss is left by a text, taken as a whole
_SENTENCE = 3  # words, or Chinese or Japanese characters
_WORD = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]|[^\s\u3040-\u30ff\u4e00-\u9fff]+")
_DECIMAL_COMMA = re.compile(r"-?[0-9]{1,3}(\.?[0-9]{3})*(,[0-9]{1,2})?")
_THOUSANDS = re.compile(r"-?[0-9]{1,3}(,[0-9]{3})*(\.[0-9]+)?")
_POINT = "numbers with a decimal comma; with a point, 36.77, it is numeric"
_NO_COMMA = "numbers with a comma after the thousands; without it, 29948, it is numeric"
_TAG = re.compile(r"[\w .:/+&-]{1,30}|[\w.:-]{1,64}")  # words, or a code, as long as the longest hash
_CODE = re.compile(r"[A-Za-z_]{0,8}[0-9]+|[0-9A-Fa-f-]{6,64}")
_EPOCHS = ((9e8, 2.2e9), (9e11, 2.2e12))  # 1998 to 2039 in seconds and in ms


class KindGuess(NamedTuple):
    """What a column seems to be; without a kind it is left out."""

    kind: Kind | None
    reason: str
    separator: str = ","
    clicked_at: bool = False  # it is the time of the click
    bucket_width: float | None = None  # of numbers


def infer_kind(column: Column, sample: Sample) -> KindGuess:
    """Infer what ``column`` is to the model."""
    return (
        _as_nothing(column, sample)
        or _as_the_answer(column, sample.labels)
        or _as_numbers_with_commas(column)
        or _as_lists(column)
        or _as_free_text(column, sample.labels)
        or _as_single_values(column, sample.labels)
    )


def _as_nothing(column: Column, sample: Sample) -> KindGuess | None:
    """Return the reason why a column can't be a field, if there is one."""
    filled = column.filled
    if column.has_objects:
        return KindGuess(None, "objects, but a field takes single values or lists")
    if len(column.values) == 0 or (len(column.values) == 1 and filled.all()):
        return KindGuess(None, "constant: " + (f"always {column.values[0]}" if column.values else "always missing"))
    if not filled.all() and np.array_equal(filled, sample.labels == 1):
        return KindGuess(None, "filled exactly where the label is 1, so it is known only after the click", clicked_at=_is_time(column))
    enough = _ENOUGH_OF_SUBJECTS if _says(column.name, _SUBJECTS) else _ENOUGH
    unique = len(column.values) == filled.sum() and filled.sum() >= enough  # each row has a value of its own
    measures = column.numbers is not None and (_says(column.name, _MEASURES) or not column.is_integer)
    if _is_time(column) and (column.rises or unique or _says(column.name, _TIMES)):
        return KindGuess(None, "a time: its values never return (if it is the impression's, use --time)")
    if unique and not measures:
        commas = _commas(column)
        if commas or not _as_lists(column):
            return KindGuess(None, "a different value in every row" + (f": {commas}" if commas else ""))
    return None


def _as_the_answer(column: Column, labels: NDArray[np.float64]) -> KindGuess | None:
    """Recognise a column that gives the label away.

    Either it alone halves the log loss of the click rate, each row predicted by the rows before it, or one of its values, or having one,
    comes with clicks only: a hundredth of all clicks, and more than chance does once in 10⁹ columns. The ends of a measure may do that by
    nature (the greatest incomes, the longest calls): of its rows apart from the commonest bucket, half must.
    """
    clicks = labels.sum()
    if min(clicks, len(labels) - clicks) < _ENOUGH_CLICKS:
        return None
    groups = column.codes if column.numbers is None else _buckets(column)
    told, base = losses(groups, labels).mean(), losses(np.zeros_like(groups), labels).mean()
    if told < _TELLS_TOO_MUCH * base:
        return KindGuess(
            None, f"alone it tells {1 - told / base:.0%} of what there is to know of the label, so it is known only after the click"
        )
    enough = max(_MANY * clicks, _BY_CHANCE / np.log(labels.mean()))
    rows, clicked = (np.bincount(groups + 1, weights)[1:] for weights in (None, labels))  # without those of the missing value
    sure = (only := rows == clicked) & (rows >= enough)
    is_measure = column.numbers is not None and len(column.numbers) > _FEW
    if sure.any() and (not is_measure or 2 * rows[only].sum() >= rows.sum() - rows.max()):
        return KindGuess(None, f"in {int(rows[sure].sum()):,} rows its value comes with clicks only, so it is known only after the click")
    if rows.sum() == clicked.sum() >= enough:
        return KindGuess(None, "filled only where the label is 1, so it is known only after the click")
    return None


def _buckets(column: Column) -> NDArray[np.int64]:
    """Return the bucket of each row's number, counted from 0; -1 where it is missing."""
    numbers = () if column.numbers is None else column.numbers
    _, buckets = np.unique([bucket(number) for number in numbers], return_inverse=True)
    return np.where(column.filled, buckets[column.codes], -1)


def _as_numbers_with_commas(column: Column) -> KindGuess | None:
    """Recognise numbers that are written with commas, most of them: they are text to whoever reads them."""
    commas = _commas(column)
    return KindGuess("categorical", f"text: {commas}") if commas else None


def _commas(column: Column) -> str | None:
    """Return how numbers are written with commas; None: its values are something else, such as lists of codes of three digits."""
    texts = [value for value in column.values if isinstance(value, str)]
    if 2 * sum("," in text for text in texts) <= len(column.values):
        return None
    if all(map(_DECIMAL_COMMA.fullmatch, texts)):
        return _POINT
    firsts = {len(text.lstrip("-").partition(",")[0]) for text in texts}
    return _NO_COMMA if len(firsts) > 1 and all(map(_THOUSANDS.fullmatch, texts)) else None


def _as_lists(column: Column) -> KindGuess | None:
    """Recognise lists, and texts that join tags, each tag in several of them; by spaces only codes are joined.

    Lists have different lengths, or, as the last twenty items of a person, the same: then they hardly return, but their tags do, now in
    one place and now in another. The parts of a text such as ``ios|17.2|safari`` have each a place of its own.
    """
    if column.has_lists:
        return KindGuess("multi", "lists")
    texts = [value for value in column.values if isinstance(value, str)]
    if column.numbers is not None or len(texts) < len(column.values):
        return None
    hardly_return = column.counts.sum() < _ENOUGH * len(texts)
    for separator in _SEPARATORS:
        lists = [parts_of(text, separator) for text in texts]
        tags = {tag for tags in lists for tag in tags} - {""}
        total = sum(map(len, lists))
        joined = column.counts[[len(tags) > 1 for tags in lists]].sum() / column.counts.sum()
        tag = _CODE if separator == " " else _TAG
        if not (joined >= _JOINED and len(tags) <= total / 2 and all(map(tag.fullmatch, tags))):
            continue
        if len({len(tags) for tags in lists}) > 1 or (hardly_return and _places(lists) >= _MOVE * len(tags)):
            return KindGuess("multi", f"{len(tags):,} different tags, joined by {separator!r} in {joined:.1%} of the rows", separator)
    return None


def _places(lists: Sequence[Sequence[str]]) -> int:
    """Return how many places all tags have together, the same place in two lists being one."""
    return len({place for tags in lists for place in enumerate(tags)})


def _as_free_text(column: Column, labels: NDArray[np.float64]) -> KindGuess | None:
    """Recognise sentences that hardly return, and tell nothing where they do."""
    filled = column.filled
    if column.numbers is not None or filled.sum() < _ENOUGH_OF_SUBJECTS or len(column.values) < _HARDLY * filled.sum():
        return None
    if np.mean([len(_WORD.findall(str(value))) for value in column.values]) < _SENTENCE:
        return None
    codes, clicked = column.codes[filled], labels[filled]
    if losses(codes, clicked).mean() < _LITTLE * losses(np.zeros_like(codes), clicked).mean():
        return None
    different = f"{len(column.values):,} different texts in {filled.sum():,} rows"
    return KindGuess(None, f"{different}: they hardly return (of kind multi, with the separator ' ', their words do)")


def _as_single_values(column: Column, labels: NDArray[np.float64]) -> KindGuess:
    """Distinguish categories from measures."""
    numbers, name = column.numbers, column.name
    if numbers is None:
        return KindGuess("categorical", _why_no_numbers(column.values))
    if not column.is_integer:
        return KindGuess("numeric", "fractions", bucket_width=bucket_width(column, labels))
    if len(numbers) <= _FEW and column.counts.sum() >= _ENOUGH * len(numbers):
        return KindGuess("categorical", f"only {len(numbers)} whole numbers")
    measures = _says(name, _MEASURES)
    if _CODES.fullmatch(words(name)[-1]) or (not measures and (_says(name, _CODES) or _says(name, _SUBJECTS))):
        return KindGuess("categorical", "whole numbers, and the name is one of codes")
    if measures:
        return KindGuess("numeric", "whole numbers, and the name is one of measures", bucket_width=bucket_width(column, labels))
    return _by_evidence(column, numbers, labels)


def _why_no_numbers(values: list[Any]) -> str:
    others = [value for value in values if not is_number(value)]
    if len(others) <= _FEW_WORDS < len(values) - len(others):
        return f"numbers, but for {', '.join(map(repr, others))}; where those are empty, it is judged as a number"
    return "text" if isinstance(values[0], str) else "no numbers"


def _by_evidence(column: Column, numbers: NDArray[np.float64], labels: NDArray[np.float64]) -> KindGuess:
    """Decide by whether near numbers behave alike, and whether greater ones are rarer, as counts are."""
    codes, clicked = column.codes[column.filled], labels[column.filled]
    width = bucket_width(column, labels)
    buckets = losses(np.array([bucket(number, width) for number in numbers])[codes], clicked)
    codes_lose, nothing_loses = losses(codes, clicked) - buckets, losses(np.zeros_like(codes), clicked) - buckets
    if codes_lose.mean() > 2 * error(codes_lose) and nothing_loses.mean() > 2 * error(nothing_loses):
        return KindGuess("numeric", "whole numbers that tell more about the label in buckets than one by one", bucket_width=width)
    if _correlation(numbers, column.counts) <= _RARER and codes_lose.mean() > -max(2 * error(codes_lose), 0.003):
        return KindGuess("numeric", "whole numbers, the greater the rarer, as counts are", bucket_width=width)
    if len(numbers) > len(codes) / 2 and numbers.max() > _SKEWED * np.median(numbers):
        return KindGuess("numeric", "whole numbers that hardly return, a few far greater than the rest, as amounts are", bucket_width=width)
    return KindGuess("categorical", "whole numbers that behave as codes")


def _correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the rank correlation; 0 if one of the two does not vary."""
    ranks = np.array([_ranks(one), _ranks(other)])
    return float(np.corrcoef(ranks)[0, 1]) if ranks.std(axis=1).all() else 0.0


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return the ranks of values; equal values have equal ranks."""
    _, positions, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[positions]


def _says(name: str, word: re.Pattern[str]) -> bool:
    """Return whether ``word`` is among the words of a name."""
    return any(map(word.fullmatch, words(name)))


def words(name: str) -> list[str]:
    """Split a name such as ``follow_user_num`` or ``itemPrice`` into words, at least one."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) or [""]


def _is_time(column: Column) -> bool:
    """Return whether all values are recent epoch times, or dates with a time of day."""
    if column.numbers is not None:
        return any(low <= column.numbers.min() and column.numbers.max() <= high for low, high in _EPOCHS)
    try:
        return bool(column.values) and all(len(value) > len("2022-04-25") and datetime.fromisoformat(value) for value in column.values)
    except (TypeError, ValueError):
        return False
