"""A line that `sml up` says stands above the line that the simulator keeps alive, and is plain where the screen is no terminal."""

import io
import sys

import pytest

from service.screen import say


class Terminal(io.StringIO):
    """What a terminal shows of the two, as far as they use it: return, clear the line, newline."""

    def isatty(self) -> bool:
        """Pretend."""
        return True

    def lines(self) -> list[str]:
        """Return the lines, as they look."""
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
