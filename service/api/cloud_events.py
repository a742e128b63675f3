"""CloudEvents over HTTP, as the events that they hold: one in either mode, or a batch."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import msgspec

from service.api.answers import BadRequestError
from service.api.strict import check_keys
from stream.formats.cloud_events import event_in, event_of, is_batch, is_structured
from stream.records.events import UNREADABLE, BadRecordError

_ATTRIBUTE = "ce-"


def plain(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a body of CloudEvents as it would be without them, and any other as it is.

    Raises:
        BadRequestError: they are none.
    """
    content_type = headers.get("content-type", "")
    attributes = {name.removeprefix(_ATTRIBUTE): unquote(text) for name, text in headers.items() if name.startswith(_ATTRIBUTE)}
    batch, structured = is_batch(content_type), is_structured(content_type)
    if not ("specversion" in attributes or batch or structured):
        return body
    check_keys(body, -1)  # before what stands twice is lost
    try:
        sent = msgspec.json.decode(body)
    except UNREADABLE as error:
        raise BadRequestError("body", str(error)) from error
    if batch and not isinstance(sent, list):
        raise BadRequestError("body", "expected a list of CloudEvents")
    event: Any = [_event(each, f"[{index}].") for index, each in enumerate(sent)] if batch else _event(sent, "", attributes)
    try:
        return msgspec.json.encode(event)
    except (ValueError, OverflowError) as error:
        raise BadRequestError("body", str(error)) from error


def _event(sent: Any, prefix: str, attributes: Mapping[str, str] | None = None) -> dict[str, Any]:
    try:
        return event_of(attributes, sent) if attributes and "specversion" in attributes else event_in(sent)
    except BadRecordError as error:
        raise BadRequestError(prefix + error.field, str(error)) from error
