"""docker-compose.yml is valid, and what it runs is real: every command, every setting, every health check."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from service.access.origin import allowed_hosts, check_host, host_name
from stream.log.settings import SecuritySettings
from tests.deploy.composition import PROGRAMS, ROOT, read
from tests.deploy.conftest import SERVICES
from tests.helpers.system import need

COMPOSE = read("docker-compose.yml")
OURS = [name for name, service in COMPOSE["services"].items() if service["image"] == "sml-online"]


def test_docker_compose_accepts_it() -> None:
    command = [need("docker-compose"), "--profile", "simulate", "config", "--quiet"]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_docker_compose_accepts_it_with_tls_and_passwords_and_every_process_logs_in_as_itself() -> None:
    files = ["-f", "docker-compose.yml", "-f", "deploy/compose.secure.yml"]

    done = subprocess.run([need("docker-compose"), *files, "config"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    for name, user in {"topics": "topics", "joiner": "joiner", "learner": "learner", "server": "server", "server-two": "server"}.items():
        given = {key.removeprefix("SML_LOG__SECURITY__").lower(): value for key, value in services[name]["environment"].items()}
        security = SecuritySettings.model_validate({key: value for key, value in given.items() if not key.startswith("sml_")})
        assert (security.protocol, security.username) == ("SASL_SSL", user)
        assert {"ca", "password"} == {secret.get("target", secret["source"]).rpartition("/")[2] for secret in services[name]["secrets"]}


@pytest.mark.parametrize("service", OURS)
def test_every_service_runs_a_command_of_sml(service: str) -> None:
    words = [word for word in COMPOSE["services"][service]["command"].split() if not word.startswith(("-", "http"))]

    done = subprocess.run([PROGRAMS / "sml", *words, "--help"], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_every_file_that_is_mounted_exists() -> None:
    volumes = [volume for service in COMPOSE["services"].values() for volume in service.get("volumes", [])]
    mounted = [volume.partition(":")[0] for volume in volumes]

    assert [path for path in mounted if path.startswith("./") and not (ROOT / path).exists()] == []
    assert {name for name in mounted if not name.startswith("./")} == set(COMPOSE["volumes"])


def test_no_port_is_open_to_other_machines() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]

    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_nothing_is_started_before_what_it_needs() -> None:
    services = COMPOSE["services"]

    assert all(services[name]["depends_on"]["topics"]["condition"] == "service_completed_successfully" for name in SERVICES)
    assert services["topics"]["depends_on"]["kafka"]["condition"] == "service_healthy"


def test_grafana_finds_the_dashboard_where_it_is_mounted() -> None:
    provider = read("deploy/grafana/provisioning/dashboards/sml.yml")["providers"][0]
    grafana = COMPOSE["services"]["grafana"]

    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in grafana["volumes"]
    assert (ROOT / "deploy/grafana/dashboards" / Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).name).exists()


def test_every_name_under_which_prometheus_and_the_simulator_ask_is_one_that_is_answered() -> None:
    jobs = read("deploy/prometheus/prometheus.yml")["scrape_configs"]
    targets = [target for job in jobs for static in job.get("static_configs", []) for target in static["targets"]]
    simulated = COMPOSE["services"]["simulator"]["command"].rpartition("//")[2]

    allowed = allowed_hosts("0.0.0.0", json.loads(COMPOSE["services"]["server"]["environment"]["SML_SERVE__HOSTS"]))

    assert {host_name(each) for each in (*targets, simulated)} == {"joiner", "learner", "proxy"}
    for each in (*targets, simulated):
        check_host({b"host": each.encode()}, allowed)
