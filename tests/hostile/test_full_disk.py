"""A disk that takes nothing more, under the log in a file: predictions go on, what can't be kept is refused with 503, and nothing is lost."""

import resource
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from stream.log.connect import connect
from stream.log.topics import create
from tests.faults.traffic import everything
from tests.hostile.honest import Honest
from tests.hostile.keyed_site import PROCESSES, KeyedSite
from tests.hostile.test_hostile import labels, learned_offline

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
FULL = (20_000, resource.RLIM_INFINITY)
FREE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[KeyedSite]:
    """Yield a site on a log in a file, with honest traffic's key."""
    site = KeyedSite(tmp_path, f"sqlite:///{tmp_path}/log.db")
    with connect(site.url) as log:
        create(log, site.topics, 2)
    yield site
    site.close()


def limit(site: KeyedSite, size: tuple[int, int]) -> None:
    """Let no process write a file beyond a size."""
    for process in site.processes.values():
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, size)


def test_a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing_that_it_took(site: KeyedSite) -> None:
    honest = Honest(site.server, site.honest)
    with site.running(*PROCESSES):
        site.wait_for(lambda: site.get("serve", "/readyz").is_success, "weights at the server")
        honest.start()
        site.wait_for(lambda: site.metric("learn", "sml_learner_examples_total") >= 5, "the first examples")
        limit(site, FULL)
        site.wait_for(lambda: len(honest.refused) >= 20, "a refusal", 60)
        predicted = httpx.post(
            f"{site.server}/v1/predict", json={"candidates": [{"id": "a", "user": "u1"}]}, headers={"X-API-Key": site.honest}, timeout=30
        )
        limit(site, FREE)
        refused, accepted = len(honest.refused), len(honest.expected)
        site.wait_for(lambda: len(honest.expected) >= accepted + 20, "impressions that are taken again", 60)
        honest.finish()
        with connect(site.url) as log:
            site.wait_for(lambda: len(labels(everything(log, site.topics.examples))) >= len(honest.expected), "all examples", 120)
            site.wait_for(lambda: site.metric("learn", "sml_learner_lag_records") == 0, "the learner", 120)

    with connect(site.url) as log:
        learned, _ = learned_offline(log, site.topics)
    assert predicted.is_success
    assert all(": 503 " in each and "/v1/predict" not in each for each in honest.refused[:refused]), honest.refused[:5]
    assert dict(learned) == honest.expected
