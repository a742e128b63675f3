"""The rights that deploy/kafka.md lists are enough for each process, and with one less it ends with a sentence that names it."""

import itertools
import os
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from kafka.admin import ACLFilter, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePatternFilter, ResourceType
from kafka.errors import UnknownTopicOrPartitionError
from typer.testing import CliRunner, Result

from service.cli import app
from stream.dead_letters import dead_letter
from stream.log import topics
from stream.log.connect import connect
from stream.log.contract import Message, Record
from stream.log.kafka.log import OWNERS
from stream.log.topics import Topics
from stream.records.events import Click, Example, Impression, Watermark, encode
from tests.helpers.kafka_server import JARS, ROOT
from tests.helpers.secure_kafka import SCRAM, SecureKafka
from tests.helpers.site import Site

SETTINGS = """
[model]
hidden = [8, 4]
embedding = 4
[table]
capacity = 4096
[join]
click_window = "2s"
lateness = "1s"
idle_after = "1s"
metrics_port = 0
[learn]
publish_every = "50ms"
metrics_port = 0
[serve]
port = 0
[[field]]
name = "user"
"""
PASSWORD = "correct-horse-battery"
pytestmark = [pytest.mark.filterwarnings("ignore:unclosed <ssl:ResourceWarning"), pytest.mark.usefixtures("refused")]
WORDS = {
    "sml topics create": ["topics", "create"],
    "sml topics update": ["topics", "update"],
    "sml join": ["join", "--until-caught-up"],
    "sml learn": ["learn", "--until-caught-up"],
    "sml forget": ["forget", "--field", "user", "--value", "a"],
    "sml replay": ["replay", "clicks.csv"],
    "sml dead-letters list": ["dead-letters", "list"],
    "sml dead-letters retry": ["dead-letters", "retry"],
    "sml doctor": ["doctor"],
}
OTHER_RETENTION = {"SML_LOG__RETENTION": "8d", "SML_LOG__DEAD_LETTER_RETENTION": "31d", "SML_LOG__WEIGHTS_RETENTION": "2h"}
_users = itertools.count()


class Right(NamedTuple):
    """A line of the list, for one of its rights."""

    resource: str
    name: str
    right: str


def _listed() -> dict[str, list[Right]]:
    """Read the list: the rights by process."""
    found: defaultdict[str, list[Right]] = defaultdict(list)
    for line in (ROOT / "deploy" / "kafka.md").read_text(encoding="utf-8").splitlines():
        if row := re.fullmatch(r"\| `(sml [a-z -]+)` \| (\w+) \| (\S+) \| ([A-Z_, ]+) \|", line):
            found[row[1]] += [Right(row[2], row[3], right) for right in row[4].split(", ")]
    return dict(found)


LISTED = _listed()
IDLE = (Right("Topic", "sml.impressions", "WRITE"), Right("Topic", "sml.clicks", "WRITE"))  # what a joiner needs only while it waits
CASES = [(process, right) for process in WORDS for right in LISTED[process] if not (process == "sml join" and right in IDLE)]


class Place(NamedTuple):
    """A folder, the topics of one model in a Kafka with access control, and a user of a process there."""

    kafka: SecureKafka
    folder: Path
    topics: Topics
    user: str

    def grant(self, rights: list[Right]) -> None:
        """Give the user these rights, on this model's topics."""
        for right in rights:
            name = right.name if right.name == "sml-owners" else right.name.replace("sml", self.topics.prefix, 1)
            self.kafka.grant(f"User:{self.user}", right.resource, name, right.right)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the user's processes."""
        security = {"PROTOCOL": "SASL_SSL", "MECHANISM": SCRAM, "USERNAME": self.user, "PASSWORD": PASSWORD}
        security["CA_FILE"] = str(self.kafka.folder / "ca.pem")
        named = {f"SML_LOG__SECURITY__{name}": value for name, value in security.items()}
        return named | {"SML_LOG__URL": self.kafka.urls["SASL"], "SML_LOG__PREFIX": self.topics.prefix}

    def sml(self, process: str, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str] | None = None) -> Result:
        """Run a command in this process."""
        monkeypatch.chdir(self.folder)
        for name in self.environment:
            monkeypatch.delenv(name, raising=False)
        others = OTHER_RETENTION if process == "sml topics update" else {}
        for name, value in {**(environment or self.environment), **others}.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(app, WORDS[process])


@pytest.fixture
def place(secure_kafka: SecureKafka, tmp_path: Path) -> Place:
    """Return a place with a user that has no rights yet."""
    number = next(_users)
    place = Place(secure_kafka, tmp_path, Topics(f"rights-{number}"), f"user-{number}")
    secure_kafka.add_user(place.user, PASSWORD)
    (tmp_path / "sml.toml").write_text(SETTINGS)
    (tmp_path / "clicks.csv").write_text("user,click\na,0\nb,1\n")
    return place


def _prepare(place: Place, process: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the process something to do that needs each of its rights: records that are good, and some that are not."""
    names = place.topics
    now = int(time.time() * 1000) - 60_000
    joined = [
        Message(names.impressions, b"i", encode(Impression("i", now, {"user": "a"}))),
        Message(names.clicks, b"i", encode(Click("i", now + 1))),
        *(Message(topic, b"w", encode(Watermark(now + 30_000))) for topic in (names.impressions, names.clicks)),
        Message(names.impressions, b"?", b"rubbish"),
    ]
    learned = [Message(names.examples, b"e", encode(Example("e", now, {"user": "a"}, 1))), Message(names.examples, b"?", b"rubbish")]
    aside = [
        dead_letter(Record(topic, 0, 0, now, b"?", b"rubbish"), "join", ValueError("rubbish"), names)
        for topic in (names.impressions, names.clicks, names.examples)
    ]
    work = {"sml join": joined, "sml forget": joined, "sml dead-letters list": aside, "sml dead-letters retry": aside}
    with connect(place.kafka.url) as log:
        if process == "sml topics create":
            with suppress(UnknownTopicOrPartitionError):
                place.kafka.admin.delete_topics([OWNERS])
            return
        log.writer("nobody").close()  # the topic of owners holds a record, as on any log that was used
        topics.create(log, names, 1)
        log.append(work.get(process, []))
        if process in {"sml learn", "sml forget"}:  # there is something to recover, or to forget
            log.append(learned)
            learned_before = place.sml("sml learn", monkeypatch, {"SML_LOG__URL": place.kafka.url, "SML_LOG__PREFIX": names.prefix})
            assert learned_before.exit_code == 0, _end_of(learned_before)
            log.append(learned)


def _says(site: Site, sentence: str) -> bool:
    return sentence in site.said("serve")


def _takes(site: Site, path: str) -> bool:
    return _post(site, path).status_code == 202


def _end_of(result: Result) -> str:
    return " ".join((result.output + str(result.exception or "")).split())


@pytest.mark.parametrize("process", WORDS)
def test_the_listed_rights_are_enough(place: Place, process: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _prepare(place, process, monkeypatch)
    place.grant(LISTED[process])

    done = place.sml(process, monkeypatch)

    assert done.exit_code == 0, _end_of(done)
    assert PASSWORD not in done.output


@pytest.mark.parametrize(("process", "missing"), CASES, ids=lambda part: part if isinstance(part, str) else "-".join(part))
def test_with_one_right_less_a_process_ends_and_names_it(
    place: Place, process: str, missing: Right, monkeypatch: pytest.MonkeyPatch
) -> None:
    _prepare(place, process, monkeypatch)
    place.grant([right for right in LISTED[process] if right != missing])

    done = place.sml(process, monkeypatch)

    kind = {"Topic": "topic", "Group": "group", "TransactionalId": "transactional id"}[missing.resource]
    name = missing.name if missing.name == "sml-owners" else missing.name.replace("sml", place.topics.prefix, 1)
    assert done.exit_code == 1, _end_of(done)
    lacks = rf"the principal User:{place.user} lacks (\w+) on {kind} [^:;]*{re.escape(name)}"
    assert (found := re.search(lacks, _end_of(done))), _end_of(done)
    assert found[1] in {missing.right, "DESCRIBE", "DESCRIBE_CONFIGS"}  # Kafka asks for these first, and the right would have included them
    assert PASSWORD not in done.output


@pytest.fixture
def site(place: Place) -> Iterator[Site]:
    """Yield a site whose processes log in; its topics exist."""
    with connect(place.kafka.url) as log:
        topics.create(log, place.topics, 1)
    site = Site(place.folder, place.kafka.urls["SASL"], **place.environment)
    yield site
    site.close()


@pytest.mark.parametrize("missing", IDLE)
def test_a_joiner_that_may_not_write_its_watermarks_ends_and_names_the_right(place: Place, site: Site, missing: Right) -> None:
    place.grant([right for right in LISTED["sml join"] if right != missing])
    with connect(place.kafka.url) as log:
        record = encode(Impression("i", int(time.time() * 1000), {"user": "a"}))
        log.append([Message(place.topics.impressions, b"i", record), Message(place.topics.clicks, b"w", encode(Watermark(1)))])

    status = site.start("join").wait(120)

    assert status == 1
    assert f"lacks WRITE on topic {missing.name.replace('sml', place.topics.prefix)}" in site.said("join")


def test_the_processes_run_with_the_listed_rights_and_a_server_waits_for_those_it_lacks(place: Place, site: Site) -> None:
    place.grant([right for process in ("sml join", "sml learn") for right in LISTED[process]])
    versions, weights, *writes = LISTED["sml serve"]
    other = place._replace(user=f"{place.user}-server")
    place.kafka.add_user(other.user, PASSWORD)

    for name, environment in (("join", {}), ("learn", {}), ("serve", other.environment)):
        site.start(name, **environment)
    for right in (versions, weights):
        _wait_for_sentence(
            site, f"the principal User:{other.user} lacks DESCRIBE on topic {right.name.replace('sml', place.topics.prefix)}"
        )
        other.grant([right])
    site.wait_for(lambda: site.get("serve", "/readyz").is_success, "the server", 120)
    refused = [_post(site, path) for path in ("impressions", "clicks")]
    other.grant(writes)
    site.wait_for(lambda: _post(site, "impressions").status_code == 202, "the right", 60)
    site.wait_for(lambda: _learned(site), "an example", 120)

    assert [each.status_code for each in refused] == [503, 503]
    assert all(f"on topic {place.topics.prefix}.{path}" in each.text for path, each in zip(("impressions", "clicks"), refused, strict=True))
    assert all(PASSWORD not in site.said(name) for name in ("join", "learn", "serve"))
    assert PASSWORD not in "".join(site.get("serve", path).text for path in ("/v1/model", "/metrics", "/openapi.json", "/readyz"))
    assert set(site.end().values()) == {0}


def test_the_script_of_the_composition_grants_what_is_listed(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    users = {"topics": "sml topics create", "joiner": "sml join", "learner": "sml learn", "server": "sml serve"}
    for name, main in (("kafka-configs", "kafka.admin.ConfigCommand"), ("kafka-acls", "org.apache.kafka.tools.AclCommand")):
        tool = tmp_path / f"{name}.sh"
        tool.write_text(f'#!/bin/sh\nexec java -XX:TieredStopAtLevel=1 -cp "{JARS}/*" {main} "$@"\n')
        tool.chmod(0o700)
    for user in users:
        (tmp_path / user).write_text(f"password-of-{user}\n")
    where = {"KAFKA_TOOLS": str(tmp_path), "SECRETS": str(tmp_path), "KAFKA_SERVER": secure_kafka.url.removeprefix("kafka://")}

    subprocess.run(["bash", ROOT / "deploy" / "grant.sh"], env=os.environ | where, check=True, timeout=300)

    every = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    found, _ = secure_kafka.admin.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, every))
    for user, process in users.items():
        granted = {(acl.resource_pattern.resource_name, acl.operation.name) for acl in found if acl.principal == f"User:{user}"}
        assert granted == {(right.name, right.right) for right in LISTED[process]}
        connect(secure_kafka.urls["SASL"], security=secure_kafka.security(user, f"password-of-{user}")).close()


def _wait_for_sentence(site: Site, sentence: str) -> None:
    site.wait_for(lambda: sentence in site.said("serve"), sentence, 120)


def _learned(site: Site) -> bool:
    _post(site, "impressions")
    return bool(site.get("serve", "/v1/model").json()["examples"])


def _post(site: Site, path: str) -> httpx.Response:
    event = {"impression_id": f"i-{time.time_ns()}", "time": int(time.time() * 1000)}
    features = {"features": {"user": "a"}} if path == "impressions" else {}
    return httpx.post(f"http://127.0.0.1:{site.ports['serve']}/v1/{path}", json=event | features, timeout=30)
