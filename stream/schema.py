"""JSON Schemas of msgspec's types, as any other reader takes them."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec


def json_schema(title: str, kinds: Sequence[Any]) -> dict[str, Any]:
    r"""Return the JSON Schema of values of any of some types.

    Patterns are those of ECMAScript there, which know no ``\Z``, and in which ``$`` is the end.

    >>> json_schema("a list", [list[int]])["items"]
    {'type': 'integer'}
    """
    found, named = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    value = found[0] if len(found) == 1 else {"anyOf": list(found)}
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **value, **({"$defs": named} if named else {})}
    return {name: _portable(part) for name, part in schema.items()}


def _portable(part: Any) -> Any:
    if isinstance(part, list):
        return [_portable(each) for each in part]
    if not isinstance(part, dict):
        return part
    return {
        name: re.sub(r"\\Z$", "$", each) if name == "pattern" and isinstance(each, str) else _portable(each) for name, each in part.items()
    }
