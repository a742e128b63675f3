"""Find the pairs of fields that ``sml init`` writes as crosses and overlaps: few, and only where the sample leaves no doubt."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations, islice, product
from operator import itemgetter
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoder, Features
from model.evaluation.crosses import Crosses, Saved
from model.evaluation.progressive import Outcome, learn_and_score
from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.settings import Field
from service.onboarding.field_kinds import words
from service.screen import counting
from service.settings import Settings
from stream.files.columns import LoggedBlock, read_blocks
from stream.files.left_out import LeftOut
from stream.files.opened import Recorded

Pair: TypeAlias = tuple[int, int]  # of the fields; of an overlap, it and itself

ROWS = 60_000  # that pairs are judged by, or as many of the newest as there is work for
WORK = 200_000_000  # pairs of values of all rows, about half a minute: all rows of 80 fields, 10,000 of 200
_FEWEST = 4_000  # rows: less would leave no pair beyond doubt
_MOST_PAIRS = 32  # of values of two fields, in the mean: longer lists are not crossed
MOST = 4  # pairs
_POSSIBLE = 200  # overlaps whose first rows are looked at, a few seconds
_MOST_OVERLAPS = 16  # that are judged: those that vary most
_VARY = 0.01  # of the rows have not as many values in common as most: less is of columns that have nothing to do with each other
CERTAIN = 5.0  # standard errors: of the thousand pairs of 45 fields, chance takes none
_LEAST = 0.001  # of the log loss: less is not worth what a field costs
_PLAUSIBLE = 1.0  # standard errors, without which a pair is not looked at again
_ENOUGH_CLICKS = 50  # and as many examples without: of fewer, an error is itself uncertain
_PERSONAL = re.compile(
    "(.*_)?(user|visitor|customer|member|person|account|session|cookie|email|ip|uid|idfa|gaid|device_id)(_?(id|hash|key))?"
)
_CHUNK = 16  # pairs between two looks at the clock


class FoundPair(NamedTuple):
    """Two fields that tell more together."""

    field: Field  # that is made of them
    saved: Saved


def find_pairs(recorded: Recorded, settings: Settings) -> list[FoundPair]:
    """Return the crosses and overlaps that a recorded log asks for, the most valuable first.

    Fields that by their names are of persons are not crossed: what a cross has learned of a value can't be forgotten.
    """
    fields = [*settings.field, *_overlaps(recorded, settings)]
    crosses, pairs = _to_judge(recorded, settings, fields)
    if not crosses:
        return []
    found: list[FoundPair] = []
    saved = dict(_judged(crosses, list(pairs)))
    while saved and len(found) < MOST:
        best = max(saved, key=lambda pair: saved[pair].share)
        if saved[best].share < max(_LEAST, CERTAIN * saved[best].error):
            break
        crosses.take(*best)
        found.append(FoundPair(pairs[best], saved[best]))
        plausible = [pair for pair in saved if pair != best and saved[pair].share > _PLAUSIBLE * saved[pair].error]
        saved = {pair: crosses.saved(*pair) for pair in plausible}
    return found


def _pair(kind: Literal["cross", "overlap"], one: Field, other: Field) -> Field:
    return Field(name=f"{one.name}{':' if kind == 'cross' else '&'}{other.name}", kind=kind, of=(one.name, other.name))


def _overlaps(recorded: Recorded, settings: Settings) -> list[Field]:
    """Return the overlaps that may tell something, by the first rows: not nearly all have the same."""
    lists = [field for field in settings.field if field.kind == "multi"]
    others = [field for field in settings.field if field.kind == "categorical"]
    pairs = [_pair("overlap", *pair) for pair in (*combinations(lists, 2), *product(others, lists))]
    names = {field.name for field in settings.field}
    overlaps = [field for field in pairs if field.name not in names][:_POSSIBLE]
    if not overlaps:
        return []
    columns = {name for field in overlaps for name in field.of}
    encoder = Encoder([*(field for field in settings.field if field.name in columns), *overlaps])
    blocks = read_blocks(recorded, settings.data, columns, LeftOut(settings.data.max_bad))
    [(keys, starts, _)] = [block.encoded(encoder).features for block in counting(islice(blocks, 1), "looking for what lists share")]
    first_keys = keys[starts[:-1].reshape(-1, len(columns) + len(overlaps))]
    varied = [_varied(first_keys[:, place]) for place in range(len(columns), first_keys.shape[1])]
    most_varied = sorted(zip(varied, overlaps, strict=True), key=itemgetter(0), reverse=True)[:_MOST_OVERLAPS]
    return [field for share, field in most_varied if share >= _VARY]


def _varied(keys: NDArray[np.uint64]) -> float:
    """Return the share of the rows that have not the key that most have."""
    return 1 - int(np.max(np.unique(keys, return_counts=True)[1], initial=0)) / max(len(keys), 1)


def _to_judge(recorded: Recorded, settings: Settings, fields: Sequence[Field]) -> tuple[Crosses | None, dict[Pair, Field]]:
    """Return the rows that pairs are judged by, the more pairs, the fewer, and the field that each would be; None: too few rows."""
    crossed = [place for place, field in enumerate(fields) if not field.of and _may_be_crossed(field)]
    crosses = _learned(recorded, settings, fields) if math.comb(len(crossed), 2) * _FEWEST <= WORK else None
    if not crosses:
        return None, {}
    names, values = {field.name for field in fields}, crosses.pairs_of_values()
    short = [pair for pair in combinations(crossed, 2) if values[pair] <= _MOST_PAIRS]
    pairs = {(one, other): _pair("cross", fields[one], fields[other]) for one, other in short}
    pairs = {pair: cross for pair, cross in pairs.items() if cross.name not in names}
    pairs |= {(place, place): field for place, field in enumerate(fields) if field.of}
    rows = int(WORK / max(sum(values[pair] * crosses.judgements(*pair) for pair in pairs), 1))
    return (crosses.newest(rows) if rows >= _FEWEST else None), pairs


def _may_be_crossed(field: Field) -> bool:
    return not _PERSONAL.fullmatch("_".join(words(field.name)))


def _learned(recorded: Recorded, settings: Settings, fields: Sequence[Field]) -> Crosses | None:
    """Learn the first rows, each predicted before, and return them with the keys of ``fields``; None: too few were clicked, or not."""
    spec = settings.spec
    model, encoder, scores = OnlineModel(spec), Encoder(spec.fields), RunningScores()
    with_overlaps = Encoder(fields) if len(fields) > len(spec.fields) else None
    parts: list[Outcome] = []
    blocks = read_blocks(recorded, settings.data, [field.name for field in spec.fields], LeftOut(settings.data.max_bad))
    for block in counting(_first(blocks), "learning, to find pairs of fields"):
        outcome = learn_and_score(model, scores, block.encoded(encoder), block.labels)
        undone = np.flatnonzero(~np.isfinite(outcome.logits)).tolist()
        features = block.encoded(with_overlaps).features if with_overlaps else outcome.features
        features = features.without(undone, len(outcome.logits))
        parts.append(
            outcome._replace(features=features, logits=np.delete(outcome.logits, undone), labels=np.delete(outcome.labels, undone))
        )
    if not parts:
        return None
    logits, labels = np.concatenate([part.logits for part in parts]), np.concatenate([part.labels for part in parts])
    if min(labels.sum(), len(labels) - labels.sum()) < _ENOUGH_CLICKS:
        return None
    delay = round(settings.join.decided_after * 1000) if settings.data.timed else 0
    numbers = [index for index, field in enumerate(settings.field) if field.tiles]
    return Crosses(_joined([part.features for part in parts]), logits, labels, delay, numbers)


def _first(blocks: Iterable[LoggedBlock]) -> Iterator[LoggedBlock]:
    """Yield as many blocks as hold the rows that pairs are judged by."""
    rows = 0
    for block in blocks:
        yield block
        rows += len(block)
        if rows >= ROWS:
            return


def _joined(parts: Sequence[Features]) -> Features:
    """Return the keys of all examples."""
    ends = np.cumsum([0, *(part.starts[-1] for part in parts)])
    starts = [part.starts[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return Features(
        np.concatenate([part.keys for part in parts]),
        np.concatenate([*starts, ends[-1:]]),
        np.concatenate([part.times for part in parts]),
    )


def _judged(crosses: Crosses, pairs: Sequence[Pair]) -> Iterator[tuple[Pair, Saved]]:
    """Yield each pair with what it saves."""
    chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
    for some in counting(chunks, "comparing pairs of fields"):
        yield from ((pair, crosses.saved(*pair)) for pair in some)
