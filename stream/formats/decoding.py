"""A log whose records can be read as JSON, whatever format they are written in; their bytes stay as they are, for dead letters."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from stream.formats.cloud_events import event_in, event_of, is_structured
from stream.log.contract import Log, Reader, Record
from stream.records.events import LARGEST_RECORD, UNREADABLE, BadRecordError
from stream.settings import JoinSettings

if TYPE_CHECKING:
    from stream.formats.confluent import Registry

MAGIC = b"\0"  # Confluent's wire format begins with it
_ATTRIBUTE, _TYPE = "ce_", "content-type"  # headers


class MissingLibraryError(Exception):
    """What reads a schema registry is not installed."""


def decoding(log: Log, settings: JoinSettings) -> Log:
    """Return the log, whose readers return records with their JSON; the settings say where the schema registry is, if there is one.

    Raises:
        MissingLibraryError: what asks it is not installed.
    """
    return cast("Log", _DecodingLog(log, Formats(settings)))


class Formats:
    """Decodes records of other formats than JSON."""

    def __init__(self, settings: JoinSettings) -> None:
        self._registry = _registry(settings, settings.schema_registry) if settings.schema_registry else None

    def decoded(self, record: Record) -> Record:
        """Return a record with its JSON, or with why it has none, if it is not in JSON itself.

        Raises:
            RegistryAwayError: the schema registry can't be asked now.
        """
        value, headers = record.value, dict(record.headers)
        structured = _TYPE in headers and is_structured(headers[_TYPE].decode(errors="replace"))
        binary = _ATTRIBUTE + "specversion" in headers
        if value is None or not (binary or structured or value[:1] == MAGIC):
            return record
        try:
            data = self._data(value)
            if structured:
                data = event_in(data)
            elif binary:
                named = ((name, text) for name, text in headers.items() if name.startswith(_ATTRIBUTE))
                data = event_of({name.removeprefix(_ATTRIBUTE): text.decode(errors="replace") for name, text in named}, data)
            return record._replace(decoded=msgspec.json.encode(data))
        except BadRecordError as error:
            return record._replace(decoded=error)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:  # text with half a surrogate pair, say
            return record._replace(decoded=BadRecordError("record", value, f"what JSON can say: {error}"))

    def _data(self, value: bytes) -> Any:
        if len(value) > LARGEST_RECORD:
            raise BadRecordError("record", f"{len(value)} bytes", f"at most {LARGEST_RECORD} bytes")
        if value[:1] != MAGIC:
            try:
                return msgspec.json.decode(value)
            except UNREADABLE as error:
                raise BadRecordError("record", value, "a JSON object in UTF-8") from error
        if self._registry is None:
            expected = "a JSON object; where it is Avro or Protobuf by a schema registry, join.schema_registry says where that is"
            raise BadRecordError("record", value, expected)
        return self._registry.decode(value)


def _registry(settings: JoinSettings, url: str) -> "Registry":
    try:
        from stream.formats.confluent import Registry  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingLibraryError(f"join.schema_registry: got {error}, expected: pip install 'sml-online[registry]'") from error
    password = settings.schema_registry_password
    return Registry(url, settings.schema_registry_user, password.get_secret_value() if password else "")


class _DecodingLog:
    def __init__(self, log: Log, formats: Formats) -> None:
        self._log, self._formats = log, formats

    def reader(self, topic: str, start: Mapping[int, int]) -> Reader:
        return cast("Reader", _DecodingReader(self._log.reader(topic, start), self._formats))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class _DecodingReader:
    def __init__(self, reader: Reader, formats: Formats) -> None:
        self._reader, self._formats = reader, formats

    def poll(self, max_records: int, timeout: float) -> list[Record]:
        return list(map(self._formats.decoded, self._reader.poll(max_records, timeout)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)
