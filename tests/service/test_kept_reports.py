"""Whatever lies among the reports of experiments, the server answers, and shows those that are reports."""

from pathlib import Path

import pytest

from tests.service.fakes import Site


@pytest.mark.parametrize("path", ["/v1/experiments", "/metrics"])
def test_a_file_that_is_no_text_and_a_link_that_leads_nowhere_are_left_out(tmp_path: Path, path: str) -> None:
    (tmp_path / "binary.json").write_bytes(b'{"reported_at": 1, "report": {"experiment": "\xff"}}')
    (tmp_path / "nested.json").write_bytes(b'{"other": ' + b"[" * 100_000)
    (tmp_path / "dangling.json").symlink_to(tmp_path / "gone")

    with Site(reports=tmp_path).client() as client:
        answer = client.get(path)

    assert answer.status_code == 200
