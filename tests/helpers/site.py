"""A site: a folder with settings, a log, and commands that run there as processes, which tests kill, pause and start again."""

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

from stream.log.topics import Topics
from tests.helpers.kafka_server import ROOT
from tests.helpers.ports import free_port

PATIENCE = 600.0  # seconds within which the slowest process must catch up


class Site:
    """A folder with settings, environment variables that point them at a log, and the commands that run in the folder.

    Args:
        folder: The folder of ``sml.toml``, which may be written later.
        url: The log's URL.
        settings: Further settings, by the names of their environment variables.
    """

    def __init__(self, folder: Path, url: str, **settings: str) -> None:
        self.folder, self.url = folder, url
        self.topics = Topics(f"test-{random.getrandbits(48):012x}")
        self.ports = {name: free_port() for name in ("serve", "learn", "join")}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "SML_LOG__URL": url,
            "SML_LOG__PREFIX": self.topics.prefix,
            "SML_SERVE__PORT": str(self.ports["serve"]),
            "SML_LEARN__METRICS_PORT": str(self.ports["learn"]),
            "SML_JOIN__METRICS_PORT": str(self.ports["join"]),
            **settings,
        }

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, and return its status and output."""
        command = [sys.executable, "-m", "service", *words]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=False)

    def sml(self, *words: str, answer: bool = True) -> Any:
        """Run a command that succeeds; return the JSON value that it prints."""
        done = self.run(*words, *(["--json"] if answer else []))
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]) if answer else done.stdout

    def start(self, name: str, *words: str, called: str | None = None, **settings: str) -> subprocess.Popen[bytes]:
        """Start a command under its name, or as it is ``called``; append its output to ``NAME.log``."""
        called = called or name
        with (self.folder / f"{called}.log").open("ab") as output:
            command, environment = [sys.executable, "-m", "service", name, *words], self.environment | settings
            self.processes[called] = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=output, stderr=output)
        return self.processes[called]

    def kill(self, name: str) -> None:
        """Kill a process, as a crash would."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def end(self) -> dict[str, int]:
        """Ask all processes to end in order; return their exit statuses."""
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        ended = {name: process.wait(60) for name, process in self.processes.items()}
        self.processes.clear()
        return ended

    def close(self) -> None:
        """Kill the processes that still run."""
        for name in list(self.processes):
            self.kill(name)

    @contextmanager
    def running(self, *names: str) -> Iterator[None]:
        """Run commands until the block ends; each must then end in order when asked to."""
        try:
            for name in names:
                self.start(name)
            yield
            assert self.end() == dict.fromkeys(names, 0)
        finally:
            self.close()

    def said(self, name: str) -> str:
        """Return the output of a process."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def get(self, name: str, path: str) -> httpx.Response:
        """Send a request to the server, or to the metrics of a process."""
        return httpx.get(f"http://127.0.0.1:{self.ports[name]}{path}", timeout=60)

    def metric(self, process: str, name: str) -> float:
        """Return the sum of a metric over its labels."""
        lines = self.get(process, "/metrics").text.splitlines()
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
        assert values, f"{name} is not exported"
        return sum(values)

    def wait_for(self, promise: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Wait until ``promise`` holds."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            try:
                if promise():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.2)
        logs = {log.name: log.read_text(errors="replace")[-1500:] for log in self.folder.glob("*.log")}
        pytest.fail(f"waited {patience:.0f} s for {what}\n{logs}")
