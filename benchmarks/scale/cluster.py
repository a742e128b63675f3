"""A Flink cluster of real processes on this machine: a JobManager that runs the join, and TaskManagers that can be killed."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from service.commands.join_on_flink import java, task_command
from tests.helpers.ports import free_port

PATIENCE = 180.0  # seconds
# What Flink's scripts would compute from taskmanager.memory.process.size.
MEMORY = {
    "taskmanager.cpu.cores": "1.0",
    "taskmanager.memory.task.heap.size": "256m",
    "taskmanager.memory.task.off-heap.size": "0m",
    "taskmanager.memory.framework.heap.size": "128m",
    "taskmanager.memory.framework.off-heap.size": "64m",
    "taskmanager.memory.network.min": "64m",
    "taskmanager.memory.network.max": "64m",
    "taskmanager.memory.managed.size": "32m",
    "taskmanager.memory.jvm-metaspace.size": "128m",
    "taskmanager.memory.jvm-overhead.min": "192m",
    "taskmanager.memory.jvm-overhead.max": "192m",
}
MANAGER = "org.apache.flink.container.entrypoint.StandaloneApplicationClusterEntryPoint"
WORKER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"


def wait_until(happened: Callable[[], Any]) -> Any:
    """Return what ``happened`` returns, once that is true."""
    deadline = time.monotonic() + PATIENCE
    while not (found := happened()):
        if time.monotonic() > deadline:
            raise TimeoutError(happened)
        time.sleep(0.05)
    return found


class Cluster:
    """A job of ``parallelism`` on TaskManagers of ``slots``; it begins with a savepoint, if one is given."""

    def __init__(self, jars: Path, config: Path, parallelism: int, managers: int, slots: int, savepoint: str | None = None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sml-flink-"))
        (self._folder / "config.yaml").write_text("# all by -D\n", encoding="utf-8")
        self._jars, self.port = jars, free_port()
        options = MEMORY | {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": str(free_port()),
            "rest.port": str(self.port),
            "rest.bind-port": str(self.port),
            "blob.server.port": "0",
            "parallelism.default": str(parallelism),
            "taskmanager.numberOfTaskSlots": str(slots),
            "execution.checkpointing.interval": "1s",
            "execution.checkpointing.dir": (self._folder / "checkpoints").as_uri(),
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": "100",
            "heartbeat.timeout": "5s",
            "heartbeat.interval": "1s",
            "slot.request.timeout": "60s",
        }
        self._given = [f"-D{name}={value}" for name, value in options.items()]
        restored = ["--fromSavepoint", savepoint] if savepoint else []
        place = ["--configDir", str(self._folder), *self._given]
        self._manager = self._start(MANAGER, [*place, "--job-classname", "sml.JoinJob", *restored, *task_command(config)], "manager")
        self.workers = [self.start_worker() for _ in range(managers)]

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start a TaskManager."""
        return self._start(WORKER, ["--configDir", str(self._folder), *self._given], "worker")

    def running(self) -> bool:
        """Return whether all of the job's tasks run."""
        try:
            tasks = self._job()["tasks"] if (job := self._get("/jobs")["jobs"]) else {}
        except httpx.HTTPError:
            return False
        return bool(job) and tasks["running"] == tasks["total"]

    def stop(self) -> str:
        """Stop the job with a savepoint, and return where that is."""
        job = self._get("/jobs")["jobs"][0]["id"]
        body = {"targetDirectory": (self._folder / "savepoints").as_uri(), "drain": False}
        request = httpx.post(f"http://127.0.0.1:{self.port}/jobs/{job}/stop", json=body).json()["request-id"]

        def done() -> Any:
            status = self._get(f"/jobs/{job}/savepoints/{request}")
            return status["operation"]["location"] if status["status"]["id"] == "COMPLETED" else None

        return str(wait_until(done))

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Kill all that still runs."""
        for process in (*self.workers, self._manager):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _job(self) -> Any:
        overview = self._get("/jobs/overview")["jobs"]
        return overview[0] if overview else {"tasks": {"running": 0, "total": 1}}

    def _get(self, path: str) -> Any:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}").json()

    def _start(self, main: str, arguments: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self._folder / f"{name}.txt").open("ab") as output:
            return subprocess.Popen(java(self._jars, main, {}, arguments), stdout=output, stderr=output, start_new_session=True)
