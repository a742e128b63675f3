"""Whatever comes in, nothing crashes, nothing hangs, and no record is lost in silence: each has a known fate."""

import json
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from prometheus_client import CollectorRegistry

from model.online import OnlineModel
from model.weights import Weights
from service.settings import Settings, SettingsError, load
from stream.inputs.event_time import TimeRule
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.log.contract import Message
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import DELTAS, SNAPSHOTS
from stream.records.events import Watermark, decode_click, decode_impression, encode
from stream.settings import JoinSettings
from stream.weights.chunks import BrokenWeightsError, Packed, WeightsHeader, pack, unpack
from stream.weights.double_buffer import DoubleBuffer
from tests.service.fakes import Site, trained
from tests.stream.learning import SPEC, TOPICS, all_versions, examples, learn_all, learner, opened, records
from tests.stream.weights.test_follow import follow_to_the_end

JOIN = JoinSettings(click_window=0.010, lateness=0.003)
NOW = int(time.time() * 1000)

texts = st.text(max_size=5) | st.just("\ud800")
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6)
names = st.sampled_from(["impression_id", "time", "features", "label", "weight", "clicked_at", "value", "served", "watermark", "policy"])
ids = st.sampled_from("abcdef")
times = st.integers(0, 60)
features = st.dictionaries(st.sampled_from(["user", "item", "price", "unknown"]), scalars | st.floats(-9, 9), max_size=4)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def broken(good: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[bytes]:
    """Make records: some are good, some nearly good, some are other JSON, and some are any bytes."""
    nearly = st.builds(lambda record, name, value: record | {name: value}, good, names, values)
    cut = st.builds(lambda record, at: as_json(record)[:at], good, st.integers(0, 40))
    return st.one_of(good.map(as_json), good.map(as_json), nearly.map(as_json), values.map(as_json), cut, st.binary(max_size=30))


good_impressions = st.fixed_dictionaries({"impression_id": ids, "time": times, "features": features})
good_clicks = st.fixed_dictionaries({"impression_id": ids, "time": times})
good_examples = st.fixed_dictionaries(
    {"impression_id": ids, "time": times, "features": features, "label": st.sampled_from([0, 1])},
    optional={"weight": st.sampled_from([0, 1, 2.5, 1e30, 1e300]), "policy": st.just("fnw")},
)
any_key = st.none() | ids.map(str.encode) | st.binary(max_size=3)


def message(topic: str, value: st.SearchStrategy[bytes]) -> st.SearchStrategy[Message]:
    return st.tuples(any_key, value | st.none()).map(lambda each: Message(topic, each[0], each[1]))


joinable = st.lists(message(TOPICS.impressions, broken(good_impressions)) | message(TOPICS.clicks, broken(good_clicks)), max_size=30)
learnable = st.lists(message(TOPICS.examples, broken(good_examples)), max_size=20)


@contextmanager
def new_log() -> Iterator[tuple[SqliteLog, Path]]:
    with TemporaryDirectory() as folder, opened(Path(folder)) as log:
        yield log, Path(folder)


def kind(message: Message) -> str:
    """Return the kind of a record, by its decoder and its time alone."""
    if message.value is None:
        with suppress(UnicodeDecodeError):
            return "tombstone" if message.topic == TOPICS.impressions and (message.key or b"").decode() else "bad"
        return "bad"
    try:
        event = (decode_impression if message.topic == TOPICS.impressions else decode_click)(message.value)
        TimeRule.of(JOIN).check(event.watermark if isinstance(event, Watermark) else event.time, NOW)
    except ValueError:
        return "bad"
    return "watermark" if isinstance(event, Watermark) else "event"


@pytest.mark.parametrize("policy", ["window", "fnw"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=joinable, direct=learnable)
def test_records_in_are_learned_waiting_set_aside_duplicates_or_forgotten(
    policy: str, events: list[Message], direct: list[Message]
) -> None:
    registry = CollectorRegistry()
    wanted = JOIN.model_copy(update={"label_policy": policy})
    with new_log() as (log, folder):
        log.append(events)
        joiner = Joiner(log, TOPICS, wanted, JoinerMetrics(registry))
        joiner.run(lambda: False, until_caught_up=True)
        log.append(direct)
        version = learn_all(log, folder)
        dead_letters = Counter(dict(letter.headers)["__connect.errors.stage"] for letter in records(log, TOPICS.dead_letters))
        learned = records(log, TOPICS.examples)

    def count(name: str, **labels: str) -> int:
        return int(registry.get_sample_value(f"sml_joiner_{name}", labels) or 0)

    def fates(noun: str, *which: str) -> int:
        return sum(count(f"{noun}_total", fate=fate) for fate in which)

    seen = Counter((event.topic, kind(event)) for event in events)
    late = count("dead_letters_total", reason="late_impression")
    waiting = seen[TOPICS.impressions, "event"] - fates("impressions", "decided", "duplicate", "forgotten") - late
    joined = count("examples_total", label="0") + count("examples_total", label="1")
    assert dead_letters[b"join"] == seen[TOPICS.impressions, "bad"] + seen[TOPICS.clicks, "bad"] + late
    assert waiting >= 0
    assert len(learned) == joined + len(direct)
    assert version.examples + dead_letters[b"learn"] == len(learned)
    if policy == "window":
        assert joined == fates("impressions", "decided")


@settings(max_examples=25, deadline=None)
@given(events=joinable)
def test_once_time_has_passed_nothing_waits(events: list[Message]) -> None:
    registry = CollectorRegistry()
    with new_log() as (log, _):
        log.append(events)
        log.append([Message(topic, None, encode(Watermark(NOW)), partition=0) for topic in (TOPICS.impressions, TOPICS.clicks)])
        Joiner(log, TOPICS, JOIN, JoinerMetrics(registry)).run(lambda: False, until_caught_up=True)

    def settled(noun: str) -> float:
        samples = [sample for metric in registry.collect() for sample in metric.samples]
        return sum(sample.value for sample in samples if sample.name == f"sml_joiner_{noun}_total")

    late = registry.get_sample_value("sml_joiner_dead_letters_total", {"reason": "late_impression"}) or 0
    assert settled("impressions") + late == sum(event.topic == TOPICS.impressions and kind(event) == "event" for event in events)
    assert settled("clicks") == sum(event.topic == TOPICS.clicks and kind(event) == "event" for event in events)


site = Site()


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with site.client() as running:
        site.follower.publish(7, trained())
        yield running


bodies = st.one_of(broken(good_impressions), broken(good_clicks), st.lists(good_clicks | values, max_size=3).map(as_json))


@settings(max_examples=60, deadline=None)
@given(path=st.sampled_from(["impressions", "clicks", "predict"]), body=bodies)
def test_whatever_is_posted_is_accepted_whole_or_refused_with_a_reason(client: Any, path: str, body: bytes) -> None:
    site.log.messages.clear()

    answer = client.post(f"/v1/{path}", content=body)

    decode = {"impressions": decode_impression, "clicks": decode_click}.get(path)
    if answer.status_code == 202:
        assert decode is not None
        assert len([decode(message.value) for message in site.log.messages]) == answer.json()["accepted"]
    else:
        assert answer.status_code == 200 or (400 <= answer.status_code < 500 and answer.json()["detail"])
        assert site.log.messages == []


sections = st.sampled_from(list(Settings.model_fields))
keys = st.sampled_from(
    sorted({name for field in Settings.model_fields.values() for name in getattr(type(field.default), "model_fields", {})})
)
toml_values = st.one_of(
    st.integers(-5, 10**6).map(str), st.text(max_size=8).map(json.dumps), st.sampled_from(["true", "[]", "{}", "nan", "inf"])
)
lines = st.one_of(
    sections.map(lambda name: f"[{name}]"),
    st.just("[[field]]"),
    st.builds("{} = {}".format, keys | sections | st.text(max_size=4), toml_values),
    st.text(max_size=10),
)


@settings(deadline=None)
@given(text=st.lists(lines, max_size=8).map("\n".join))
def test_whatever_the_settings_say_they_are_read_or_refused_with_a_reason(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sml.toml"
        path.write_text(text, encoding="utf-8", errors="replace")
        try:
            read = load(path)
        except SettingsError as error:
            assert str(error)  # noqa: PT017
        else:
            assert set(tomllib.loads(path.read_text(encoding="utf-8"))) <= set(read.model_fields_set)


dtypes = st.sampled_from([np.float32, np.float64, np.int64, np.uint64, np.bool_])
arrays = st.builds(
    lambda shape, dtype, fill: np.full(shape, fill).astype(dtype),
    st.lists(st.integers(0, 3), min_size=1, max_size=2),
    dtypes,
    st.integers(-3, 300),
)
parts = st.dictionaries(st.sampled_from(["dense", "positions", "keys", "rows", "other"]), arrays, max_size=5)


@settings(deadline=None)
@given(parts=parts, digest=st.just("?"))
def test_a_delta_that_does_not_fit_is_refused_and_what_serves_stays(parts: dict[str, Any], digest: str) -> None:
    weights = OnlineModel(SPEC).weights
    double_buffer = DoubleBuffer(WeightsHeader(0, None, weights.digest(), 0, None, 0), weights)
    served: list[Weights] = []
    double_buffer.hand_over(lambda _, each: served.append(each))
    before = served[0].digest()

    delta = unpack(pack(WeightsHeader(1, 0, digest, 0, None, 0), parts))

    with pytest.raises(BrokenWeightsError, match="version 1"):
        double_buffer.apply([delta])
    assert served[0].digest() == before


kept = st.dictionaries(st.sampled_from(["dense", "positions", "keys", "rows"]), arrays, max_size=4)
paths = st.lists(st.sampled_from(["model", "table", "fields", "capacity", "hidden", "embedding", "network", "skip"]), max_size=2)


def replaced(record: dict[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    """Put ``value`` at a path in a nested record."""
    if not path:
        return value if isinstance(value, dict) else {"spec": value}
    inner = record.get(path[0])
    return record | {path[0]: replaced(inner, path[1:], value) if isinstance(inner, dict) and path[1:] else value}


@example(other={}, path=["fields"], value=[])
@settings(deadline=None)
@given(other=kept, path=paths, value=values | st.integers(2**40, 2**62))
def test_a_snapshot_that_does_not_fit_is_refused(other: dict[str, Any], path: list[str], value: Any) -> None:
    weights = trained()
    weights.rehash(np.flatnonzero(weights.keys))
    spec = weights.spec.model_dump(mode="json")
    header = WeightsHeader(0, None, weights.digest(), 0, None, 0)
    assert DoubleBuffer.of_snapshot(pack(header, weights.arrays(), spec=spec)).header == header

    for rubbish in (
        pack(header, weights.arrays() | other | {"dense": np.zeros(3, np.float32)}, spec=spec),
        pack(header, {}, spec=replaced(spec, path, value)),
        pack(header, weights.arrays()),
    ):
        with pytest.raises(BrokenWeightsError):
            DoubleBuffer.of_snapshot(rubbish)


@given(rubbish=st.lists(st.binary(max_size=20), min_size=1, max_size=3), partition=st.sampled_from([DELTAS, SNAPSHOTS]))
@settings(max_examples=4, deadline=None)
def test_rubbish_among_the_weights_holds_a_server_up_to_the_next_snapshot_only(rubbish: list[bytes], partition: int) -> None:
    with new_log() as (log, folder):
        log.append(examples(10))
        before = learn_all(log, folder)
        log.append([Message(TOPICS.weights, b"?", data, (("part", data),), partition) for data in rubbish])
        log.append(examples(10, first=10))
        learner(log, folder, snapshot_every=0.0).run(lambda: all_versions(log)[-1].snapshot != before.snapshot)

        assert follow_to_the_end(log).taken[-1].digest == all_versions(log)[-1].digest


@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_weights_are_refused(data: bytes) -> None:
    with pytest.raises(BrokenWeightsError):
        unpack(data)


@given(at=st.integers(0, 10_000), byte=st.integers(1, 255))
def test_a_damaged_delta_is_refused_or_the_same(at: int, byte: int) -> None:
    good = pack(WeightsHeader(1, 0, "d", 5, None, 7), {"dense": np.arange(9, dtype=np.float32)})
    at %= len(good)

    try:
        got: Packed = unpack(good[:at] + bytes([good[at] ^ byte]) + good[at + 1 :])
    except BrokenWeightsError:
        return
    assert got.header == WeightsHeader(1, 0, "d", 5, None, 7)
    assert (got.arrays["dense"] == np.arange(9)).all()
