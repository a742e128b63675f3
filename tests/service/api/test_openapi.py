"""The OpenAPI document is what the service does: whatever a client sends, the answer is one that it lists, never a 500."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from service.access.guard import Access
from tests.service.fakes import Site, trained

# A body that is too long is refused with 413, which is no answer that schemathesis expects to one that is wrong, too.
site = Site(access=Access.unlimited()._replace(max_body=100_000_000))
# Paths with a version have the same endpoints as those without.
schema = schemathesis.openapi.from_asgi("/openapi.json", site.app).exclude(path_regex="/versions/")


@pytest.fixture(scope="module", autouse=True)
def _running() -> Iterator[None]:
    with site.client():
        site.follower.publish(7, trained())
        yield


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_one_that_the_document_lists(case: schemathesis.Case[Any]) -> None:
    # The document does not know what a field accepts, which depends on the weights; so a body that fits it may still be refused.
    case.call_and_validate(excluded_checks=[positive_data_acceptance])


def _examples() -> list[tuple[str, Any]]:
    operations = [(path, each["post"]) for path, each in site.app.openapi()["paths"].items() if "post" in each]
    shown = [(path, operation["requestBody"]["content"]["application/json"]["examples"]) for path, operation in operations]
    return [(path, example["value"]) for path, examples in shown for example in examples.values()]


@pytest.mark.parametrize(("path", "body"), _examples())
def test_every_example_of_the_document_is_accepted(path: str, body: Any) -> None:
    answer = TestClient(site.app).post(path.format(model="sml", version=7), json=body)

    assert answer.is_success, answer.text
