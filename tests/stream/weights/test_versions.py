"""The newest version is found whatever retention deletes meanwhile."""

from pathlib import Path
from typing import Any

import pytest

from stream.log.contract import Bounds
from stream.weights.versions import newest_version
from tests.stream.learning import TOPICS, examples, forget, learn_all, opened, records


def test_what_retention_deletes_after_the_end_was_asked_for_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as log:
        for first in (0, 20):
            log.append(examples(20, first=first))
            learn_all(log, tmp_path)
        newest = records(log, TOPICS.versions, 0)[-1].offset
        asked = log.bounds

        def bounds(topic: str) -> dict[int, Bounds]:
            found = asked(topic)
            forget(tmp_path, TOPICS.versions, 0, newest)  # all but the newest
            return found

        monkeypatch.setattr(log, "bounds", bounds)
        found: Any = newest_version(log, TOPICS)

    assert found.offset == newest
