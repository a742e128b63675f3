"""docker-compose.yml without Docker: its services as processes of this machine, with their commands and environments.

A name and port of the composition (``kafka:9092``) becomes a free port here, wherever it is used: in a setting, a command, a health
check, Prometheus's targets. Each process has a folder of its own, as a container has, so that they share only the log.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.helpers.kafka_server import JARS
from tests.helpers.ports import free_ports

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(sys.executable).parent  # sml and python3, as in the image's PATH
PORTS = (8000, 9090, 9092, 9093, 9094, 9101, 9102)
# The ports that the services listen on: a container has them to itself, a process does not.
LISTEN = {"SML_SERVE__PORT": ":8000", "SML_LEARN__METRICS_PORT": ":9101", "SML_JOIN__METRICS_PORT": ":9102"}


def read(name: str) -> dict[str, Any]:
    """Read one of the repository's YAML files."""
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))
    return content


class Composition:
    """The services, started by name and ended together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.services: dict[str, dict[str, Any]] = read("docker-compose.yml")["services"]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))

    def here(self, text: str) -> str:
        """Replace every ``name:port`` by its address here."""
        return re.sub(r"[a-z]*:(\d{4})\b", lambda found: f"127.0.0.1:{self._ports[int(found[1])]}", text)

    def get(self, address: str) -> bytes:
        """Read ``server:8000/readyz``, as it is called inside the composition."""
        with urllib.request.urlopen(f"http://{self.here(address)}", timeout=10) as answer:
            content: bytes = answer.read()
            return content

    def environment(self, service: str) -> dict[str, str]:
        """Return the environment of a service, and nothing of ours but the path."""
        given = {name: self.here(str(value)) for name, value in self.services[service].get("environment", {}).items()}
        ports = {name: self.here(port).rpartition(":")[2] for name, port in LISTEN.items()}
        return {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "HOME": os.environ["HOME"], **ports, **given}

    def start(self, service: str) -> None:
        """Start the service's command in a folder of its own, with its settings."""
        settings = (ROOT / "deploy" / "simulated.toml").read_bytes()
        folder = self.folder / service
        folder.mkdir(exist_ok=True)
        (folder / "sml.toml").write_bytes(settings)
        self.process(service, ["sml", *self.here(self.services[service]["command"]).split()])

    def start_kafka(self) -> None:
        """Start a real Kafka with the settings that its image makes of the environment."""
        folder = self.folder / "kafka"
        folder.mkdir()
        settings = {**self.environment("kafka"), "KAFKA_LOG_DIRS": str(folder / "data")}
        named = {name[6:].lower().replace("_", "."): value for name, value in settings.items() if name.startswith("KAFKA_")}
        (folder / "server.properties").write_text("\n".join(f"{name}={value}" for name, value in named.items()))
        java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*"]
        form = [*java, "kafka.tools.StorageTool", "format", "--cluster-id", settings["CLUSTER_ID"], "--config", "server.properties"]
        subprocess.run(form, cwd=folder, check=True, capture_output=True)
        self.process("kafka", [*java, "kafka.Kafka", "server.properties"])

    def process(self, name: str, command: list[str], **more: str) -> None:
        """Start a process that ends with the composition; what it says goes to ``NAME.txt``."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        environment = {**(self.environment(name) if name in self.services else dict(os.environ)), **more}
        with (self.folder / f"{name}.txt").open("wb") as output:
            self._processes[name] = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)

    def ended(self, name: str) -> int:
        """Wait until the process ends, and give its exit status."""
        return self._processes[name].wait(60)

    def healthy(self, service: str) -> bool:
        """Return whether the service passes its own health check."""
        check = self.services[service]["healthcheck"]["test"]
        command = [self.here(part) for part in check[1:]]
        return subprocess.run(command, env=self.environment(service), capture_output=True, check=False).returncode == 0

    def until(self, condition: Callable[[], bool], what: str, seconds: float = 420.0) -> None:
        """Wait for ``condition``.

        Raises:
            TimeoutError: it did not become true, or a process has failed; the message shows the processes' output.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            failed = [name for name, process in self._processes.items() if process.poll()]
            if failed or time.monotonic() > deadline:
                output = {path.stem: path.read_text(errors="replace")[-2000:] for path in self.folder.glob("*.txt")}
                raise TimeoutError(f"{what}: not within {seconds:g} s; failed: {failed}; output: {output}")
            time.sleep(0.2)

    def answers(self, port: int) -> bool:
        """Return whether something listens on a port of the composition."""
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self._ports[port])) == 0

    def stop(self, service: str) -> int:
        """End the process as ``docker-compose stop`` does, and give its exit status."""
        process = self._processes.pop(service)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
