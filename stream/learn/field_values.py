"""Decode examples straight into the values of a model's fields: no dictionary is made of the features of each.

An example with a feature that no field is named after, or whose name JSON escapes, and whatever does not decode so, is decoded as any
record of ``examples`` is.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import astuple

from model.features import Column, Examples
from model.settings import Field
from stream.events import LARGEST_RECORD, UNREADABLE, Example, Feature, Forget, decode_example_or_forget

_ESCAPED = re.compile(r'["\\\x00-\x1f]')  # in a name, so that no struct can have it


class FieldValues:
    """Decodes the examples of a model with ``fields``.

    >>> values = FieldValues([Field(name="a")])
    >>> values.of([values.decode(b'{"impression_id": "i", "time": 1, "label": 0, "features": {"a": 5}}')])
    {'a': Column(values=[5], indices=None)}
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        read = (field.name for field in fields if field.is_feature)
        self._names = list(dict.fromkeys(name for name in read if not _ESCAPED.search(name)))
        columns = [(f"f{n}", Feature, msgspec.field(default=None, name=name)) for n, name in enumerate(self._names)]
        self._values = msgspec.defstruct("_Values", columns, frozen=True, gc=False, forbid_unknown_fields=True)
        parts: list[Any] = [
            (part.name, self._values if part.name == "features" else part.type, *(() if part.required else (part.default,)))
            for part in msgspec.structs.fields(Example)
        ]
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(msgspec.defstruct("_Example", parts, frozen=True, gc=False))

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
        return decode_example_or_forget(value)

    def of(self, examples: Sequence[Example]) -> Examples:
        """Return the features of examples that :meth:`decode` returned, in columns if all of them decoded so."""
        features: list[Any] = [example.features for example in examples]
        if features and all(isinstance(each, Struct) for each in features):
            columns = zip(*map(astuple, features), strict=True)
            return {name: Column(list(values)) for name, values in zip(self._names, columns, strict=True)}
        return [self.row(example) for example in examples]

    def row(self, example: Example) -> Mapping[str, Feature]:
        """Return the features of one example that :meth:`decode` returned, by their names."""
        features: Any = example.features
        return dict(zip(self._names, astuple(features), strict=True)) if isinstance(features, Struct) else features
