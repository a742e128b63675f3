"""No service of docker-compose.yml has more rights, or more of the machine, than it needs; each image is pinned."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.composition import ROOT, read

SERVICES: dict[str, dict[str, Any]] = read("docker-compose.yml")["services"]
LONG_RUNNING = [name for name, service in SERVICES.items() if service.get("command", "").split(" ")[0] not in {"topics", "simulate"}]
OURS = [name for name, service in SERVICES.items() if service["image"] == "sml-online"]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_capability_and_gains_no_right(name: str) -> None:
    service = SERVICES[name]

    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]  # and nothing that lifts the default seccomp filter
    assert not {"cap_add", "privileged", "devices", "network_mode", "pid", "ipc", "user", "userns_mode"} & set(service)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_its_share_of_the_machine_and_no_more(name: str) -> None:
    service = SERVICES[name]

    assert service["cpus"] > 0
    assert re.fullmatch(r"\d+[mg]", service["mem_limit"])
    assert 0 < service["pids_limit"] <= 1024


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "kafka"])  # Kafka's image writes its settings beside its programs
def test_a_service_cannot_write_to_its_root(name: str) -> None:
    assert SERVICES[name]["read_only"] is True


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_from_this_machine_is_read_only(name: str) -> None:
    mounted = [volume for volume in SERVICES[name].get("volumes", []) if volume.startswith((".", "/"))]

    assert [volume for volume in mounted if not volume.endswith(":ro")] == []


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_a_service_that_runs_on_has_a_health_check(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_grafana_asks_who_you_are_unless_only_this_machine_reaches_it() -> None:
    grafana = SERVICES["grafana"]
    open_to_all = grafana["environment"].get("GF_AUTH_ANONYMOUS_ENABLED") == "true"

    assert not open_to_all or all(port.startswith("127.0.0.1:") for port in grafana["ports"])
    assert "GF_AUTH_ANONYMOUS_ORG_ROLE" not in grafana["environment"]  # a viewer


def test_every_image_is_pinned() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    images += re.findall(r"^ARG BASE=(\S+)", DOCKERFILE, re.MULTILINE)

    assert [image for image in images if not re.search(r":(?!latest)[\w.-]+(@sha256:[0-9a-f]{64})?$", image)] == []


def test_the_image_runs_as_a_user_without_rights() -> None:
    assert re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE) == ["10001:10001"]


@pytest.mark.parametrize("name", OURS)
def test_a_service_starts_with_the_kernels_of_its_image_in_a_folder_that_it_can_write_to(name: str, tmp_path: Path) -> None:
    """The entry is run here with folders and a command in place of the container's."""
    (tmp_path / "cache" / "sml").mkdir(parents=True)
    (tmp_path / "cache" / "sml" / "kernel.nbi").touch()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "sml").write_text(f'#!{shutil.which("sh")}\nls "$NUMBA_CACHE_DIR"\necho "$@"\n')
    (tmp_path / "sml").chmod(0o700)
    entry = [part.replace("$$", "$") for part in SERVICES[name]["entrypoint"]]
    entry[2] = entry[2].replace("/tmp", f"{tmp_path}/tmp").replace("/var/cache", f"{tmp_path}/cache")

    done = subprocess.run(
        [*entry, "topics", "create"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == ["kernel.nbi", "topics create"]


def test_the_image_says_what_it_is_and_lists_what_it_is_made_of() -> None:
    labels = re.findall(r"org\.opencontainers\.image\.(\w+)=", DOCKERFILE)
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    assert {"title", "description", "licenses", "version", "revision"} == set(labels)
    assert re.findall(r"^ARG VERSION=(.*)$", DOCKERFILE, re.MULTILINE) == [version]
    assert "--format cyclonedx1.5 --output-file /opt/sml/sbom.json" in DOCKERFILE
