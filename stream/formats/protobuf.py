"""Protobuf messages as JSON has them, by the descriptor of their file; numbers stay numbers, which Protobuf's own JSON writes as texts."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from stream.records.events import LARGEST_RECORD

_OWN = "google.protobuf."  # Timestamp, Struct, wrappers: Protobuf knows how JSON has them
_OF_OWN = 20  # bytes that one of them takes as JSON, about
_LONGEST = 35  # bits of an index
_OWN_FILES = ("any", "duration", "empty", "field_mask", "struct", "timestamp", "wrappers")


def decoder(descriptor: bytes, others: Mapping[str, bytes]) -> Callable[[bytes], Any]:
    """Return what decodes the data of Confluent's wire format: the message's indexes within its file, and the message.

    Args:
        descriptor: The file's, serialised.
        others: Those of the files that it imports, by name, each after those that it imports itself.
    """
    pool = DescriptorPool()
    for name in _OWN_FILES:
        module = importlib.import_module(f"google.protobuf.{name}_pb2")
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    for name, other in others.items():
        _add(pool, other, name)
    file = _add(pool, descriptor, "schema.proto")
    package = f"{file.package}." if file.package else ""

    def decode(data: bytes) -> Any:
        indexes, start = _indexes(data)
        messages, name = file.message_type, package.rstrip(".")
        for index in indexes:
            kind = messages[index]
            name, messages = f"{name}.{kind.name}" if name else kind.name, kind.nested_type
        message = GetMessageClass(pool.FindMessageTypeByName(name))()
        message.ParseFromString(data[start:])
        return _Plain().of(message)

    return decode


def _add(pool: DescriptorPool, descriptor: bytes, name: str) -> FileDescriptorProto:
    file = FileDescriptorProto.FromString(descriptor)
    file.name = name
    pool.Add(file)
    return file


def _indexes(data: bytes) -> tuple[list[int], int]:
    """Return the path to the message type among those of the file, and where the message begins; a single 0 stands for the path [0]."""
    count, at = _zigzag(data, 0)
    if count == 0:
        return [0], at
    indexes = []
    for _ in range(count):
        index, at = _zigzag(data, at)
        indexes.append(index)
    return indexes, at


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, _LONGEST, 7):
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:  # noqa: PLR2004 - the last has no high bit
            return (number >> 1) ^ -(number & 1), at
    raise ValueError("a number without an end")


class _Plain:
    """One message as JSON has it, as long as that is no longer than a record: two bytes may be a message of a thousand fields."""

    def __init__(self) -> None:
        self._left = LARGEST_RECORD

    def of(self, message: Message) -> Any:
        """Return a message.

        Raises:
            ValueError: what its fields are called is longer than a record.
        """
        descriptor: Descriptor = message.DESCRIPTOR
        if descriptor.full_name.startswith(_OWN):
            self._take(_OF_OWN)
            return json_format.MessageToDict(message)
        return {
            field.name: self._value(message, field) for field in descriptor.fields if not field.has_presence or message.HasField(field.name)
        }

    def _value(self, message: Message, field: FieldDescriptor) -> Any:
        """Return a field's value; one without presence has its default where it was not sent, which can't be told from that."""
        self._take(len(field.name))
        value, kind = getattr(message, field.name), field.message_type
        if kind and kind.GetOptions().map_entry:
            of = kind.fields_by_name["value"]
            return {str(name): self._one(value[name], of) for name in value}
        return [self._one(each, field) for each in value] if field.is_repeated else self._one(value, field)

    def _one(self, value: Any, field: FieldDescriptor) -> Any:
        if field.message_type:
            return self.of(value)
        if field.enum_type:
            named = field.enum_type.values_by_number.get(value)
            return named.name if named else value
        return value

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError(f"more than {LARGEST_RECORD:,} bytes as JSON")
