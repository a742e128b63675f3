"""A snapshot returns what was put in; damaged or foreign bytes are refused."""

import json

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save

from model.array_file import FORMAT, ArrayFileError, dump, load
from model.online import OnlineModel
from model.weights import Weights
from tests.model.examples import EVERY, examples, spec

arrays = st.dictionaries(
    st.text(st.characters(categories=["Ll"]), min_size=1),
    hnp.arrays(st.sampled_from([np.float32, np.float64, np.uint64, np.int64, np.bool_]), hnp.array_shapes(min_side=0)),
    min_size=1,
    max_size=4,
)


@given(arrays=arrays, header=st.dictionaries(st.text(), st.integers() | st.text() | st.none()))
def test_a_snapshot_gives_back_what_was_put_in(arrays: dict[str, np.ndarray], header: dict[str, object]) -> None:
    """Bit for bit, NaN included."""
    ours, of_ours = load(dump(arrays, header))

    assert of_ours == header
    assert ours.keys() == arrays.keys()
    for name, array in arrays.items():
        assert ours[name].tobytes() == array.tobytes()
        assert ours[name].shape == array.shape


@settings(max_examples=300)
@given(data=st.data())
def test_a_damaged_snapshot_is_refused(data: st.DataObject) -> None:
    """Whichever byte is changed, wherever it is cut."""
    whole = dump({"dense": np.arange(9, dtype=np.float32)}, {"version": 3})
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(1, 255))
    changed = whole[:at] + bytes([whole[at] ^ byte]) + whole[at + 1 :]

    for damaged in (changed, whole[:at], whole + b"more"):
        try:
            loaded = load(damaged)
        except ArrayFileError:
            continue
        assert loaded[1] == {"version": 3}  # a byte of padding, or of JSON's white space
        np.testing.assert_array_equal(loaded[0]["dense"], np.arange(9))


@given(rubbish=st.binary(max_size=200))
def test_rubbish_is_refused(rubbish: bytes) -> None:
    """With an error of ours."""
    with pytest.raises(ArrayFileError, match="array file"):
        load(rubbish)


@pytest.mark.parametrize("metadata", [[], "text", {"format": FORMAT, "header": 3}, {"format": FORMAT}, {"format": FORMAT, "header": "["}])
def test_a_header_of_another_kind_is_refused(metadata: object) -> None:
    """Whatever it holds instead of ours."""
    header = json.dumps({"__metadata__": metadata}).encode()
    for text in (header, b"[" * 100_000, b'{"\\ud800": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}'):
        with pytest.raises(ArrayFileError):
            load(len(text).to_bytes(8, "little") + text)


def test_a_file_of_somebody_else_is_refused() -> None:
    """It names the format it expected."""
    with pytest.raises(ArrayFileError, match="expected 'sml-online/1'"):
        load(save({"weight": np.zeros(3, np.float32)}))


@pytest.mark.parametrize(("network", "skip"), EVERY)
def test_weights_predict_the_same_after_a_snapshot(network: str, skip: str) -> None:
    """And have the same digest."""
    stream = examples(np.random.default_rng(0), 200)
    online = OnlineModel(spec(network=network, skip=skip, hidden=(8, 4)))
    online.learn(stream.features, stream.labels)

    weights = Weights.from_arrays(online.spec, load(dump(online.weights.arrays(), {}))[0])

    assert weights.digest() == online.digest()
    np.testing.assert_array_equal(weights.predict(stream.features), online.weights.predict(stream.features))


def test_the_digest_sees_every_bit() -> None:
    """Of a parameter, of a row's value, of a key and of a position."""
    stream = examples(np.random.default_rng(0), 50)
    online = OnlineModel(spec())
    online.learn(stream.features, stream.labels)
    arrays = online.weights.arrays()
    digests = {online.digest()}

    for name, change in (("dense", 1e-7), ("rows", 1e-7), ("keys", 1), ("positions", 1)):
        changed = {key: value.copy() for key, value in arrays.items()}
        changed[name][..., -1] += np.asarray(change, changed[name].dtype)
        digests.add(Weights.from_arrays(online.spec, changed).digest())

    assert len(digests) == 5
