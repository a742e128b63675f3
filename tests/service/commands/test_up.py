"""``sml up``: the whole system as real processes. It starts, ends and continues without losing or leaving anything."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import load
from stream.log.connect import connect
from stream.log.contract import Message
from stream.log.load import measured
from stream.log.sqlite.log import SqliteLog
from stream.log.topics import Kept, wanted
from tests.helpers.ports import free_ports

ROOT = Path(__file__).parents[3]
SETTINGS = ROOT / "deploy/simulated.toml"


def eventually(question: Callable[[], Any], seconds: float = 90) -> Any:
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := question():
            return answer
        time.sleep(0.1)
    raise TimeoutError(f"not within {seconds} s")


class System:
    """A folder in which ``sml up`` runs."""

    def __init__(self, folder: Path, first: "System | None" = None, output: str = "output") -> None:
        self.folder = folder
        self.output = folder / output
        self.ports: list[int] = first.ports if first else free_ports(3)
        self.process: subprocess.Popen[str] | None = None
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.ports[0]}", timeout=60)

    def start(self, *options: str, **variables: str) -> None:
        """Run ``sml up``, in an environment with these variables."""
        command = [sys.executable, "-m", "service", "up", "--config", str(SETTINGS), *options]
        with self.output.open("w") as output:
            environment = self.environment() | variables
            self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=output, stderr=output, text=True)

    def environment(self) -> dict[str, str]:
        """Return the environment of its commands."""
        ports = dict(zip(("SML_SERVE__PORT", "SML_LEARN__METRICS_PORT", "SML_JOIN__METRICS_PORT"), map(str, self.ports), strict=True))
        return {**os.environ, **ports, "PYTHONPATH": str(ROOT), "SML_JOIN__CLICK_WINDOW": "1s"}

    def sml(self, *words: str) -> str:
        """Run a command that succeeds; return the last line that it prints."""
        command = [sys.executable, *("-m", "service"), *words]
        done = subprocess.run(command, cwd=self.folder, env=self.environment(), capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    def model(self) -> dict[str, Any] | None:
        """Return which weights are in service, if any are."""
        try:
            answer = self.client.get("/v1/model")
        except httpx.TransportError:
            return None
        return answer.json() if answer.is_success else None

    def learned(self) -> int:
        """Return how many examples the weights in service have learned."""
        model = self.model()
        return int(model["examples"]) if model else 0

    def children(self) -> dict[str, int]:
        """Return the processes of ``sml up``, by the command that each runs."""
        assert self.process
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return {Path(f"/proc/{pid}/cmdline").read_text().split("\0")[3]: int(pid) for pid in pids}

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal, wait for the end, and return the exit status."""
        assert self.process
        self.process.send_signal(number)
        return self.process.wait(90)

    def printed(self) -> str:
        """Return what was printed."""
        return self.output.read_text()


def running(pids: Iterable[int]) -> list[str]:
    """Return which of the processes have not ended; one that nobody has asked how it ended, has."""
    states = [Path(f"/proc/{pid}/stat") for pid in pids]
    return [path.parent.name for path in states if path.exists() and path.read_text().rpartition(")")[2].split()[0] != "Z"]


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """Prepare a folder; end the system afterwards."""
    system = System(tmp_path)
    yield system
    end(system)


@pytest.fixture
def second(system: System) -> Iterator[System]:
    """Prepare a second run, in the same folder and on the same ports."""
    second = System(system.folder, system, "second output")
    yield second
    end(second)


def end(system: System) -> None:
    """End the system, if it still runs."""
    system.client.close()
    if system.process and system.process.poll() is None:
        system.end(signal.SIGTERM)


def test_it_learns_from_a_made_up_site_ends_on_ctrl_c_and_goes_on(system: System) -> None:
    system.start("--simulate")
    eventually(lambda: system.learned() > 100)
    answer = system.client.post("/v1/predict", json={"candidates": [{"id": 1}]}).json()
    children = system.children()
    status = system.end(signal.SIGINT)

    assert answer["version"] > 0
    assert set(children) == {"join", "learn", "serve", "simulate"}
    assert status == 0, system.printed()
    assert [name for name, pid in children.items() if Path(f"/proc/{pid}").exists()] == []
    assert f"http://127.0.0.1:{system.ports[0]}/docs" in system.printed()

    system.start("--simulate")
    first = eventually(system.learned)

    assert first > 100
    assert eventually(lambda: system.learned() > first + 100)
    assert system.end(signal.SIGTERM) == 0, system.printed()


def test_a_simulated_site_that_is_left_running_takes_a_few_gigabytes(system: System) -> None:
    system.start("--simulate")
    eventually(lambda: system.learned() > 3000)
    names = load(SETTINGS).topics
    with connect(f"sqlite:///{system.folder}/data/log.db") as log:
        held = [measured(log, each.name).held_for(log.retention(each.name)) for each in wanted(names, 1, Kept())]

    assert system.end() == 0, system.printed()
    assert 1e9 < sum(held) < 10e9


def test_an_experiment_runs_on_the_simulated_site_and_its_report_is_one_command_away(system: System) -> None:
    def arms() -> list[dict[str, Any]]:
        return list((system.model() or {}).get("arms", []))

    system.start("--simulate", "--experiment", "sml")
    eventually(lambda: len([each for each in arms() if (each["examples"] or 0) > 300]) == 2)
    shares, children = {each["arm"]: each["share"] for each in arms()}, system.children()
    eventually(lambda: re.search(r"control \d\.\d+, worth .* treatment \d\.\d+, worth ", system.printed()))
    words = next(line.split()[2:] for line in system.printed().splitlines() if line.startswith("experiment "))
    report = json.loads(system.sml(*words, "--json"))

    assert system.end() == 0, system.printed()
    assert set(children) == {"join", "learn", "serve", "experiment", "simulate"}
    assert shares == {"control": 0.5, "treatment": 0.5}
    assert all(each["impressions"] > 100 and each["value"] > 0 for each in report["arms"])
    assert {rail["name"]: rail["fine"] for rail in report["guard_rails"]}["errors"]
    skips = {name: arm.model.skip for name, arm in load(system.folder / words[-1]).arms.items()}
    assert skips == {"control": "meta_tanh", "treatment": "none"}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--experiment", "sml"], "it needs --simulate"),
        (["--simulate", "--experiment", "../sml"], "expected a name of up to 40 small letters"),
    ],
)
def test_an_experiment_that_cannot_be_run_is_refused_before_anything_starts(system: System, options: list[str], expected: str) -> None:
    system.start(*options)
    assert system.process

    assert system.process.wait(60) == 2
    assert expected in system.printed()
    assert not (system.folder / "data").exists()


def test_an_experiment_is_refused_on_a_log_that_another_site_has_written(system: System) -> None:
    system.sml("topics", "create", "--config", str(SETTINGS))
    system.start("--simulate", "--experiment", "sml")
    assert system.process

    assert system.process.wait(60) == 2
    assert "which another site has written, expected an empty log" in system.printed()


def test_kernels_are_compiled_with_a_word_before_anything_starts_that_needs_them(system: System, unmarked: Path) -> None:
    system.start(NUMBA_CACHE_DIR=str(unmarked))
    eventually(lambda: "/docs" in system.printed())
    children, lines = system.children(), system.printed().splitlines()

    assert set(children) == {"join", "learn", "serve"}
    parts = ["to predict", "to explain", "to learn", "done"]
    assert [line.split(": ")[1].partition(" in")[0] for line in lines[:4]] == parts
    assert lines[4] == "starting"
    assert system.end() == 0
    assert "compiling" not in "".join(path.read_text() for path in (system.folder / "data/logs").iterdir())


def test_whoever_ends_it_while_it_compiles_does_not_wait(system: System, tmp_path: Path) -> None:
    system.start(NUMBA_CACHE_DIR=str(tmp_path / "empty"))
    eventually(lambda: "to predict" in system.printed())

    assert system.end() == 0, system.printed()
    assert list((tmp_path / "empty").glob("*-numba*")) == []  # it would be there once all are compiled
    assert "starting" not in system.printed()


def test_a_child_that_dies_is_told_and_ends_all(system: System) -> None:
    system.start()
    eventually(lambda: "/docs" in system.printed())
    children = system.children()
    os.kill(children["learn"], signal.SIGKILL)
    assert system.process
    status = system.process.wait(60)

    assert status == 1
    assert "`sml learn` was killed, by somebody or because memory ran out, so all end" in system.printed()
    assert [name for name, pid in children.items() if Path(f"/proc/{pid}").exists()] == []


def test_a_port_that_is_taken_is_told(system: System) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", system.ports[0]))
        taken.listen()
        system.start()
        assert system.process
        status = system.process.wait(60)

    assert status == 1
    assert system.printed().splitlines()[-1].startswith(f"sml: serve.port: got {system.ports[0]} at 127.0.0.1, expected a free port")


def test_a_second_start_in_one_folder_ends_with_a_word_and_takes_over_only_on_purpose(system: System, second: System) -> None:
    system.start()
    eventually(lambda: "/docs" in system.printed())
    assert system.process
    children = system.children()
    logs = {path: path.stat().st_size for path in (system.folder / "data/logs").iterdir()}

    second.start()
    assert second.process
    refused = second.process.wait(90)
    word = second.printed().splitlines()[-1]

    assert refused == 1
    assert f"process {system.process.pid}, since 20" in word
    assert f"with {SETTINGS}" in word
    assert "`sml up --takeover`" in word
    assert system.children() == children
    assert {path: path.stat().st_size for path in logs} == logs

    second.start("--takeover")
    eventually(lambda: "/docs" in second.printed())

    assert system.process.wait(90) == 0
    assert f"taken over by `sml up --takeover` (process {second.process.pid})" in system.printed()
    assert running(children.values()) == []
    assert second.end() == 0, second.printed()


def test_what_a_killed_one_started_ends_with_its_work_saved_and_the_next_begins_at_once(system: System, second: System) -> None:
    system.start("--simulate")
    eventually(lambda: system.learned() > 20)
    assert system.process
    children = system.children()

    system.process.kill()
    system.process.wait()
    second.start()  # at once: it waits for their ports, if it has to

    eventually(lambda: not running(children.values()), 15)
    saved = list((system.folder / "data/checkpoints").iterdir())
    eventually(lambda: "/docs" in second.printed())
    assert set(children) == {"join", "learn", "serve", "simulate"}
    assert saved
    assert second.learned() > 20
    assert second.end() == 0, second.printed()


def test_a_record_that_is_set_aside_is_told_on_the_screen_within_a_minute(system: System) -> None:
    system.start()
    eventually(lambda: "/docs" in system.printed())
    with SqliteLog(f"sqlite:///{system.folder}/data/log.db") as log:
        log.append([Message("sml.clicks", b"broken", b"{")])

    eventually(lambda: "set aside in the last" in system.printed(), 60)

    line = next(line for line in system.printed().splitlines() if line.startswith("set aside"))
    assert ": 1 for record; `sml dead-letters list` shows them" in line
