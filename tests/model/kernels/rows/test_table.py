"""The table is a dictionary of fixed memory: whole keys, eight ways, the least recently used row expires."""

from collections import OrderedDict

import numpy as np
from hypothesis import given, settings, strategies as st

from model.kernels.rows.table import WAYS, find, first_way
from model.online import OnlineModel
from tests.model.examples import pack, spec

keys = st.integers(1, 2**64 - 1)


class DictionaryTable:
    """The same promise, longhand: for each set, an ordered dictionary from key to way, the least recently used first."""

    def __init__(self, capacity: int) -> None:
        self.sets: list[OrderedDict[int, int]] = [OrderedDict() for _ in range(capacity // WAYS)]
        self.expired = 0

    def use(self, example: list[int]) -> None:
        """Use the keys of an example; of keys last used by the same example, the lowest way is the first to expire."""
        for key in example:
            if key in self._set(key):
                self._set(key).move_to_end(key)
        for key in example:
            self._admit(key, set(example))
        for held in self.sets:
            for key in sorted(held.keys() & set(example), key=held.__getitem__):
                held.move_to_end(key)

    def _set(self, key: int) -> OrderedDict[int, int]:
        return self.sets[(key >> 32) * len(self.sets) >> 32]

    def _admit(self, key: int, using: set[int]) -> None:
        held = self._set(key)
        if key in held:
            return
        if len(held) < WAYS:
            held[key] = len(held)
            return
        oldest = next(iter(held))
        if oldest not in using:
            self.expired += 1
            held[key] = held.pop(oldest)


@settings(max_examples=100, deadline=None)
@given(stream=st.lists(st.lists(st.integers(0, 70), min_size=1, max_size=12), max_size=60))
def test_the_table_holds_what_a_dictionary_holds(stream: list[list[int]]) -> None:
    """The same keys in the same ways, whatever expires; one set of eight or two."""
    model = OnlineModel(spec(fields=1, capacity=16, hidden=(2,), embedding=1))
    dictionary = DictionaryTable(16)

    for example in stream:
        named = [(value + 1) * 0x9E3779B97F4A7C15 % 2**64 for value in example]
        model.learn(pack([[named]]), np.zeros(1))
        dictionary.use(named)

    for number, held in enumerate(dictionary.sets):
        ours = model.weights.keys[number * WAYS : number * WAYS + WAYS]
        assert {int(key): way for way, key in enumerate(ours) if key} == dict(held)
    assert model.table.counts.tolist() == [sum(map(len, dictionary.sets)), dictionary.expired]


@given(key=keys, capacity=st.integers(1, 2**20).map(lambda sets: sets * WAYS))
def test_a_key_belongs_to_one_set_of_the_table(key: int, capacity: int) -> None:
    """The set lies inside, and at its beginning."""
    first = first_way(np.uint64(key), capacity)

    assert 0 <= first <= capacity - WAYS
    assert first % WAYS == 0


def test_a_value_never_seen_reads_its_fields_default() -> None:
    """And scores as a value that has just been given a row would."""
    model = OnlineModel(spec(fields=1))
    unseen = model.weights.predict(pack([[[77]], [[78]]]))

    model.learn(pack([[[77]]]), np.zeros(1), np.zeros(1))
    admitted = model.weights.predict(pack([[[77]]]))

    assert unseen[0] == unseen[1] == admitted[0]


def test_predicting_changes_nothing() -> None:
    """A server's reads neither admit a value nor touch its last use."""
    model = OnlineModel(spec(fields=1))
    model.learn(pack([[[1]]]), np.ones(1))
    before = model.state()

    model.weights.predict(pack([[[1]], [[2]]]))

    for name, array in model.state().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
    assert find(model.weights.keys, np.uint64(2)) == -1


def test_a_row_of_the_example_being_learned_is_never_expired_by_it() -> None:
    """Where its set is full of the example's own rows, a value reads the default and is not learned."""
    model = OnlineModel(spec(fields=1, capacity=8, hidden=(4,)))
    list_of_nine = list(range(1, 10))

    model.learn(pack([[list_of_nine]]), np.ones(1))

    assert sorted(model.weights.keys.tolist()) == list(range(1, 9))
    assert model.table.counts.tolist() == [8, 0]
