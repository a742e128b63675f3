"""Decode examples straight into the values of a model's fields: no dictionary is made of the features of each.

A feature that no field is named after, such as an id that every impression has, gets a place of its own once it has come often. An example
with another one, or with one whose name JSON escapes, and whatever does not decode so, is decoded as any record of ``examples`` is.
"""

import re
from collections.abc import Mapping, Sequence, Set as AbstractSet
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import astuple

from model.encoding.features import Column, Examples
from model.encoding.ignored_features import MOST_NAMES, OTHER, IgnoredFeatures
from model.settings import Field
from stream.records.events import LARGEST_RECORD, UNREADABLE, Example, Feature, Forget, decode_example_or_forget

_ESCAPED = re.compile(r'["\\\x00-\x1f]')  # in a name, so that no struct can have it
_OFTEN = 64  # examples with a feature that no field reads, after which it gets a place


class FieldValues:
    """Decodes the examples of a model with ``fields``.

    >>> values = FieldValues([Field(name="a")])
    >>> values.of([values.decode(b'{"impression_id": "i", "time": 1, "label": 0, "features": {"a": 5}}')])
    {'a': Column(values=[5], indices=None)}
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        read = (field.name for field in fields if field.is_feature)
        self._names = list(dict.fromkeys(name for name in read if not _ESCAPED.search(name)))
        self._others: list[str] = []  # names of features that no field reads, at most MOST_NAMES
        self._met = IgnoredFeatures()  # other such names; whoever makes up many of them keeps out none that comes often
        self._decoder = self._new_decoder()

    def _new_decoder(self) -> msgspec.json.Decoder[Any]:
        columns: list[Any] = [(f"f{n}", Feature, msgspec.field(default=None, name=name)) for n, name in enumerate(self._names)]
        columns += [(f"g{n}", Feature | UnsetType, msgspec.field(default=UNSET, name=name)) for n, name in enumerate(self._others)]
        values = msgspec.defstruct("_Values", columns, frozen=True, gc=False, forbid_unknown_fields=True)
        parts: list[Any] = [
            (part.name, values if part.name == "features" else part.type, *(() if part.required else (part.default,)))
            for part in msgspec.structs.fields(Example)
        ]
        return msgspec.json.Decoder(msgspec.defstruct("_Example", parts, frozen=True, gc=False))

    def decode(self, value: bytes | None) -> Example | Forget:
        """Decode a record of ``examples``; what it returns is an example in all but the type of its features.

        Raises:
            BadRecordError: it is neither an example nor a request to forget.
        """
        if value and len(value) <= LARGEST_RECORD:
            try:
                example: Example = self._decoder.decode(value)
            except UNREADABLE:
                pass
            else:
                return example
        event = decode_example_or_forget(value)
        if isinstance(event, Example):
            self._meet(event.features.keys() - self._names)
        return event

    def _meet(self, names: AbstractSet[str]) -> None:
        """Count names of an example that no field reads, and give those that have come often a place."""
        new = names - set(self._others)
        if not new or len(self._others) == MOST_NAMES:
            return
        self._met.add(new)
        often = [name for name, count in self._met.counts().items() if count >= _OFTEN and name != OTHER and not _ESCAPED.search(name)]
        if often:
            self._others = [*self._others, *often][:MOST_NAMES]
            self._met, self._decoder = IgnoredFeatures(), self._new_decoder()

    def of(self, examples: Sequence[Example]) -> Examples:
        """Return the features of examples that :meth:`decode` returned, in columns if all of them have the same."""
        features: list[Any] = [example.features for example in examples]
        kinds = set(map(type, features))
        kind = kinds.pop() if len(kinds) == 1 else dict
        if issubclass(kind, Struct):
            columns = dict(zip(kind.__struct_encode_fields__, zip(*map(astuple, features), strict=True), strict=True))
            absent = [name for name in columns if columns[name][0] is UNSET]
            if all(columns[name].count(UNSET) == (len(features) if name in absent else 0) for name in self._others if name in columns):
                return {name: Column(list(values)) for name, values in columns.items() if name not in absent}
        return [self.row(example) for example in examples]

    def row(self, example: Example) -> Mapping[str, Feature]:
        """Return the features of one example that :meth:`decode` returned, by their names."""
        features: Any = example.features
        if isinstance(features, dict):
            return features
        return {name: value for name, value in zip(features.__struct_encode_fields__, astuple(features), strict=True) if value is not UNSET}
