"""Avro's data as JSON has it, by the schema that it was written with; no record takes more than its bytes are worth."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import fastavro
from fastavro import _read_py as in_python

Types = dict[str, Any]  # the types that have a name, by it


def name_types(schema: Any, named: Types) -> None:
    """Add the types of a schema to those that others may refer to."""
    fastavro.parse_schema(schema, named_schemas=named)


def decoder(schema: Any, named: Types) -> Callable[[bytes], Any]:
    """Return what decodes the data of a schema, which may refer to types that are named already.

    Where a type holds itself, that is the reader in Python: on a record that goes too deep it fails, and that of Cython ends the process.

    Raises:
        ValueError: it has arrays of what takes no bytes. A record of ten bytes could say that it holds 2⁶² of them.
    """
    parsed = fastavro.parse_schema(schema, named_schemas=named)
    parts = [part for each in (parsed, *named.values()) for part in _parts(each)]
    if any(_takes_no_bytes(part["items"], named) for part in parts if isinstance(part, dict) and part["type"] == "array"):
        raise ValueError("expected no array of what takes no bytes, such as null")
    read = in_python.schemaless_reader if _is_recursive(named) else fastavro.schemaless_reader
    return lambda data: read(BytesIO(data), parsed, None)


def _parts(schema: Any) -> Iterator[Any]:
    """Yield a schema and what stands in it; a type that stands elsewhere is its name."""
    if isinstance(schema, list):
        for each in schema:
            yield from _parts(each)
        return
    yield schema
    if isinstance(schema, dict):
        for inner in (schema["type"], schema.get("items"), schema.get("values"), *(field["type"] for field in schema.get("fields", ()))):
            yield from _parts(inner)


def _takes_no_bytes(schema: Any, named: Types) -> bool:
    """Return whether a value of a schema is written in no bytes."""
    schema = named.get(schema, schema) if isinstance(schema, str) else schema
    if not isinstance(schema, dict):  # of a union the branch is written
        return bool(schema == "null")
    if schema["type"] in ("record", "error"):
        return all(_takes_no_bytes(field["type"], named) for field in schema["fields"])
    return not schema["size"] if schema["type"] == "fixed" else _takes_no_bytes(schema["type"], named)


def _is_recursive(named: Types) -> bool:
    """Return whether a type holds itself, at any depth."""
    holds = {name: {part for part in _parts(kind) if isinstance(part, str) and part in named} for name, kind in named.items()}
    for name in named:
        held, new = set[str](), {name}
        while new:
            new = {inner for each in new for inner in holds[each]} - held
            held |= new
        if name in held:
            return True
    return False
