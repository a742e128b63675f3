"""What is wrong with a record that did not decode."""

import json
from typing import Any, NamedTuple, get_args

import msgspec
from msgspec import Struct

from model.encoding.keys import Value
from stream.records.times import LATEST_TIME, TIMES, expected_time


class Fault(NamedTuple):
    """The first field that is not of its kind."""

    field: str
    value: object
    expected: str


def fault_of(kind: type[Struct], value: bytes, error: Exception) -> Fault:
    """Find what is wrong with a record that did not decode: msgspec does not name a bad feature, or a field that holds NaN."""
    try:
        # No field takes the type ``complex``, so the field that holds NaN or Infinity is found.
        fields = json.loads(value, parse_constant=complex)
    except (ValueError, RecursionError):
        return Fault("record", value, "a JSON object in UTF-8")
    if not isinstance(fields, dict):
        return Fault("record", fields, "a JSON object")
    for field in msgspec.structs.fields(kind):
        if field.name in fields:
            fault = _of_field(field.name, fields[field.name], field.type)
            if fault:
                return fault
        elif field.required:
            return Fault(field.name, "nothing", "a value")
    return Fault("record", value, str(error))


def _of_field(name: str, value: object, expected: Any) -> Fault | None:
    if name == "features" and isinstance(value, dict):
        return next(filter(None, (_of_field(f"features.{key}", feature, Value) for key, feature in value.items())), None)
    try:
        msgspec.convert(value, expected, str_keys=True)
    except UnicodeEncodeError:
        return Fault(name, value, "text without half a surrogate pair")
    except msgspec.ValidationError as error:
        if name in TIMES and isinstance(value, int | float) and (value > LATEST_TIME or isinstance(value, float)):
            return Fault(name, value, expected_time(value))
        return Fault(name, value, _expectation(str(error), expected))
    if isinstance(value, float) and abs(value) == float("inf"):
        return Fault(name, value, "a finite number")
    return None


def _expectation(message: str, expected: Any) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.time`" into "int", and its "Invalid enum value 7" into "0 or 1"."""
    if message.startswith("Invalid enum value"):
        return " or ".join(map(str, get_args(expected)))
    return message.removeprefix("Expected ").split(", got ")[0].split(" - at ")[0].replace("`", "")
