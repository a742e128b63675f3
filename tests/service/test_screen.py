"""A line of `sml up` is printed above the simulator's live line, and is plain text if stderr is no terminal."""

import io
import sys

import pytest

from service.screen import say


class Terminal(io.StringIO):
    """A terminal, as far as the two use it: return, clear the line, newline."""

    def isatty(self) -> bool:
        """Pretend to be one."""
        return True

    def lines(self) -> list[str]:
        """Return the lines that it shows."""
        return [line.rpartition("\r\x1b[K")[2] for line in self.getvalue().split("\n")]


def test_a_line_is_printed_above_the_one_that_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    terminal.write("\r\x1b[Klearned 1")
    say("set aside: 3")
    terminal.write("\r\x1b[Klearned 2")

    assert terminal.lines() == ["set aside: 3", "learned 2"]


def test_a_file_gets_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("set aside: 3")

    assert capsys.readouterr().err == "set aside: 3\n"
