"""One running composition: the services on a real Kafka, simulated traffic, and Debian's Prometheus."""

import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from sml_online_client import Client

from stream.log.connect import connect
from stream.log.contract import Message
from stream.records.events import Impression, encode
from tests.deploy.composition import PROGRAMS, ROOT, Composition, read
from tests.deploy.kubectl import fetch
from tests.helpers.kafka_server import fetch_jars
from tests.helpers.ports import free_ports
from tests.helpers.system import need

SERVICES = ("joiner", "learner", "server")


@pytest.fixture(scope="package")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fetch it, and return its path."""
    return fetch(tmp_path_factory.mktemp("kubectl"))


@pytest.fixture(scope="module")
def composition(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composition]:
    """Start everything in the order of the composition; at the end each service must stop without an error."""
    if reason := fetch_jars():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    with Composition(tmp_path_factory.mktemp("composition")) as running:
        running.start_kafka()
        running.until(lambda: running.answers(9092), "Kafka answers")
        running.start("topics")
        assert running.ended("topics") == 0
        for service in SERVICES:
            running.start(service)
        running.until(lambda: all(running.healthy(service) for service in SERVICES), "every service is healthy")
        running.start("simulator")
        running.until(lambda: (running.folder / "simulator.txt").stat().st_size > 0, "the simulator tells of its traffic")
        yield running
        assert {service: running.stop(service) for service in ("simulator", *SERVICES)} == dict.fromkeys(("simulator", *SERVICES), 0)


@pytest.fixture(scope="module")
def experiment(composition: Composition) -> Iterator[list[str]]:
    """Run two arms on an embedded log, with traffic of their own; yield where the metrics of the server and of the learners are."""
    folder, ports, sml = composition.folder / "experiment", free_ports(4), str(PROGRAMS / "sml")
    folder.mkdir()
    settings = (ROOT / "deploy" / "simulated.toml").read_text()
    (folder / "sml.toml").write_text(
        f'[experiment]\nunit = "user_id"\n[arms.control]\nshare = 0.5\n[arms.treatment]\nshare = 0.5\n{settings}'
    )
    names = ("SML_SERVE__PORT", "SML_JOIN__METRICS_PORT", "SML_LEARN__METRICS_PORT", "SML_ARMS__TREATMENT__METRICS_PORT")
    composition.process("experiment", [sml, "up"], **dict(zip(names, map(str, ports), strict=True)))
    composition.until(lambda: _is_ready(f"http://127.0.0.1:{ports[0]}/readyz"), "the arms are served")
    few = ["simulate", "--url", f"http://127.0.0.1:{ports[0]}", "--rate", "10", "--config", str(folder / "sml.toml")]
    composition.process("visitors", [sml, *few])
    composition.process("reporter", ["sh", "-c", f"cd {folder} && exec {sml} experiment report first --watch 5"])
    yield [f"127.0.0.1:{port}" for port in ports]
    assert [composition.stop(name) for name in ("visitors", "reporter", "experiment")] == [0, 0, 0]


@pytest.fixture(scope="module")
def prometheus(composition: Composition, experiment: list[str]) -> Composition:
    """Watch the composition by the real configuration, only more often; broken and late records, and misspelt features, make their counters appear."""
    program = need("prometheus")
    (composition.folder / "prometheus").mkdir()
    configure(composition, composition.folder / "prometheus", experiment)
    listen = composition.here("prometheus:9090")
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={listen}"]
    composition.process("prometheus", [program, *options])
    now = int(time.time() * 1000)
    events = [Impression(f"i{age}", now - age, {"prize": 1}, source="tests") for age in (0, 86_400_000)]  # the second comes a day late
    with connect(composition.here("kafka://kafka:9092")) as log:
        log.append([Message("sml.impressions", b"broken", b"{"), Message("sml.examples", b"broken", b"{")])
        log.append([Message("sml.impressions", b"late", encode(event)) for event in events])
    with Client(f"http://{composition.here('server:8000')}", timeout=60) as site:
        site.predict([{"id": 1, "prize": 1}])
    composition.until(lambda: _is_ready(f"http://{listen}/-/ready"), "Prometheus is ready")
    return composition


def _is_ready(url: str) -> bool:
    """Return whether a service answers that it is ready: it listens before it is."""
    with suppress(OSError), urllib.request.urlopen(url, timeout=10):
        return True
    return False


def configure(composition: Composition, folder: Path, experiment: list[str]) -> None:
    """Write prometheus.yml and its alerts for this machine: the same jobs and one more, without the composition's names."""
    config = read("deploy/prometheus/prometheus.yml")
    config["scrape_configs"].append({"job_name": "experiment", "static_configs": [{"targets": experiment}]})
    del config["alerting"]  # nobody is to be told
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        for found in job.pop("dns_sd_configs", []):
            job["static_configs"] = [{"targets": [f"{name}:{found['port']}" for name in found["names"]]}]
    (folder / "prometheus.yml").write_text(composition.here(yaml.safe_dump(config)))
    (folder / "alerts.yml").write_text(yaml.safe_dump(read("deploy/prometheus/alerts.yml")))
