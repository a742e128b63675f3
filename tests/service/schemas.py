"""Hold what a command has printed to its JSON Schema."""

from functools import cache
from typing import Any

import jsonschema_rs

from service.results.schema import schema


@cache
def _validator(command: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(_closed(schema(command)))


def _closed(part: Any) -> Any:
    """Return a schema that takes no property which it does not name."""
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    closed = {name: _closed(each) for name, each in part.items()}
    return {**closed, "additionalProperties": False} if isinstance(part.get("properties"), dict) else closed


def fits(command: str, value: Any) -> Any:
    """Make sure that a value is what ``sml schema COMMAND`` says, with no property beside it, and return it."""
    _validator(command).validate(value)
    return value
