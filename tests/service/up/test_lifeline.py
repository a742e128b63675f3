"""A child ends with its parent, however that ends; a process that is nobody's child ignores its pipes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.up.lifeline import VARIABLE, lifeline

ROOT = Path(__file__).parents[3]
CHILD = """
import signal, sys, time
from service.up import lifeline
lifeline.SAVE_TIMEOUT = 0.3
{setup}
lifeline.end_with_parent()
print("begun", flush=True)
time.sleep(30)
"""
IN_ORDER = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('saved', flush=True)))"
DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def start(descriptor: int | str, setup: str = "") -> subprocess.Popen[str]:
    """Start a process that takes the descriptor for its end of a lifeline, and wait until it has started."""
    environment = os.environ | {VARIABLE: str(descriptor), "PYTHONPATH": str(ROOT)}
    passed = (descriptor,) if isinstance(descriptor, int) else ()
    command = [sys.executable, "-c", CHILD.format(setup=setup)]
    process = subprocess.Popen(command, pass_fds=passed, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize(("setup", "printed", "status"), [(IN_ORDER, "saved\n", 0), ("", "", -signal.SIGTERM), (DEAF, "", -signal.SIGKILL)])
def test_a_child_is_asked_to_end_in_order_and_ended_if_it_does_not(*, setup: str, printed: str, status: int) -> None:
    with lifeline() as descriptor:
        process = start(descriptor, setup)
        assert process.poll() is None

    assert process.communicate(timeout=60)[0] == printed
    assert process.returncode == status


@pytest.mark.parametrize("variable", ["", "nonsense", "-1", "9999", "0"])
def test_what_is_no_lifeline_ends_nothing(variable: str) -> None:
    process = start(variable)

    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.kill()
    process.communicate()
