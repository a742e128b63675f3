"""The image is built from Debian and the packages of uv.lock only; it runs `sml` as a user without rights, and has no compiler.

Buildah builds it without Docker, on a base that debootstrap makes: two to five minutes and 2 GB, so only ``pytest -m image`` does it.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.helpers.system import need

ROOT = Path(__file__).parents[1]
BASE, IMAGE = "localhost/sml-test-base", "localhost/sml-test"
SUITE = "trixie"  # of the Dockerfile's own base
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")

FILES = r"""
printf '[learn]\nmetrics_port = 0\n[[field]]\nname = "item"\n' > sml.toml
printf 'item,click\na,1\nb,0\n' > rows.csv
printf '{"candidates": [{"id": 1, "item": "a"}]}' > request.json"""
WORK = "sml evaluate rows.csv && sml topics create && sml learn --until-caught-up && sml predict request.json"

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]


def done(*command: str | Path) -> str:
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"{command}: {finished.stdout[-2000:]}{finished.stderr[-4000:]}"
    return finished.stdout.strip()


@contextmanager
def container(image: str) -> Iterator[str]:
    name = done("buildah", "from", image)
    try:
        yield name
    finally:
        done("buildah", "rm", name)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Make an image like debian:SUITE-slim; it trusts this machine's certificates, since the registries may be behind a proxy."""
    if os.geteuid() != 0:
        pytest.skip("debootstrap needs root")
    need("buildah")
    folder = tmp_path_factory.mktemp("base")
    done(need("debootstrap"), "--variant=minbase", SUITE, folder / "root", "http://deb.debian.org/debian")
    trusted = folder / "root/usr/local/share/ca-certificates"
    trusted.mkdir(parents=True)
    shutil.copy(CERTIFICATES, trusted / "this-machine.crt")
    done("tar", "--directory", folder / "root", "--exclude=./var/cache/apt/archives/*.deb", "--create", "--file", folder / "root.tar", ".")
    with container("scratch") as empty:
        done("buildah", "add", "--quiet", empty, folder / "root.tar", "/")
        done("buildah", "commit", "--quiet", empty, BASE)
    shutil.rmtree(folder)
    yield BASE
    done("buildah", "rmi", BASE)


@pytest.fixture(scope="module")
def built(base: str) -> Iterator[str]:
    done("buildah", "bud", "--isolation", "chroot", "--build-arg", f"BASE={base}", "--tag", IMAGE, ".")
    yield IMAGE
    done("buildah", "rmi", IMAGE)


@pytest.fixture(scope="module")
def box(built: str) -> Iterator[str]:
    with container(built) as name:
        yield name


def inside(box: str, *command: str) -> str:
    return done("buildah", "run", "--isolation", "chroot", box, "--", *command)


def test_the_image_starts_the_command_as_a_user_without_rights(box: str) -> None:
    entry = done("buildah", "inspect", "--format", "{{.OCIv1.Config.Entrypoint}} {{.OCIv1.Config.User}}", box)

    assert entry == "[sml] 10001:10001"
    assert inside(box, "id", "-u") == "10001"
    assert inside(box, "sml", "--version")


def test_the_image_can_write_its_data_and_nothing_of_its_programs(box: str) -> None:
    assert inside(box, "sh", "-c", "touch data/x && ls data") == "x"
    assert inside(box, "sh", "-c", "test -w /opt/sml || test -w /opt/sml/bin/sml || echo safe") == "safe"


@pytest.mark.parametrize("program", ["cc", "gcc", "g++", "clang", "ld", "make", "pip", "uv", "git", "curl"])
def test_the_image_holds_nothing_that_builds_or_fetches(box: str, program: str) -> None:
    inside(box, "sh", "-c", f"! command -v {program}")


def test_the_image_learns_and_serves_without_torch(box: str) -> None:
    learned = "import importlib.util, sml_online.model.online, sml_online.stream.learn.learner, sml_online.service.api.app; print(importlib.util.find_spec('torch'))"

    assert inside(box, "python3", "-c", learned) == "None"


def test_the_image_holds_its_kernels_compiled(box: str) -> None:
    """A learner or server that had to compile them would not answer for half a minute."""
    cached = "find /var/cache/sml -type f -printf '%p %T@\n' | sort"
    before = inside(box, "sh", "-c", cached)

    inside(box, "sh", "-c", f"set -e {FILES}\n{WORK}")

    assert before
    assert inside(box, "sh", "-c", cached) == before
