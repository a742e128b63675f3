"""What is installed is what uv.lock names, by its hash; what a release is made of is listed, and OSV is asked about it."""

import json
import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.deploy.composition import PROGRAMS, ROOT

LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
OTHERS = [package for package in LOCK["package"] if package["source"] != {"editable": "."}]
UV = PROGRAMS / "uv"


def make(target: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "--assume-old=.venv/ready", f"UV={UV}", *more, target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_distribution_of_the_lock_has_a_sha256_and_comes_from_pypi() -> None:
    files = [file for package in OTHERS for file in [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]]

    assert len(files) > len(OTHERS)
    assert [file for file in files if not re.fullmatch(r"sha256:[0-9a-f]{64}", file.get("hash", ""))] == []
    assert {package["source"].get("registry") for package in OTHERS} == {"https://pypi.org/simple"}


def test_the_lock_agrees_with_pyproject() -> None:
    done = subprocess.run([UV, "lock", "--check", "--offline"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_environment_and_image_are_installed_by_one_version_of_uv_from_the_lock_alone() -> None:
    makefile, dockerfile = ((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "Dockerfile"))
    versions = {version for text in (makefile, dockerfile) for version in re.findall(r"install .*\buv==(\S+)", text)}
    syncs = re.findall(r"uv\)? sync .*", makefile + dockerfile, re.IGNORECASE)

    assert len(versions) == 1
    assert len(syncs) == 4
    assert [sync for sync in syncs if "--frozen" not in sync and "--locked" not in sync] == []


def test_the_bill_of_materials_names_every_package_that_is_installed_with_its_hashes() -> None:
    done = make("sbom")

    bill = json.loads((ROOT / "dist" / "sbom.json").read_text(encoding="utf-8"))
    components = {component["name"]: component for component in bill["components"]}
    needed = next(package for package in LOCK["package"] if package["source"] == {"editable": "."})["dependencies"]
    assert done.returncode == 0, done.stderr
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert {package["name"] for package in needed} <= set(components)
    assert all(component["purl"].startswith("pkg:pypi/") for component in components.values())
    assert "pytest" not in components


@contextmanager
def osv(vulnerable: str) -> Iterator[str]:
    """Answer as OSV does, with one vulnerability of one package."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            queries = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["queries"]
            found = [query["package"]["name"] == vulnerable for query in queries]
            self.reply({"results": [{"vulns": [{"id": "TEST-1", "modified": "2026-01-01T00:00:00Z"}]} if each else {} for each in found]})

        def do_GET(self) -> None:
            self.reply({"id": "TEST-1", "modified": "2026-01-01T00:00:00Z", "summary": "made up", "affected": []})

        def reply(self, value: dict[str, Any]) -> None:
            content = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.parametrize(("vulnerable", "said"), [("nothing", "no vulnerability"), ("starlette", "knows of vulnerabilities")])
def test_an_audit_fails_exactly_if_osv_knows_a_vulnerability(vulnerable: str, said: str) -> None:
    with osv(vulnerable) as url:
        done = make("audit", f"OSV={url}")

    assert said in done.stdout + done.stderr
    assert (done.returncode == 0) == (vulnerable == "nothing")


def test_an_audit_that_cannot_ask_fails_and_says_that_nothing_is_known() -> None:
    done = make("audit", "OSV=http://127.0.0.1:1/")

    assert done.returncode != 0
    assert "nothing is known" in done.stderr
