"""Records → decoded and encoded examples, and requests to forget, ready to be learned in order.

To prepare neither reads nor changes what is learned, so it may run ahead of the learning, in one thread at a time.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

from model.encoding.features import Encoded, Encoder
from model.settings import Spec
from stream.learn.field_values import FieldValues
from stream.learn.forgotten import check
from stream.learn.rules import Rules
from stream.log.contract import Record
from stream.records.events import BadRecordError, Example, Feature, Forget
from stream.sampling import Sampling


class Decoded(NamedTuple):
    """An example that the rules accept."""

    position: int  # of its record in the batch
    example: Example
    time: int  # that event time reaches when it is learned, epoch ms


class Segment(NamedTuple):
    """Examples with no request to forget between them."""

    decoded: list[Decoded]
    encoded: Encoded


class Prepared(NamedTuple):
    """Records, decoded and encoded."""

    records: Sequence[Record]
    steps: list[Segment | Forget]  # in order
    bad: dict[int, Exception]  # position of a record that could not be decoded → why
    refused: dict[int, Exception]  # position of an example that a rule refused → why
    sampling: Sampling | None  # of the negatives
    left_out: int  # negatives that it leaves out
    others: list[int]  # the event times of examples that another arm served, epoch ms; none where this one learns from all


class Preparer:
    """Prepares records for a model with these settings.

    Attributes:
        encoder: What encodes them.
    """

    def __init__(self, spec: Spec) -> None:
        self.encoder = Encoder(spec.fields)
        self._values, self._served_by = FieldValues(spec.fields), spec.served_by

    def prepare(
        self,
        records: Sequence[Record],
        excluded: Container[tuple[int, int]] = (),
        rules: Rules | None = None,
        sampling: Sampling | None = None,
    ) -> Prepared:
        """Decode and encode records.

        Args:
            records: Records of the topic ``examples``.
            excluded: Partition and offset of the records to skip.
            rules: The rules that may refuse an example. None when records are learned again: ``excluded`` names all that was refused.
            sampling: Which negatives are learned, and with which weight; what it leaves out is not looked at further. None: all.
        """
        kept = sampling.kept(record.value for record in records) if sampling else range(len(records))
        prepared = Prepared(records, [], {}, {}, sampling, len(records) - len(kept), [])
        decoded: list[Decoded] = []  # since the last request
        for position in kept:
            record = records[position]
            if (record.partition, record.offset) in excluded:
                continue
            try:
                event = self._decode(record)
            except BadRecordError as error:
                prepared.bad[position] = error
                continue
            if isinstance(event, Forget):
                prepared.steps.extend((*self._segments(decoded), event))
                decoded = []
                continue
            own = self._is_own(event)
            try:
                time = rules.observed(event, record) if rules else event.time
            except BadRecordError as error:
                if own:
                    prepared.refused[position] = error
                continue
            if own:
                decoded.append(Decoded(position, event, time))
            else:
                prepared.others.append(time)
        prepared.steps.extend(self._segments(decoded))
        return prepared

    def _decode(self, record: Record) -> Example | Forget:
        """Decode a record.

        Raises:
            BadRecordError: it is neither an example nor a request to forget that may be carried out.
        """
        event = self._values.decode(record.value)
        if isinstance(event, Forget):
            check(event, record)
        return event

    def _is_own(self, example: Example) -> bool:
        """Return whether the model learns an example: each, or only what its arm served and nobody forced it to."""
        served = example.served
        return self._served_by is None or (served is not None and served.arm == self._served_by and not served.forced)

    def _segments(self, decoded: list[Decoded]) -> Iterator[Segment]:
        """Yield examples as a segment, if there are any."""
        if decoded:
            examples = [each.example for each in decoded]
            yield Segment(decoded, self.encoder.encode(self._values.of(examples), [each.time for each in examples]))

    def row(self, example: Example) -> Mapping[str, Feature]:
        """Return the features of one of the examples, by their names."""
        return self._values.row(example)
