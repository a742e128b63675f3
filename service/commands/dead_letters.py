"""``sml dead-letters``: the records that were set aside and why, and their retry once the cause is fixed."""

from typing import Any

from service.settings import Settings
from stream.dead_letters import dead_letter_at, dead_letters, retried_until, retry
from stream.formats.decoding import decoding
from stream.log.connect import open_log


def counted(settings: Settings) -> list[dict[str, Any]]:
    """Count the dead letters by topic and reason, the most frequent first, each with the offset of the newest.

    Raises:
        LogError: the log can't be used.
    """
    topics = settings.topics
    groups: dict[tuple[str, ...], dict[str, Any]] = {}
    with open_log(settings.log) as log:
        retried = retried_until(log, topics)
        for letter in dead_letters(log, topics):
            kind = {"topic": letter.topic, "stage": letter.stage, "class": letter.kind, "reason": letter.reason}
            group = groups.setdefault(tuple(kind.values()), {"count": 0, "not_retried": 0, **kind})
            group["count"] += 1
            group["not_retried"] += letter.record.offset >= retried
            group["newest"], group["newest_at"] = letter.record.offset, letter.record.timestamp
    return sorted(groups.values(), key=lambda group: -group["count"])


def shown(settings: Settings, offset: int) -> tuple[dict[str, Any], bytes]:
    """Return all that is known of a dead letter, and its original bytes.

    Raises:
        LogError: there is no such dead letter, or the log can't be used.
    """
    topics = settings.topics
    with open_log(settings.log) as log:
        letter = dead_letter_at(log, topics, offset)
    record = letter.record
    known = {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "stage": letter.stage,
        "class": letter.kind,
        "message": letter.message,
        "key": _text(record.key),
        "headers": {name: _text(value) for name, value in letter.original_headers},
        "value": _text(record.value),
    }
    return known, record.value or b""


def written_back(settings: Settings) -> dict[str, int]:
    """Write the records that were set aside since the last retry back to their topics.

    Raises:
        LogError: the log can't be used, or another retry has started.
    """
    with open_log(settings.log) as log:
        return retry(decoding(log, settings.join), settings.topics, settings.input)._asdict()


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode(errors="backslashreplace")
