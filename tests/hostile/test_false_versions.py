"""Well-formed lies in ``versions``: a server keeps its weights, the learner ends with a sentence, and a rollback puts all in order.

Whoever may write there decides what is served, so the topic is the learner's alone; but one lie must not be the end of the model.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.log.connect import connect
from stream.log.contract import Message
from stream.log.topics import create
from stream.records.events import Example, encode
from stream.records.version import Begun, Run, SnapshotRef
from stream.weights.versions import newest_version
from tests.faults.test_log import call
from tests.faults.traffic import FIRST, SETTINGS, SPEC, learned
from tests.helpers.site import Site

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
ELSEWHERE = SnapshotRef(version=0, first=2**40, last=2**40 + 1, deltas=2**40)
HUGE = SPEC.model_dump(mode="json") | {"table": {"capacity": 2**40}}

LIES: dict[str, dict[str, Any]] = {
    "another digest": {"digest": "0" * 16},
    "runs that are not there": {"runs": [Run(0, 50, 2**40)]},
    "a partition that is not there": {"runs": [Run(99, 0, 1)]},
    "runs backwards": {"runs": [Run(0, 60, 49)]},
    "other settings": {"settings": "0" * 16},
    "no settings": {"spec": {"model": "none"}},
    "a huge table": {"spec": HUGE},
    "a beginning that is none": {"begun": Begun("control", 0, accumulators=True), "spec": SPEC.model_dump(mode="json")},
    "a snapshot that is not there": {"snapshot": ELSEWHERE, "digest": "0" * 16},
    "more examples than there are": {"offsets": {0: 2**40}},
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """Yield a site whose learner was killed after 50 examples, and whose server has their weights."""
    (tmp_path / "sml.toml").write_text(SETTINGS)
    site = Site(tmp_path, f"sqlite:///{tmp_path}/log.db")
    with connect(site.url) as log:
        create(log, site.topics, 1)
        made_up = (Example(f"i{n}", FIRST + n, {"user": f"u{n % 9}", "price": n}, 1 if n % 3 else 0) for n in range(50))
        log.append([Message(site.topics.examples, each.impression_id.encode(), encode(each)) for each in made_up])
    try:
        for name in ("learn", "serve"):
            site.start(name)
        site.wait_for(lambda: site.get("serve", "/v1/model").json().get("examples") == 50, "the weights")
        site.kill("learn")
        yield site
    finally:
        site.close()


def test_a_false_version_stops_the_learner_with_a_sentence_until_a_rollback(site: Site) -> None:
    for name, lie in LIES.items():
        with connect(site.url) as log:
            newest = newest_version(log, site.topics)
            assert newest
            true = newest.version
            same = {"version": true.version + 1, "runs": [], "forgotten": [], "excluded": [], "spec": None, "rollback": None}
            false = msgspec.structs.replace(true, **same | lie)
            log.append([Message(site.topics.versions, None, encode(false), partition=0)])

        refused = call(site, "learn", "--until-caught-up")
        served = site.get("serve", "/v1/model").json()
        back = call(site, "snapshots", "rollback", "--to", str(true.version), "--replay")

        assert isinstance(refused.exception, SystemExit), f"{name}: {refused.exception!r}"
        assert refused.exit_code == 1, name
        assert "sml: " in refused.stderr, f"{name}: {refused.stderr}"
        assert served["digest"] == true.digest, name
        assert back.exit_code == 0, f"{name}: {back.output}"

    site.start("learn")
    with connect(site.url) as log:
        another = Example("i50", FIRST + 50, {"user": "u1", "price": 1}, 1)
        log.append([Message(site.topics.examples, b"i50", encode(another))])
    site.wait_for(lambda: learned(site.url, site.topics) == 51, "the next example", 60)
    site.wait_for(lambda: site.get("serve", "/v1/model").json()["examples"] == 51, "its weights", 60)
