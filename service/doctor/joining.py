"""What the joiner will take: foretold by what its topics hold."""

from service.doctor.finding import Finding, size
from service.settings import Settings
from stream.formats.decoding import decoding
from stream.join.foretell import flow_of, foretold
from stream.log.contract import Log, LogError

_LESS = "raise [join] most_waiting, shorten click_window, or share the work: `sml join --partitions`"


def waiting_found(log: Log, settings: Settings) -> Finding:
    """Foretell the memory of what waits for its label, and check that [join] most_waiting allows it."""
    what, most = "waiting for labels", settings.join.most_waiting
    topics = settings.topics._replace(by_id=settings.join.rekey)
    try:
        impressions, clicks = (
            flow_of(decoding(log, settings.join), topics, each, settings.join) for each in (topics.impressions, topics.clicks)
        )
    except LogError as error:
        return Finding(what, True, f"can't be foretold: {error}")
    if not impressions.events:
        return Finding(what, True, "can't be foretold: there is no impression yet")
    memory = foretold(impressions, clicks, settings.join)
    rates = f"{impressions.events:,.1f} impressions and {clicks.events:,.1f} clicks a second of event time"
    found = f"{size(memory)} of at most {size(most)}, at {rates}"
    return Finding.check(what, memory <= most, found, _LESS)
