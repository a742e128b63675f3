"""Requests to forget, examples of one user, and whether weights hold a value, for the tests of forgetting."""

from collections.abc import Sequence

from model.encoding.keys import Value, key_of
from model.evaluation.scores import RunningScores
from model.online import OnlineModel
from model.weights import Weights
from stream.learn.trainer import Trainer
from stream.log.contract import Message, Record
from stream.records.events import Forget, encode
from tests.stream.learning import SPEC, TOPICS, example

USER = SPEC.fields[0]
WHO = 17
UNTIL = 1_000_000 + 500  # after the first 500 examples


def request(value: Value = WHO, until: int = UNTIL) -> Message:
    return Message(TOPICS.examples, None, encode(Forget(f"{key_of(USER, value):016x}", until)), partition=0)


def by(who: int, count: int, first: int = 0) -> list[Message]:
    """Make up examples of one user."""
    return [example(n, features={"user": who, "item": n % 7, "price": 1.0}) for n in range(first, first + count)]


def holds(weights: Weights, value: Value = WHO) -> bool:
    return weights.has(key_of(USER, value))


def as_records(messages: Sequence[Message]) -> list[Record]:
    return [Record(m.topic, 0, n, 2_000_000, m.key, m.value) for n, m in enumerate(messages)]


def trained(messages: Sequence[Message]) -> Trainer:
    trainer = Trainer(OnlineModel(SPEC), RunningScores())
    trainer.learn(as_records(messages))
    return trainer
