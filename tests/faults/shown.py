"""What a system shows of a fault: the console's page, and the answers to the dashboards' queries by a real Prometheus that scrapes it.

    python -m tests.faults.shown FOLDER [healthy learner_stopped poison clicks_cut_off kafka_slow table_full]

For each fault, joiner, learner, server and a simulated site run as processes of their own, are in good health for a while, and then
meet the fault. What they show a few minutes later goes into FOLDER/fault: ``page.png``, ``page.txt``, and ``grafana.json``, so that somebody
who was not told can try to name it.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import numpy as np
import yaml
from playwright.sync_api import sync_playwright

from deploy.watch.panels import Panel
from deploy.watch.written import DASHBOARDS
from service.commands.simulation.site import Site, Visit
from service.commands.simulation.traffic import Traffic
from tests.deploy.composition import PROGRAMS, ROOT, read
from tests.helpers.kafka_server import KafkaServer
from tests.helpers.ports import free_ports
from tests.helpers.system import need

FAULTS = ("healthy", "learner_stopped", "poison", "clicks_cut_off", "kafka_slow", "table_full")
RATE = 12.0  # visits a second, of five impressions each
GOOD, BAD = 420.0, 180.0  # seconds in good health, of which ClicksMissing needs more than five minutes; seconds of the fault
FEW_ROWS = "128"  # of the table, for some 500 values
PAUSE, BETWEEN = 1.2, 0.3  # seconds for which a slow Kafka does nothing, and something
POINTS, SPAN = 20, 600.0  # of a series; seconds
WINDOW = "30s"  # what Grafana would choose for $__rate_interval


class Spoiled(Site):
    """A simulated site whose clicks go wrong once an event is set: each is one that was none, or there are none."""

    def __init__(self, fault: str, begun: Event) -> None:
        super().__init__(0, RATE)
        self._fault, self._begun = fault, begun

    def visit(self) -> Visit:
        """Return the next visit."""
        visit = super().visit()
        if not self._begun.is_set():
            return visit
        spoiled = {"poison": ~visit.clicked, "clicks_cut_off": np.zeros_like(visit.clicked)}
        return visit._replace(clicked=spoiled.get(self._fault, visit.clicked))


def visit_for_ever(url: str, fault: str, begun: Event) -> None:
    """Send the visits of a site."""

    async def run() -> None:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            await Traffic(client, Spoiled(fault, begun), 5.0).run(None)

    asyncio.run(run())


class System:
    """Joiner, learner, server, a simulated site and Prometheus, in a folder of their own."""

    def __init__(self, fault: str, folder: Path, ending: ExitStack) -> None:
        self._fault, self._folder, self._ending = fault, folder, ending
        self._kafka = ending.enter_context(KafkaServer()) if fault == "kafka_slow" else None
        ports = free_ports(4)
        self._targets = {name: f"127.0.0.1:{port}" for name, port in zip(("join", "learn", "serve", "prometheus"), ports, strict=True)}
        (folder / "sml.toml").write_bytes((ROOT / "deploy" / "simulated.toml").read_bytes())
        self._settings = {
            "SML_LOG__URL": self._kafka.url if self._kafka else f"sqlite:///{folder}/log.db",
            "SML_JOIN__CLICK_WINDOW": "10s",  # where the machine has much else to do, clicks come late
            "SML_JOIN__LATENESS": "5s",
            "SML_LEARN__DIRECTORY": f"{folder}/checkpoints",
            "SML_JOIN__METRICS_PORT": str(ports[0]),
            "SML_LEARN__METRICS_PORT": str(ports[1]),
            "SML_SERVE__PORT": str(ports[2]),
            **({"SML_TABLE__CAPACITY": FEW_ROWS} if fault == "table_full" else {}),
        }
        self._begun = multiprocessing.get_context("spawn").Event()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def url(self) -> str:
        """Where its server is."""
        return f"http://{self._targets['serve']}"

    def start(self) -> None:
        """Start all of it, and wait until predictions are answered."""
        subprocess.run([PROGRAMS / "sml", "topics", "create"], cwd=self._folder, env=self._environment(), check=True, capture_output=True)
        for name in ("join", "learn", "serve"):
            self._start(name, [str(PROGRAMS / "sml"), name])
        site = multiprocessing.get_context("spawn").Process(target=visit_for_ever, args=(self.url, self._fault, self._begun))
        site.start()
        self._ending.callback(site.join)
        self._ending.callback(site.kill)
        self._watch()
        while not _answers(f"{self.url}/readyz"):
            time.sleep(0.5)

    def break_(self) -> None:
        """Let the fault begin."""
        self._begun.set()
        if self._fault == "learner_stopped":
            self._processes["learn"].kill()
        if self._kafka:
            Thread(target=self._slow_down, args=(self._kafka,), daemon=True).start()

    def _slow_down(self, kafka: KafkaServer) -> None:
        while True:
            kafka.pause()
            time.sleep(PAUSE)
            kafka.resume()
            time.sleep(BETWEEN)

    def ask(self, path: str, **parameters: str | float) -> Any:
        """Ask Prometheus."""
        return httpx.get(f"http://{self._targets['prometheus']}/api/v1/{path}", params=parameters, timeout=60).json()["data"]

    def _watch(self) -> None:
        config, folder = read("deploy/prometheus/prometheus.yml"), self._folder / "prometheus"
        folder.mkdir()
        del config["alerting"]
        jobs = {"joiner": "join", "learner": "learn", "server": "serve"}
        config["scrape_configs"] = [{"job_name": job, "static_configs": [{"targets": [self._targets[name]]}]} for job, name in jobs.items()]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (folder / "alerts.yml").write_bytes((ROOT / "deploy/prometheus/alerts.yml").read_bytes())
        options = [f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
        self._start("prometheus", [need("prometheus"), *options, f"--web.listen-address={self._targets['prometheus']}"])

    def _start(self, name: str, command: list[str]) -> None:
        with (self._folder / f"{name}.txt").open("wb") as output:
            process = subprocess.Popen(command, cwd=self._folder, env=self._environment(), stdout=output, stderr=output)
        self._processes[name] = process
        self._ending.callback(process.wait)
        self._ending.callback(process.kill)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._settings}


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@contextmanager
def systems(faults: list[str], folder: Path) -> Iterator[dict[str, System]]:
    """Start a system for each fault."""
    with ExitStack() as ending:
        found = {}
        for fault in faults:
            (folder / fault / "system").mkdir(parents=True)
            found[fault] = System(fault, folder / fault / "system", ending)
            found[fault].start()
        yield found


def save_page(url: str, folder: Path) -> None:
    """Save the console's page as a picture and as text."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=need("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.goto(url)
        page.wait_for_timeout(8000)
        page.screenshot(path=folder / "page.png", full_page=True)
        (folder / "page.txt").write_text(page.inner_text("body"))
        browser.close()


def save_panels(system: System, folder: Path) -> None:
    """Save what every panel shows of the last minutes, and the alerts that fire or are about to."""
    end = time.time()
    boards = {
        board.title: {row: [_answered(system, panel, end) for panel in panels] for row, panels in board.rows.items()}
        for board in DASHBOARDS
    }
    alerts = [{"state": each["state"], **each["labels"], **each["annotations"]} for each in system.ask("alerts")["alerts"]]
    (folder / "grafana.json").write_text(json.dumps({"alerts": alerts, "dashboards": boards}, indent=1))


def _answered(system: System, panel: Panel, end: float) -> dict[str, Any]:
    found = {}
    for legend, query in panel.queries.items():
        times = {"start": end - SPAN, "end": end, "step": SPAN / POINTS}
        for series in system.ask("query_range", query=query.replace("$__rate_interval", WINDOW), **times)["result"]:
            labels = {name: value for name, value in series["metric"].items() if name != "__name__"}
            name = legend
            for label, value in labels.items():
                name = name.replace(f"{{{{{label}}}}}", value)
            found[f"{name} {labels}"] = {f"{at - end:.0f} s": float(f"{float(value):.4g}") for at, value in series["values"]}
    told = {"title": panel.title, "description": panel.text, "unit": panel.unit, "thresholds": panel.steps, "alerts": panel.alerts}
    return {**told, "series": found}


def main() -> None:
    """Let each system meet its fault, all at once, and save what they show."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("faults", nargs="*", choices=FAULTS, default=FAULTS)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that whoever ends this ends the systems, too
    with systems(asked.faults, asked.folder) as found:
        time.sleep(GOOD)
        for system in found.values():
            system.break_()
        time.sleep(BAD)
        for fault, system in found.items():
            save_page(system.url, asked.folder / fault)
            save_panels(system, asked.folder / fault)


if __name__ == "__main__":
    main()
