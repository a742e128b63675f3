"""What a column can be to the model: a kind of field, or nothing, each with its reason.

Text is categorical; fractions are numeric. Whole numbers may be either, and a count taken for a category loses little while a
category taken for a count loses nearly everything. So they are categorical unless their name, their shape and what they tell
about the label say that they measure something.
"""

import re
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.features import bucket
from service.onboarding.sample import Column, Sample

Kind: TypeAlias = Literal["categorical", "numeric", "multi"]

_ENOUGH = 20  # rows, to say that what did not come again never does …
_PLENTY = 1_000  # … and of a user or an item
_FEW = 12  # whole numbers that are worth a row each, whatever they mean
_JOINED = 0.01  # of the rows: from there on a separator is no accident
_RARER = -0.6  # rank correlation of number and frequency: counts have -0.6 to -1, codes about 0
_MEASURES = re.compile(
    "num|counts?|cnt|days|age|price|amount|duration|width|height|length|len|score|rate|ratio|ctr|total|sum|avg|mean|median|qty|quantity|seconds|secs"
    "|ms|minutes|distance|income|revenue|cost|impressions|clicks|views|likes|balance|pct|percent|share"
)
_CODES = re.compile(
    "id|ids|[a-z]{2,}id|uid|code|type|kind|category|cat|class|group|segment|zip|postcode|flag|feat|tag|slot|position|pos|version"
)
_TIMES = re.compile("time|ts|timestamp|at")
_SKEWED = 5  # times the median: codes spread evenly stay below
_SUBJECTS = re.compile(
    "user|customer|visitor|member|cookie|device|ip|item|product|video|author|ad|campaign|advertiser|publisher|creative|site|app|page|url|query|title|zip"
)
_SEPARATORS = (",", "|", ";")
_TAG = re.compile(r"[\w .:/+&-]{1,30}")
_EPOCHS = ((9e8, 2.2e9), (9e11, 2.2e12))  # 1998 to 2039 in seconds and in ms


class KindGuess(NamedTuple):
    """What a column is; without a kind it is left out."""

    kind: Kind | None
    reason: str
    separator: str = ","
    clicked_at: bool = False  # it is when the click came


def infer_kind(column: Column, sample: Sample) -> KindGuess:
    """Decide what ``column`` is to the model."""
    return _useless(column, sample) or _several(column) or _single(column, sample.labels)


def _useless(column: Column, sample: Sample) -> KindGuess | None:
    """Find what can't be a feature."""
    filled = column.filled
    if column.has_objects:
        return KindGuess(None, "objects, and a field takes single values and lists")
    if len(column.values) == 0 or (len(column.values) == 1 and filled.all()):
        return KindGuess(None, "constant: " + (f"always {column.values[0]}" if column.values else "always missing"))
    if not filled.all() and np.array_equal(filled, sample.labels == 1):
        return KindGuess(None, "filled exactly where the label is 1, so it is known only after the click", clicked_at=_is_time(column))
    unique = len(column.values) == filled.sum() >= (_PLENTY if _says(column.name, _SUBJECTS) else _ENOUGH)
    measures = column.numbers is not None and (_says(column.name, _MEASURES) or not _whole(column.numbers))
    if _is_time(column) and (column.rises or unique or _says(column.name, _TIMES)):
        return KindGuess(None, "a time: what it says does not come again (if it is the impression's, say --time)")
    if unique and not measures and not column.has_lists:
        return KindGuess(None, "a different value in every row")
    return None


def _several(column: Column) -> KindGuess | None:
    """Find lists, and strings that are lists of tags: of different lengths, the tags coming again in other company."""
    if column.has_lists:
        return KindGuess("multi", "lists")
    if column.numbers is not None or not all(isinstance(value, str) for value in column.values):
        return None
    for separator in _SEPARATORS:
        lists = [value.split(separator) for value in column.values]
        tags = {tag.strip() for tags in lists for tag in tags}
        total = sum(map(len, lists))
        joined = column.counts[[len(tags) > 1 for tags in lists]].sum() / column.counts.sum()
        lengths = {len(tags) for tags in lists}
        if joined >= _JOINED and len(lengths) > 1 and len(tags) <= total / 2 and all(map(_TAG.fullmatch, tags - {""})):
            return KindGuess("multi", f"{len(tags):,} different tags, joined by {separator!r} in {joined:.1%} of the rows", separator)
    return None


def _single(column: Column, labels: NDArray[np.float64]) -> KindGuess:
    """Distinguish categories from measures."""
    numbers, name = column.numbers, column.name
    if numbers is None:
        return KindGuess("categorical", "text" if isinstance(column.values[0], str) else "no numbers")
    if not _whole(numbers):
        return KindGuess("numeric", "fractions")
    if len(numbers) <= _FEW and column.counts.sum() >= _ENOUGH * len(numbers):
        return KindGuess("categorical", f"only {len(numbers)} whole numbers")
    measures = _says(name, _MEASURES)
    if _CODES.fullmatch(_words(name)[-1]) or (not measures and (_says(name, _CODES) or _says(name, _SUBJECTS))):
        return KindGuess("categorical", "whole numbers, and a name of codes")
    if measures:
        return KindGuess("numeric", "whole numbers, and a name of measures")
    return _by_evidence(column, numbers, labels)


def _by_evidence(column: Column, numbers: NDArray[np.float64], labels: NDArray[np.float64]) -> KindGuess:
    """Ask whether near numbers behave alike, and whether the greater are the rarer, as counts are."""
    codes, clicked = column.codes[column.filled], labels[column.filled]
    buckets = _losses(np.array([bucket(number) for number in numbers])[codes], clicked)
    over_codes, over_nothing = _losses(codes, clicked) - buckets, _losses(np.zeros_like(codes), clicked) - buckets
    if over_codes.mean() > 2 * _error(over_codes) and over_nothing.mean() > 2 * _error(over_nothing):
        return KindGuess("numeric", "whole numbers that tell more about the label in buckets than one by one")
    if _correlation(numbers, column.counts) <= _RARER and over_codes.mean() > -max(2 * _error(over_codes), 0.003):
        return KindGuess("numeric", "whole numbers, the greater the rarer, as counts are")
    if len(numbers) > len(codes) / 2 and numbers.max() > _SKEWED * np.median(numbers):
        return KindGuess("numeric", "whole numbers that hardly come again, a few far greater than the rest, as amounts are")
    return KindGuess("categorical", "whole numbers that behave as codes")


def _losses(codes: NDArray[np.int64], clicked: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the log loss of each example, predicted by the click rate of its code so far, five examples of the overall rate added."""
    order = np.argsort(codes, kind="stable")
    codes, clicked = codes[order], clicked[order]
    starts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    group = np.cumsum(np.diff(codes, prepend=codes[0] - 1) != 0) - 1
    before = np.cumsum(clicked) - clicked
    seen, clicks = np.arange(len(codes)) - starts[group], before - before[starts[group]]
    rate = (clicked.sum() + 1) / (len(clicked) + 2)
    probability = (clicks + 5 * rate) / (seen + 5)
    losses = np.empty(len(codes))
    losses[order] = -np.log(np.where(clicked == 1, probability, 1 - probability))
    return losses


def _error(values: NDArray[np.float64]) -> float:
    """Return the standard error of a mean."""
    return float(values.std() / np.sqrt(len(values)))


def _correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the rank correlation, 0 where one of the two does not vary."""
    ranks = np.array([_ranks(one), _ranks(other)])
    return float(np.corrcoef(ranks)[0, 1]) if ranks.std(axis=1).all() else 0.0


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Rank values, equal ones alike."""
    _, positions, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[positions]


def _whole(numbers: NDArray[np.float64]) -> bool:
    return bool((numbers == np.round(numbers)).all())


def _says(name: str, word: re.Pattern[str]) -> bool:
    """Return whether ``word`` is among the words of a name."""
    return any(map(word.fullmatch, _words(name)))


def _words(name: str) -> list[str]:
    """Split ``follow_user_num`` and ``itemPrice`` into words, one at least."""
    return re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()) or [""]


def _is_time(column: Column) -> bool:
    """Return whether all values are recent epoch times, or dates with a time of day."""
    if column.numbers is not None:
        return any(low <= column.numbers.min() and column.numbers.max() <= high for low, high in _EPOCHS)
    try:
        return bool(column.values) and all(len(value) > len("2022-04-25") and datetime.fromisoformat(value) for value in column.values)
    except (TypeError, ValueError):
        return False
