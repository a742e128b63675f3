"""The children's output is kept, and does not grow without end."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.up import children
from service.up.children import Child, ChildDiedError, Children


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


def test_a_learner_may_end_in_order_only_where_it_has_an_arm_that_may_be_retired() -> None:
    ends = subprocess.Popen([sys.executable, "-c", ""])
    fails = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    ends.wait()
    fails.wait()

    Child("learn", ends, None, may_end=True).check()
    for child in (Child("learn", ends, None), Child("learn", fails, None, may_end=True)):
        with pytest.raises(ChildDiedError):
            child.check()


def test_the_learner_of_each_arm_has_a_log_of_its_own(tmp_path: Path) -> None:
    with Children(tmp_path / "no-such.toml", tmp_path / "logs") as started:
        for arm in ("control", "treatment"):
            started.start("learn", arm=arm)

    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["learn-treatment.log", "learn.log"]
