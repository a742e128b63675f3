"""The main job on real processes: a recorded log, replayed as impressions and clicks, is joined, learned from and served.

Every row is learned exactly once: the digest of the learner's weights is that of ``sml evaluate`` on the same file.
"""

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.kafka_server import free_port
from tests.recorded_logs import recorded_log

PATIENCE = 600.0  # seconds, for the longest of them to catch up


class Site:
    """A folder with settings, the environment that points them at a log, and the commands run in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("serve", "learn", "join")}
        self.environment = os.environ | {
            "SML_LOG__URL": url,
            "SML_LOG__PREFIX": f"test-{random.getrandbits(48):012x}",
            "SML_SERVE__PORT": str(self.ports["serve"]),
            "SML_LEARN__METRICS_PORT": str(self.ports["learn"]),
            "SML_JOIN__METRICS_PORT": str(self.ports["join"]),
        }

    def sml(self, *words: str, answer: bool = True) -> Any:
        """Run a command to its end; give the JSON value that it answers with."""
        command = [sys.executable, "-m", "service", *words, *(["--json"] if answer else [])]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]) if answer else done.stdout

    @contextmanager
    def running(self, *names: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
        """Run commands until the block ends; each must then end in order when asked to."""
        processes = {}
        try:
            for name in names:
                with (self.folder / f"{name}.log").open("wb") as output:
                    command = [sys.executable, "-m", "service", name]
                    processes[name] = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdout=output, stderr=output)
            yield processes
            for process in processes.values():
                process.send_signal(signal.SIGTERM)
            ended = {name: process.wait(60) for name, process in processes.items()}
            assert ended == dict.fromkeys(names, 0)
        finally:
            for process in processes.values():
                process.kill()
                process.wait()

    def get(self, name: str, path: str) -> httpx.Response:
        """Ask the server, or a process for its metrics."""
        return httpx.get(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=10)

    def metric(self, process: str, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.get(process, "/metrics").text.splitlines()
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        assert values, f"{name} is not exported"
        return sum(values)

    def wait_for(self, promise: Callable[[], bool], what: str) -> None:
        """Wait until ``promise`` holds."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                if promise():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        logs = {log.name: log.read_text()[-1500:] for log in self.folder.glob("*.log")}
        pytest.fail(f"waited {PATIENCE:.0f} s for {what}\n{logs}")


def made_up_log(folder: Path) -> Path:
    """4,000 rows of a small site: two users of three like one item of two."""
    path = folder / "clicks.csv"
    chance = random.Random(1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["click", "ts", "user", "item", "price"])
        for row in range(4000):
            user, item = chance.randrange(300), chance.randrange(40)
            click = chance.random() < (0.6 if user % 3 and item % 2 else 0.1)
            writer.writerow([int(click), 1_700_000_000_000 + row * 50, f"u{user}", f"i{item}", round(chance.uniform(1, 90), 2)])
    return path


def kuairand(_: Path) -> Path:
    """All 222,444 rows."""
    return recorded_log("kuairand_pure.csv.gz")


@pytest.mark.parametrize(
    ("source", "label", "at", "request_of"),
    [
        pytest.param(made_up_log, "click", "ts", {"user": "u1", "item": "i1", "price": 12.5}, id="made-up"),
        pytest.param(kuairand, "click", "time_ms", {"user_id": "712", "video_id": "5239", "tab": "1", "register_days": 711}, id="kuairand"),
    ],
)
@pytest.mark.parametrize("log", ["sqlite", "kafka"])
def test_every_row_is_joined_learned_once_and_served(
    log: str,
    source: Callable[[Path], Path],
    label: str,
    at: str,
    request_of: dict[str, Any],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    if log == "sqlite" and source is kuairand:
        pytest.skip("the long stream is for the real Kafka; the made-up one goes through both")
    url = request.getfixturevalue("kafka") if log == "kafka" else f"sqlite:///{tmp_path}/log.db"
    file = source(tmp_path)
    site = Site(tmp_path, url)
    site.sml("init", str(file), "--label", label, "--time", at, "-o", "sml.toml", answer=False)
    expected = site.sml("evaluate", str(file))
    rows = expected["examples"]

    site.sml("topics", "create", answer=False)
    with site.running("join", "learn", "serve"):
        replayed = site.sml("replay", str(file))
        site.wait_for(lambda: site.get("serve", "/v1/model").json().get("examples") == rows, f"{rows} examples at the server")
        site.wait_for(lambda: site.metric("learn", "sml_learner_lag_records") == 0, "no lag at the learner")
        site.wait_for(lambda: site.metric("join", "sml_joiner_lag_records") == 0, "no lag at the joiner")
        model = site.get("serve", "/v1/model").json()
        body = {"context": request_of, "candidates": [{"id": "one"}], "time": 1_700_000_000_000}
        online = httpx.post(f"http://127.0.0.1:{site.ports['serve']}/v1/predict", json=body, timeout=10).json()
        assert site.metric("learn", "sml_learner_dead_letters_total") == 0
        assert site.metric("join", "sml_joiner_examples_total") == rows

    newest = site.sml("snapshots", "list")[-1]
    (tmp_path / "request.json").write_text(json.dumps(body))
    offline = site.sml("predict", "request.json")

    assert replayed["rows"] == rows
    assert model["examples"] == newest["examples"] == rows
    assert model["digest"] == newest["digest"] == expected["weights_digest"]
    assert online["predictions"][0]["probability"] == offline["predictions"][0]["probability"]
    assert online["version"] == model["version"]
