"""`sml doctor` is right: the memory is what a model holds, and what it calls a failure is one."""

import json
import math
import platform
import re
import socket
import time
import uuid
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from typer.testing import CliRunner

from model.kernels.cache import mark
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from service.cli import app
from service.commands.topics import create
from service.doctor.joining import joiners_found
from service.doctor.memory import memory_of
from service.doctor.topics import log_found
from service.settings import load
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.join.recovery import progress_of
from stream.join.share import FLINK, Share, joiner_of
from stream.log.connect import connect
from stream.log.contract import Message, Retention
from stream.log.kafka.admin import Admin
from stream.log.kafka.security import Cluster
from stream.log.settings import format_duration
from stream.records.events import Impression, encode
from stream.records.heartbeat import Heartbeat, message
from stream.settings import least_retention

ORDER = ("impressions", "clicks", "examples", "versions", "weights", "dead-letters")


def settings(folder: Path, **changes: Any) -> Path:
    """Write settings without a fault, and return their file."""
    ports = {"serve": 0, "learn": 0, "join": 0} | changes.pop("ports", {})
    config = folder / "sml.toml"
    config.write_text(f"""
[log]
url = "{changes.get("url", f"sqlite:///{folder}/log.db")}"
partitions = 2
[table]
capacity = 4096
[learn]
directory = "{changes.get("directory", f"{folder}/checkpoints")}"
metrics_port = {ports["learn"]}
[join]
metrics_port = {ports["join"]}
[serve]
port = {ports["serve"]}
[[field]]
name = "user"
""")
    return config


def findings(config: Path) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the command, and return its status and its findings, by what was examined."""
    done = CliRunner().invoke(app, ["doctor", "--config", str(config), "--json"])
    return done.exit_code, {each["what"]: each for each in json.loads(done.stdout.splitlines()[-1])}


def test_memory_is_that_of_the_arrays_that_a_model_holds() -> None:
    spec = Spec(model=ModelSettings(hidden=(8, 4), embedding=4), table=TableSettings(capacity=1024), fields=(Field(name="a"),))
    model = OnlineModel(spec)
    table = [model.table.keys, model.table.rows, model.table.used, model.table.accumulators, model.table.touched]

    memory = memory_of(spec)

    assert memory.table >= sum(array.nbytes for array in table)
    assert memory.table - sum(array.nbytes for array in table) <= 8 * 1024  # the rows' hashes
    assert memory.dense >= 2 * (model.weights.dense.nbytes + model.accumulators.nbytes)
    assert memory.server < 2 * memory.learner


def test_nothing_fails_where_all_is_well_and_nothing_is_created(tmp_path: Path) -> None:
    config = settings(tmp_path)

    status, found = findings(config)

    assert status == 0, found
    assert [path.name for path in tmp_path.iterdir()] == ["sml.toml"]
    create(load(config))
    assert findings(config)[0] == 0
    status, found = findings(config)
    assert "[2, 2, 2]" in found["topics"]["found"]
    assert all(found[f"sml.{name}"]["fine"] for name in ("impressions", "clicks", "examples"))


def test_a_port_that_is_taken_fails(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        status, found = findings(settings(tmp_path, ports={"serve": server.getsockname()[1]}))

    assert status == 1
    assert not found["serve.port"]["fine"]


def test_two_parts_that_want_one_port_fail(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    status, found = findings(settings(tmp_path, ports={"learn": port, "join": port}))

    assert status == 1
    assert "learn.metrics_port" in found["join.metrics_port"]["found"]


def test_a_log_that_cannot_be_used_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    status, found = findings(settings(tmp_path, url=f"sqlite:///{tmp_path}/file/log.db"))

    assert status == 1
    assert not found["log"]["fine"]


def test_a_folder_that_cannot_be_written_to_fails(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    status, found = findings(settings(tmp_path, directory=f"{tmp_path}/file/checkpoints"))

    assert status == 1
    assert not found["checkpoints"]["fine"]


def test_topics_that_are_missing_fail(tmp_path: Path) -> None:
    config = settings(tmp_path)
    create(load(config))
    config.write_text(config.read_text().replace("[log]", '[log]\nprefix = "other"'))

    status, found = findings(config)

    assert status == 1
    assert "sml topics create" in found["topics"]["todo"]


def test_topics_of_kafka_whose_timestamps_are_the_writers_fail_with_what_mends_them(tmp_path: Path, kafka: str) -> None:
    prefix = f"doctor-{uuid.uuid4().hex[:8]}"
    config = settings(tmp_path, url=kafka)
    config.write_text(config.read_text().replace("[log]", f'[log]\nprefix = "{prefix}"'))
    admin = Admin(Cluster((kafka.removeprefix("kafka://"),)))
    admin.create(f"{prefix}.clicks", 2, {"message.timestamp.type": "CreateTime"})
    admin.close()
    create(load(config))

    status, found = findings(config)

    assert status == 1
    assert [name for name, finding in found.items() if not finding["fine"]] == [f"{prefix}.clicks"]
    assert f"--entity-name {prefix}.clicks --add-config message.timestamp.type=LogAppendTime" in found[f"{prefix}.clicks"]["todo"]


def test_what_a_topic_will_take_is_foretold_and_one_that_is_kept_for_ever_fails(tmp_path: Path) -> None:
    config = settings(tmp_path)
    create(load(config))
    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        for _ in range(3):
            log.append([Message("sml.impressions", b"", bytes(960))] * 10)
            time.sleep(0.7)
        _, found = findings(config)
        log.retain("sml.clicks", Retention())
        failed, then = findings(config)

    assert found["sml.impressions kept"]["fine"]
    foretold = found["sml.impressions kept"]["found"]
    size = float(re.findall(r"7d: ([0-9.]+) GB", foretold)[0])
    assert 5 < size < 15  # 30 records in 1.4 to 3 seconds, of a thousand bytes, for 604,800 seconds
    assert "of 1,000 bytes" in foretold
    assert failed == 1
    assert then["sml.clicks kept"]["found"] == "for ever; the settings say 7d"
    assert then["sml.clicks kept"]["todo"] == "`sml topics update` changes that"


def test_the_memory_of_what_waits_is_foretold_and_more_than_it_may_be_fails(tmp_path: Path) -> None:
    config = settings(tmp_path)
    create(load(config))
    now = int(time.time() * 1000)
    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        _, before = findings(config)
        shown = [Impression(f"i{n:09}", now + 10 * n, {"user": "u" * 60}) for n in range(1_000)]
        log.append([Message("sml.impressions", each.impression_id.encode(), encode(each)) for each in shown])
    _, found = findings(config)
    config.write_text(config.read_text().replace("[join]", "[join]\nmost_waiting = 20_000_000"))
    status, then = findings(config)

    assert before["waiting for labels"]["found"] == "can't be foretold: there is no impression yet"
    assert found["waiting for labels"]["fine"]
    assert re.match(r"3\d\.\d MB of at most 4\.0 GB, at (99|10[01])\.\d impressions and 0\.0 clicks", found["waiting for labels"]["found"])
    assert (status, then["waiting for labels"]["fine"]) == (1, False)
    assert "most_waiting" in then["waiting for labels"]["todo"]


@pytest.mark.parametrize(
    ("shares", "fine", "said"),
    [
        ([], True, "none has begun"),
        ([None], True, "one for all partitions"),
        ([Share(0, 0), Share(1, 3)], True, "of partitions 0-0, 1-3"),
        ([Share(0, 0), Share(2, 3)], False, "of partitions 0-0, 2-3; nobody joins 1"),
        (
            [Share(0, 1), Share(1, 3)],
            False,
            "of partitions 0-1, 1-3; 1-3 has taken partitions from 0-1, whose joiner was fenced; nobody joins 0",
        ),
        ([None, Share(0, 2)], False, "of partitions 0-2; nobody joins 3"),
        ([Share(0, 1), Share(2, 3), None], True, "one for all partitions"),
    ],
    ids=str,
)
def test_gaps_and_overlaps_of_several_joiners_fail(tmp_path: Path, shares: list[Share | None], fine: bool, said: str) -> None:
    file = settings(tmp_path)
    file.write_text(file.read_text().replace("partitions = 2", "partitions = 4"))
    config = load(file)
    create(config)
    with connect(config.log.url) as log:
        for share in shares:
            joiner = Joiner(log, config.topics, config.join, JoinerMetrics(CollectorRegistry()), share=share)
            joiner.run(lambda: False, until_caught_up=True)

        found = joiners_found(log, config)

    assert found[:3] == ("joiners", fine, said)
    assert bool(found.todo) is not fine


def test_a_job_of_flinks_that_joins_all_partitions_is_told_from_joiners(tmp_path: Path) -> None:
    config = load(settings(tmp_path))
    create(config)
    with connect(config.log.url) as log:
        with closing(log.writer(joiner_of(config.topics))) as writer:
            writer.commit([], progress_of(log, config.topics, config.join, None, name=FLINK))

        assert joiners_found(log, config)[:3] == ("joiners", True, "a job of Flink's for all partitions")


def test_a_clock_that_heartbeats_show_to_be_wrong_fails(tmp_path: Path) -> None:
    config = settings(tmp_path)
    create(load(config))
    now = int(time.time() * 1000)
    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        log.append([message(Heartbeat([now - 9_000, 3, 4]), "sml.examples", 1), message(Heartbeat([now - 30, 3, 4]), "sml.examples", 0)])
        log.append([message(Heartbeat([now, 3, 4, 7_200_000, 5]), "sml.weights", 0), Message("sml.weights", b"k", b"chunk", partition=0)])
        log.append([Message("sml.examples", None, b'{"heartbeat":[4102444800000]}', partition=0)])

    status, found = findings(config)

    assert status == 1
    assert [name for name, finding in found.items() if not finding["fine"]] == ["learner's clock"]
    assert re.match(r"0\.\d+ s behind the log's", found["joiner's clock"]["found"])
    assert re.match(r"7,(199|200)\.\d+ s ahead of the log's", found["learner's clock"]["found"])
    assert "NTP" in found["learner's clock"]["todo"]


@pytest.mark.parametrize("on_kafka", [False, True])
def test_what_doctor_finds_wrong_about_retention_update_puts_right(tmp_path: Path, request: pytest.FixtureRequest, on_kafka: bool) -> None:
    url = request.getfixturevalue("kafka") if on_kafka else f"sqlite:///{tmp_path}/log.db"
    config, prefix = settings(tmp_path, url=url), f"doctor-{uuid.uuid4().hex[:8]}"
    config.write_text(config.read_text().replace("[log]", f'[log]\nprefix = "{prefix}"\nretention = "2d"'))
    with connect(url) as log:
        for name, partitions in {"impressions": 2, "clicks": 2, "examples": 2, "versions": 1, "weights": 2, "dead-letters": 1}.items():
            log.create(f"{prefix}.{name}", partitions)

    before = findings(config)
    updated = CliRunner().invoke(app, ["topics", "update", "--config", str(config), "--json"])
    after = findings(config)

    assert before[0] == 1
    assert [name for name, finding in before[1].items() if not finding["fine"]] == [f"{prefix}.{name} kept" for name in ORDER]
    assert updated.exit_code == 0, updated.output
    assert json.loads(updated.stdout)[f"{prefix}.versions"] == "kept 2d, before for ever"
    assert after[0] == 0, after[1]
    again = CliRunner().invoke(app, ["topics", "update", "--config", str(config), "--json"])
    assert json.loads(again.stdout)[f"{prefix}.versions"] == "kept 2d, as before"


def test_memory_and_learning_time_are_those_of_each_arm(tmp_path: Path) -> None:
    config = settings(tmp_path, ports={"learn": 9_101})
    arms = '[experiment]\nunit = "user"\n[arms.control]\n[arms.deep]\nmodel = { hidden = [16, 16] }\ntable = { capacity = 8192 }\n'
    config.write_text(config.read_text().replace("[[field]]", f"{arms}[[field]]", 1))
    create(load(config))

    _, found = findings(config)

    deep = load(config).of_arm("deep")
    assert found["learner's memory of deep"]["found"].startswith(f"{memory_of(deep.spec).learner / 1e6:.1f} MB: ")
    assert found["server's memory"]["found"].endswith("two copies of the weights of each of 2 arms")
    assert all(re.match(r"[\d,.]+ µs an example, [\d,]+ a second$", found[f"learning time{arm}"]["found"]) for arm in ("", " of deep"))
    assert {"checkpoints of deep", "learn.metrics_port of deep", f"{deep.topics.weights} kept"} <= found.keys()


def test_what_is_not_fine_comes_with_what_to_do_and_what_is_fine_with_nothing(tmp_path: Path) -> None:
    config = settings(tmp_path, url=f"sqlite:///{tmp_path}/none/log.db", directory=f"{tmp_path}/none/checkpoints")
    (tmp_path / "none").touch()
    config.write_text(config.read_text().replace("capacity = 4096", "capacity = 1_000_000_000"))

    status, found = findings(config)

    assert status == 1
    assert {name for name, each in found.items() if not each["fine"]} == {"memory available", "log", "checkpoints"}
    assert all(each["todo"] for each in found.values() if not each["fine"])
    assert {name for name, each in found.items() if each["fine"] and each["todo"]} <= {"clock", "kernels of dnn"}
    assert "[table] capacity" in found["memory available"]["todo"]


def test_settings_and_versions_are_named_and_settings_without_fields_end_with_what_to_do(tmp_path: Path) -> None:
    config = settings(tmp_path)

    _, found = findings(config)
    config.write_text(config.read_text().partition("[[field]]")[0])
    done = CliRunner().invoke(app, ["doctor", "--config", str(config)])

    assert found["settings"]["found"] == "fields: 1; dnn 128-64-32, skip meta_tanh; a click counts for 600 s"
    assert found["versions"]["found"].startswith(f"sml {version('sml-online')}, Python {platform.python_version()}, SQLite ")
    assert f"numba {version('numba')}" in found["versions"]["found"]
    assert done.exit_code == 2
    assert "[[field]]" in done.stderr


def test_kernels_that_are_not_compiled_are_said_with_what_compiles_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kernels"))
    before = findings(settings(tmp_path))[1]["kernels of dnn"]
    marked = mark("dnn")
    assert marked
    marked.parent.mkdir(parents=True)
    marked.touch()

    after = findings(settings(tmp_path))[1]["kernels of dnn"]

    assert (before["fine"], before["todo"], before["found"].partition(" ")[0]) == (True, "`sml compile` compiles them now", "not")
    assert (after["fine"], after["todo"], after["found"].partition(",")[0]) == (True, "", "compiled")


def test_a_clock_that_is_behind_the_logs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = settings(tmp_path)
    create(load(config))
    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        log.append([Message("sml.impressions", b"", b"{}")])
    now = time.time()
    fine = findings(config)[1]["log's clock"]

    monkeypatch.setattr("service.doctor.clocks.time", SimpleNamespace(time=lambda: now - 3_600, strftime=time.strftime, gmtime=time.gmtime))
    status, found = findings(config)

    assert fine["fine"]
    assert (status, found["log's clock"]["fine"]) == (1, False)
    assert re.match(r"its newest record is 3[56]\d\d s in this machine's future", found["log's clock"]["found"])


def test_a_topic_that_is_kept_shorter_than_a_restart_needs_fails_and_says_for_how_long_it_must_be(tmp_path: Path) -> None:
    config = settings(tmp_path)
    create(load(config))
    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        log.retain("sml.impressions", Retention(60))

    status, found = findings(config)

    assert status == 1
    least = load(config)
    needed = format_duration(60 * math.ceil(least_retention(least.log, least.join, least.learn) / 60))
    assert found["sml.impressions kept"]["found"] == f"{format_duration(60)}; the settings say 7d; a restart needs {needed}"
    assert all("a restart needs" not in each["found"] for name, each in found.items() if name != "sml.impressions kept")


def test_partitions_that_differ_fail_with_what_to_do(tmp_path: Path) -> None:
    config = settings(tmp_path)
    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        log.create("sml.impressions", 3)
    create(load(config))

    status, found = findings(config)

    assert status == 1
    assert "[3, 2, 2]" in found["topics"]["found"]
    assert "[join] rekey" in found["topics"]["todo"]


def test_a_topic_of_the_site_is_found_or_missed(tmp_path: Path) -> None:
    config = settings(tmp_path)
    tables = "".join(f"[input.{kind}]\ntopic = '{kind}'\nid = '/id'\ntime = '/ts'\n" for kind in ("impressions", "clicks"))
    config.write_text(config.read_text().replace("[join]", f"{tables}[join]\nrekey = true"))
    with connect(f"sqlite:///{tmp_path}/log.db") as log:
        log.create("clicks", 1)

    found = {finding.what: finding for finding in log_found(load(config))}

    assert found["clicks"][1:3] == (True, "mapped as [input] says; timestamps are the log's own")
    assert (found["impressions"].fine, found["impressions"].todo) == (False, "let [input] name a topic that your site writes")


def test_what_to_do_is_printed_below_what_fails(tmp_path: Path) -> None:
    config = settings(tmp_path)
    create(load(config))
    config.write_text(config.read_text().replace("[log]", '[log]\nprefix = "other"'))

    done = CliRunner().invoke(app, ["doctor", "--config", str(config)])

    found = done.stdout.partition("\nFAILS  topics ")[2].partition("→")[2]
    assert " ".join(found.split()).startswith("`sml topics create` creates what is missing")
    assert done.exit_code == 1
