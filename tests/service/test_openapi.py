"""The OpenAPI document is what the service does: whatever a client sends, the answer is one that it lists, and never a 500."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.service.fakes import Site, trained

site = Site()
schema = schemathesis.openapi.from_asgi("/openapi.json", site.app)


@pytest.fixture(scope="module", autouse=True)
def _running() -> Iterator[None]:
    with site.client():
        site.source.publish(7, trained())
        yield


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_is_sent_the_answer_is_one_that_the_document_lists(case: schemathesis.Case[Any]) -> None:
    # What a field takes is not in the document: it depends on the weights, so a body that fits the document may still be refused.
    case.call_and_validate(excluded_checks=[positive_data_acceptance])
