"""CloudEvents 1.0 as events: their data is the event, and what it lacks is taken from their attributes.

    time            the event's time
    subject, or id  impression_id; the id only where there are features, for a click has an id of its own
    id, subject     id, subject
    source, type    source, type

In structured mode the value is the whole CloudEvent as JSON; in binary mode it is the data, and the attributes are headers: ``ce_id`` in
Kafka, ``ce-id`` over HTTP.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

import msgspec

from stream.records.events import UNREADABLE, BadRecordError

_ATTRIBUTES = "time", "id", "subject", "source", "type"
STRUCTURED, BATCH = "application/cloudevents+json", "application/cloudevents-batch+json"


def is_structured(content_type: str) -> bool:
    """Return whether a value is a CloudEvent as a whole."""
    return content_type.partition(";")[0].strip().lower() == STRUCTURED


def is_batch(content_type: str) -> bool:
    """Return whether a body is a list of CloudEvents."""
    return content_type.partition(";")[0].strip().lower() == BATCH


def event_of(attributes: Mapping[str, Any], data: Any) -> dict[str, Any]:
    """Return the event that a CloudEvent holds.

    >>> event_of({"specversion": "1.0", "id": "7", "source": "/shop", "type": "shown", "time": "2026-09-21T14:13:20Z"}, {"features": {}})
    {'time': '2026-09-21T14:13:20Z', 'id': '7', 'source': '/shop', 'type': 'shown', 'impression_id': '7', 'features': {}}

    Raises:
        BadRecordError: it is of another version, or its data is no object.
    """
    if attributes.get("specversion") != "1.0":
        raise BadRecordError("specversion", attributes.get("specversion", "nothing"), "1.0")
    if not isinstance(data, dict):
        raise BadRecordError("data", data, "an object in JSON, Avro or Protobuf")
    event = {name: attributes[name] for name in _ATTRIBUTES if name in attributes}
    name = attributes.get("subject", attributes.get("id") if "features" in data else None)
    return {**event, **({} if name is None else {"impression_id": name}), **data}


def event_in(envelope: Any) -> dict[str, Any]:
    """Return the event of a CloudEvent in structured mode.

    Raises:
        BadRecordError: it is none.
    """
    if not isinstance(envelope, dict):
        raise BadRecordError("record", envelope, "a CloudEvent, which is a JSON object")
    data = envelope.get("data")
    if "data_base64" in envelope:
        try:
            data = msgspec.json.decode(b64decode(envelope["data_base64"], validate=True))
        except (*UNREADABLE, TypeError, ValueError) as error:
            raise BadRecordError("data_base64", envelope["data_base64"], "an object in JSON, in base64") from error
    return event_of(envelope, data)
