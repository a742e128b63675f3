"""The children's output is kept, and does not grow without end."""

from pathlib import Path

from service.up import children
from service.up.children import Children


def test_a_large_log_is_put_aside_at_the_next_start(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "learn.log"
    log.parent.mkdir()
    log.write_bytes(b"old line\n" * 2_000_000)
    (tmp_path / "logs" / "join.log").write_text("a line\n")

    with Children(tmp_path / "no-such.toml", log.parent) as started:
        started.start("learn")
        started.start("join")

    assert log.stat().st_size < children.LARGEST_LOG
    assert log.with_suffix(".log.1").stat().st_size == 18_000_000
    assert (tmp_path / "logs" / "join.log").read_text().startswith("a line\n")
