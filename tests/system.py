"""Programs that a test needs and Debian has: installed when they are missing, where that is possible."""

import os
import shutil
import subprocess

import pytest

# The programs are wanted, not their services: nothing must start by itself and take a port.
_WITHOUT_SERVICES = [f"DPkg::Options::=--path-exclude={path}" for path in ("/etc/init.d/*", "/lib/systemd/system/*")]


def need(program: str, package: str | None = None) -> str:
    """Return the path of ``program``, from its Debian ``package`` (of the same name unless given).

    Where it can't be had the test is skipped, saying why; with ``CI=true`` it fails.
    """
    if found := shutil.which(program):
        return found
    reason = _install(package or program)
    if found := shutil.which(program):
        return found
    message = f"{program} is missing, and {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def _install(package: str) -> str:
    """Try to install ``package``; say why it may still be missing."""
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return f"only root on Debian can install its package {package!r}"
    options = [part for option in ("DPkg::Lock::Timeout=300", *_WITHOUT_SERVICES) for part in ("-o", option)]
    install = ["apt-get", *options, "install", "--yes", "--no-install-recommends", package]
    for command in (["apt-get", "-o", "DPkg::Lock::Timeout=300", "update"], install):
        done = subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}"
    return f"the Debian package {package!r} did not bring it"
