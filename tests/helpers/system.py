"""Install programs that a test needs, from Debian's packages, if they are missing and can be installed."""

import os
import shutil
import subprocess

import pytest

# Without the programs' services: nothing must start by itself and take a port.
_WITHOUT_SERVICES = [f"DPkg::Options::=--path-exclude={path}" for path in ("/etc/init.d/*", "/lib/systemd/system/*")]


def need(program: str, package: str | None = None) -> str:
    """Return the path of ``program``, from its Debian ``package`` (of the same name unless given).

    If it can't be installed, skip the test and say why; with ``CI=true`` fail.
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
    """Try to install ``package``; return why it may still be missing."""
    if not shutil.which("apt-get") or os.geteuid() != 0:
        return f"only root on Debian can install its package {package!r}"
    options = [part for option in ("DPkg::Lock::Timeout=300", *_WITHOUT_SERVICES) for part in ("-o", option)]
    install = ["apt-get", *options, "install", "--yes", "--no-install-recommends", package]
    for command in (["apt-get", "-o", "DPkg::Lock::Timeout=300", "update"], install):
        done = subprocess.run(command, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}"
    return f"the Debian package {package!r} did not bring it"
