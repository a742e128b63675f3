"""What the joiner will take, foretold by what its topics hold; and which partitions have a joiner, by what joiners have committed."""

from collections.abc import Iterator, Mapping

from service.doctor.finding import Finding, size
from service.settings import Settings
from stream.formats.decoding import MissingLibraryError, decoding
from stream.join.foretell import flow_of, foretold
from stream.join.share import Share, is_flinks, joiner_of, share_in
from stream.log.contract import Log, LogError

_SHARES = "start joiners whose --partitions together are all of the topic's, each in one of them only"
_LESS = "raise [join] most_waiting, shorten click_window, or share the work: `sml join --partitions`"


def waiting_found(log: Log, settings: Settings) -> Finding:
    """Foretell the memory of what waits for its label, and check that [join] most_waiting, which each joiner may take, allows it."""
    what = "waiting for labels"
    topics = settings.topics._replace(by_id=settings.join.rekey)
    try:
        impressions, clicks = (
            flow_of(decoding(log, settings.join), topics, each, settings.join) for each in (topics.impressions, topics.clicks)
        )
        shares = {share_in(entry) for entry in log.progress(joiner_of(topics), topics.impressions).values()}
    except (LogError, MissingLibraryError) as error:
        return Finding(what, True, f"can't be foretold: {error}")
    if not impressions.events:
        return Finding(what, True, "can't be foretold: there is no impression yet")
    memory, most = foretold(impressions, clicks, settings.join), max(1, len(shares)) * settings.join.most_waiting
    rates = f"{impressions.events:,.1f} impressions and {clicks.events:,.1f} clicks a second of event time"
    found = f"{size(memory)} of at most {size(most)}, at {rates}"
    return Finding.check(what, memory <= most, found, _LESS)


def joiners_found(log: Log, settings: Settings) -> Finding:
    """Check that each partition has exactly one joiner, where a joiner has begun."""
    topics = settings.topics._replace(by_id=settings.join.rekey)
    try:
        known = log.progress(joiner_of(topics), topics.impressions)
        count = len(log.bounds(topics.impressions))
    except LogError as error:
        return Finding("joiners", True, f"can't be told: {error}")
    if known and all(map(is_flinks, known.values())):
        return Finding("joiners", True, "a job of Flink's for all partitions")
    shares = {p: share_in(entry) for p, entry in known.items()}
    if not any(shares.values()):
        return Finding("joiners", True, "one for all partitions" if known else "none has begun")
    named = sorted(share for share in set(shares.values()) if share)
    wrong = [*_overlaps(named, shares), *_gaps(shares, count)]
    return Finding.check("joiners", not wrong, "; ".join([f"of partitions {', '.join(map(str, named))}", *wrong]), _SHARES)


def _overlaps(named: list[Share], shares: Mapping[int, Share | None]) -> Iterator[str]:
    """Say which shares have lost a partition to another: their joiners were fenced."""
    for share in named:
        for other in sorted({other for p in share.partitions if (other := shares.get(p)) and other != share}):
            yield f"{other} has taken partitions from {share}, whose joiner was fenced"


def _gaps(shares: Mapping[int, Share | None], count: int) -> Iterator[str]:
    """Say which partitions nobody joins: no share has them, or the joiner of the one that does was fenced."""
    missing = [p for p in range(count) if not (share := shares.get(p)) or any(shares.get(each) != share for each in share.partitions)]
    if missing:
        yield f"nobody joins {', '.join(map(str, missing))}"
