"""``sml join --engine flink`` gives what ``sml join`` gives, row by row: handed over from one to the other, and killed in between."""

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.commands import join_on_flink
from service.commands.join_on_flink import CHECKPOINTS, JARS, FlinkError, build, check, newest_checkpoint
from service.settings import Settings, SettingsError, load
from stream.flink.kafka_properties import NotForJavaError, kafka_properties
from stream.flink.ownership import Ownership, give_back, take_over
from stream.join.joiner import Joiner
from stream.join.metrics import JoinerMetrics
from stream.join.share import Share, job_of, joiner_of
from stream.log.connect import connect
from stream.log.contract import FencedError
from stream.log.kafka.log import OWNERS
from stream.log.settings import LogSettings, SecuritySettings
from stream.log.topics import JoinerError, Topics
from tests.helpers.flink_traffic import Event, create, events, join, outcome, settled, write, write_settings
from tests.helpers.ports import free_port
from tests.helpers.secure_kafka import SCRAM, SecureKafka

ROOT = Path(__file__).parent.parent
PARTITIONS = 4
PASSWORD = "correct-horse-battery"
PATIENCE = 240.0  # seconds that a job may take to start, on a machine that does much else
# A JVM for a minute, not for a year.
JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xmx600m", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def jars() -> Path:
    """Return the folder with Flink's jars. Without Java and Maven, skip; in CI, fail."""
    try:
        build(ROOT / JARS)
    except FlinkError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))
    return ROOT / JARS


def start_flink(config: Path, settings: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "service", "join", "--engine", "flink", "--config", str(config)]
    return subprocess.Popen(command, cwd=config.parent, env=os.environ | JAVA | settings, start_new_session=True)


def as_joiner(kafka: SecureKafka, prefix: str) -> dict[str, str]:
    """Return the settings of a user that may do on Kafka what deploy/kafka.md says of the join on Flink, by TLS and a password."""
    kafka.add_user(prefix, PASSWORD)
    listed = (ROOT / "deploy/kafka.md").read_text(encoding="utf-8")
    for resource, name, rights in re.findall(r"\| `sml join` \| (\w+) \| (\S+) \| ([A-Z_, ]+) \|", listed):
        kafka.grant(f"User:{prefix}", resource, name if name == OWNERS else name.replace("sml", prefix, 1), *rights.split(", "))
    kafka.grant(f"User:{prefix}", "TransactionalId", job_of(Topics(prefix)), "WRITE", "DESCRIBE", prefixed=True)
    security = {"PROTOCOL": "SASL_SSL", "MECHANISM": SCRAM, "USERNAME": prefix, "PASSWORD": PASSWORD, "CA_FILE": f"{kafka.folder}/ca.pem"}
    return {f"SML_LOG__SECURITY__{name}": value for name, value in security.items()} | {"SML_LOG__URL": kafka.urls["SASL"]}


def kill(job: subprocess.Popen[bytes]) -> None:
    """Kill the job and its tasks."""
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()


def offsets_are_flinks(url: str, prefix: str) -> bool:
    topics = Topics(prefix)
    with connect(url) as log:
        return not any(each.metadata for each in log.progress(joiner_of(topics), topics.impressions).values())


def wait_for(job: subprocess.Popen[bytes], happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert job.poll() is None, "the job has ended"
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_flink_takes_over_from_a_joiner_is_killed_and_has_given_what_one_joiner_gives(
    secure_kafka: SecureKafka, jars: Path, tmp_path: Path
) -> None:
    kafka = secure_kafka.url
    alone, handed_over = (f"flink-{uuid.uuid4().hex[:8]}" for _ in range(2))
    (tmp_path / JARS.parent).symlink_to(jars.parent)
    begin = int(time.time() * 1000) - 3_600_000
    create(kafka, [alone, handed_over], PARTITIONS)
    write(kafka, [alone, handed_over], PARTITIONS, events(2_000, begin, seed=1))
    config = write_settings(tmp_path, kafka, handed_over)
    join(config)
    before = outcome(kafka, handed_over)
    huge = Event(False, "huge", b"x" * 3_000_000, begin + 40_500)
    write(kafka, [alone, handed_over], PARTITIONS, chain([huge], events(5_000, begin + 41_000, seed=2)))
    join(write_settings(tmp_path, kafka, alone))
    expected = settled(kafka, alone)

    port = free_port()
    settings = as_joiner(secure_kafka, handed_over) | {"SML_JOIN__METRICS_PORT": str(port)}
    job = start_flink(config, settings)
    wait_for(job, lambda: newest_checkpoint(tmp_path / CHECKPOINTS / handed_over) is not None)
    kill(job)  # while a transaction is prepared, or open
    job = start_flink(config, settings)
    wait_for(job, lambda: outcome(kafka, handed_over).total() >= expected.total() and offsets_are_flinks(kafka, handed_over))
    metrics = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    job.terminate()
    job.wait()

    assert settled(kafka, handed_over) == expected
    assert expected.total() > before.total() + 2_000 > 2_500
    assert "\nsml_joiner_waiting_limit_bytes 4e+09" in metrics
    with pytest.raises(JoinerError, match="got '' beside its offset, by which a job of Flink's joins it"):
        join(config)


def test_a_joiner_is_refused_from_the_moment_a_job_takes_over_and_a_job_once_its_name_is_taken(
    secure_kafka: SecureKafka, tmp_path: Path
) -> None:
    kafka = secure_kafka.url
    topics = Topics(f"taken-{uuid.uuid4().hex[:8]}")
    create(kafka, [topics.prefix], PARTITIONS)
    config = write_settings(tmp_path, kafka, topics.prefix)
    settings = load(config).join

    with connect(kafka) as log:

        def start_job() -> Ownership:
            return Ownership(log, job_of(topics), take_over(log, topics, settings))

        def expect_refusal(share: Share | None = None) -> None:
            with pytest.raises(JoinerError, match="by which a job of Flink's joins it, expected a joiner's resume point"):
                join(config, share)

        start_job()  # before there is anything
        expect_refusal()
        give_back(log, topics)
        write(kafka, [topics.prefix], PARTITIONS, events(200, int(time.time() * 1000) - 3_600_000))
        join(config)
        before = log.progress(joiner_of(topics), topics.clicks)
        first = start_job()
        expect_refusal(Share(0, 1))
        give_back(log, topics)
        assert log.progress(joiner_of(topics), topics.clicks) == before

        first.check()
        second = start_job()
        with pytest.raises(FencedError, match="another process owns"):
            first.check()
        second.check()
        Joiner(log, topics, settings, JoinerMetrics(CollectorRegistry())).leave_behind()
        with pytest.raises(FencedError, match="another process owns"):
            second.check()


def test_the_memory_of_the_deployments_task_manager_is_such_that_flink_starts(jars: Path, tmp_path: Path) -> None:
    spec = next(yaml.safe_load_all((ROOT / "deploy/flink/flink-deployment.yaml").read_text(encoding="utf-8")))["spec"]
    memory = {"taskmanager.memory.process.size": spec["taskManager"]["resource"]["memory"]}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(spec["flinkConfiguration"] | memory), encoding="utf-8")
    of_flinks_scripts = ["org.apache.flink.runtime.util.bash.BashJavaUtils", "GET_TM_RESOURCE_PARAMS", "--configDir", str(tmp_path)]

    found = subprocess.run(["java", "-cp", f"{jars}/*", *of_flinks_scripts], capture_output=True, text=True, check=False)

    assert re.search(r"-Xmx1[0-9]{9} ", found.stdout), found.stdout  # as README.md says


def test_the_job_is_built_again_once_its_sources_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, jars, called = tmp_path / "sources", tmp_path / "jars", list[str]()
    for folder in (sources, jars):
        folder.mkdir()
    (sources / "Job.java").write_text("class Job {}")

    def call(*command: str) -> None:
        called.append(command[0])
        if command[0] == "jar":
            Path(command[3]).touch()

    monkeypatch.setattr(join_on_flink, "FOLDER", sources)
    monkeypatch.setattr(join_on_flink, "_call", call)
    monkeypatch.setattr("shutil.which", lambda tool: tool)

    build(jars)
    build(jars)
    (first,) = jars.iterdir()
    assert called == ["mvn", "javac", "jar"]
    (sources / "Job.java").write_text("final class Job {}")
    build(jars)

    (second,) = jars.iterdir()
    assert called == ["mvn", "javac", "jar"] * 2
    assert first.name != second.name


def test_what_flink_does_not_do_is_refused_with_what_is_expected() -> None:
    with pytest.raises(SettingsError, match=r"log\.url: got 'sqlite:///data/log\.db', expected kafka://…"):
        check(Settings())
    with pytest.raises(SettingsError, match=r"join\.rekey: got true, expected false"):
        check(Settings.model_validate({"log": {"url": "kafka://a:1"}, "join": {"rekey": True}}))


def test_a_kafka_that_asks_who_one_is_is_told_by_javas_properties(tmp_path: Path) -> None:
    password, chain = tmp_path / "password", tmp_path / "chain.pem"
    password.write_text('se"cret\n', encoding="utf-8")
    chain.write_text("PEM", encoding="utf-8")
    security = SecuritySettings(
        protocol="SASL_SSL",
        mechanism="SCRAM-SHA-512",
        username="joiner",
        password_file=str(password),
        ca_file="ca.pem",
        cert_file=str(chain),
        check_hostname=False,
    )

    assert kafka_properties(LogSettings(url="kafka://a:1,b:2", security=security)) == {
        "bootstrap.servers": "a:1,b:2",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": 'org.apache.kafka.common.security.scram.ScramLoginModule required username="joiner" password="se\\"cret";',
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": "ca.pem",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.key": "PEM",
        "ssl.keystore.certificate.chain": "PEM",
        "ssl.endpoint.identification.algorithm": "",
    }
    iam = SecuritySettings(protocol="SASL_SSL", mechanism="AWS_MSK_IAM")
    with pytest.raises(NotForJavaError, match=r"log\.security\.mechanism: got AWS_MSK_IAM, expected PLAIN or SCRAM"):
        kafka_properties(LogSettings(url="kafka://a:1", security=iam))
