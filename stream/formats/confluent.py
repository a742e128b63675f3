"""Confluent's wire format: a zero, the id of a schema in a registry, and Avro, Protobuf or JSON by that schema.

An id is of one schema for ever, so what a record says does not change with the registry. Records are read by the schema that they were
written with, so schemas may evolve in either direction: fields are found by their names. While the registry is away, the reader waits. It
does not wait for ever for one schema at which a registry fails that answers for others: then the record is at fault. What this imports is
of the extra ``registry``.
"""

import base64
import json
import struct
import time
from collections.abc import Callable
from typing import Any

import msgspec
from cachetools import LRUCache, TTLCache
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError
from httpx2 import HTTPError

from stream.formats import avro, protobuf
from stream.log.contract import LogUnavailableError
from stream.records.events import BadRecordError

_HEAD = struct.Struct(">bI")
_MOST_SCHEMAS = 1_000  # that are remembered, and as many ids of none
_UNTIL_ASKED_AGAIN = 30  # seconds, for an id of none
_PATIENCE = 5  # seconds for an answer
_RETRIES = 2
_NO_SUCH_ID = 400, 404, 422  # HTTP statuses
_ALONE_FOR = 30.0  # seconds for which only one schema must fail, to be a fault of its own
_NOBODYS = 2**31 - 1  # an id that no registry gives: whether it says so shows whether it looks ids up

Decode = Callable[[bytes], Any]


class RegistryAwayError(LogUnavailableError):
    """The schema registry can't be reached now, or does not let us in; a later try may work."""


class Registry:
    """Decodes records by the schemas of a registry.

    Args:
        url: The registry's.
        user: Who asks it, and the password, where it wants to know.
        password: See ``user``.
    """

    def __init__(self, url: str, user: str | None = None, password: str = "") -> None:
        self._address = url
        config: dict[str, Any] = {"url": url, "timeout": _PATIENCE, "max.retries": _RETRIES}
        if user:
            config["basic.auth.user.info"] = f"{user}:{password}"
        # Each remembers a schema in one form: as it was written, and as a descriptor.
        self._schemas, self._descriptors = SchemaRegistryClient(config), SchemaRegistryClient(config)
        self._decoders: LRUCache[int, Decode] = LRUCache(_MOST_SCHEMAS)
        self._unusable: TTLCache[int, tuple[str, str]] = TTLCache(_MOST_SCHEMAS, _UNTIL_ASKED_AGAIN)
        self._failing: LRUCache[int, float] = LRUCache(_MOST_SCHEMAS)  # since when, by the monotonic clock, while others do not

    def decode(self, value: bytes) -> Any:
        """Return what a value says, as JSON has it.

        Raises:
            BadRecordError: its schema is not known, or it does not fit it.
            RegistryAwayError: the registry can't be asked now.
        """
        if len(value) <= _HEAD.size:
            raise BadRecordError("record", value, "a zero, the id of a schema, and what it describes")
        schema_id = _HEAD.unpack_from(value)[1]
        decode = self._decoders.get(schema_id) or self._find(schema_id)
        try:
            return decode(value[_HEAD.size :])
        except Exception as error:
            raise BadRecordError("record", value, f"what schema {schema_id} describes: {error}") from error

    def _find(self, schema_id: int) -> Decode:
        """Return what decodes by a schema. If nothing does, that is remembered for a while: no record makes us ask again and again."""
        if schema_id not in self._unusable:
            try:
                self._decoders[schema_id] = self._made(schema_id)
                self._failing.pop(schema_id, None)
                return self._decoders[schema_id]
            except (SchemaRegistryError, HTTPError) as error:
                said = error.error_message if isinstance(error, SchemaRegistryError) else error
                if not (_is_none(error) or self._fails_alone(schema_id)):
                    raise RegistryAwayError(f"{self._address}: {error}") from error
                why = f"one that {self._address} knows: {said}"
            except Exception as error:  # noqa: BLE001 - as above, at a schema
                why = f"one that can be used: {error}"
            self._unusable[schema_id] = f"schema id {schema_id}", why
        raise BadRecordError("record", *self._unusable[schema_id])

    def _fails_alone(self, schema_id: int) -> bool:
        """Return whether the registry has failed at a schema for long, and answered for others all the while."""
        try:
            self._schemas.get_schema(_NOBODYS)
        except (SchemaRegistryError, HTTPError) as error:
            if _is_none(error):
                since = self._failing.setdefault(schema_id, time.monotonic())
                return time.monotonic() - since > _ALONE_FOR
        self._failing.pop(schema_id, None)
        return False

    def _made(self, schema_id: int) -> Decode:
        schema = self._schemas.get_schema(schema_id)
        if schema.schema_type == "PROTOBUF" or (schema.schema_str or "").lstrip()[:1] not in '{["':  # Apicurio does not say the type
            described, files = self._descriptors.get_schema(schema_id, fmt="serialized"), dict[str, bytes]()
            self._describe_references(described, files)
            return protobuf.decoder(_descriptor(described), files)
        if schema.schema_type == "AVRO":
            named: dict[str, Any] = {}
            self._parse_references(schema, named)
            return avro.decoder(json.loads(schema.schema_str or ""), named)
        return msgspec.json.decode

    def _parse_references(self, schema: Schema, named: dict[str, Any]) -> None:
        """Add the types that a schema refers to, those first that they refer to themselves."""
        for reference in schema.references or ():
            referred = self._schemas.get_version(reference.subject or "", reference.version or 1).schema
            self._parse_references(referred, named)
            avro.name_types(json.loads(referred.schema_str or ""), named)

    def _describe_references(self, schema: Schema, files: dict[str, bytes]) -> None:
        """Add the files that a schema imports, those first that they import themselves."""
        for reference in schema.references or ():
            if reference.name and reference.name not in files:
                referred = self._descriptors.get_version(reference.subject or "", reference.version or 1, fmt="serialized").schema
                self._describe_references(referred, files)
                files[reference.name] = _descriptor(referred)


def _is_none(error: Exception) -> bool:
    """Return whether a registry has looked for an id, and found none."""
    return isinstance(error, SchemaRegistryError) and error.http_status_code in _NO_SUCH_ID


def _descriptor(schema: Schema) -> bytes:
    return base64.b64decode(schema.schema_str or "", validate=True)
