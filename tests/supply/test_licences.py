"""Everything that a release installs is under a licence that lets anybody use it; another licence fails here."""

import re
import subprocess
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from typing import Protocol

import pytest

from tests.deploy.composition import ROOT
from tests.supply.test_lock import UV

ALLOWED = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "LLVM-exception", "MIT", "MIT-0", "PSF-2.0", "Zlib"),
    # Their terms hold for changes to the library itself, and we change none.
    *("LGPL-2.1-or-later", "MPL-2.0"),
    # The same by the names that older packages use.
    *("Apache Software License", "BSD", "BSD License", "GNU Lesser General Public License v2 or later (LGPLv2+)", "ISC License (ISCL)"),
    *("MIT License", "Mozilla Public License 2.0 (MPL 2.0)", "Python Software Foundation License"),
}


class Metadata(Protocol):
    """What is read of a distribution's metadata."""

    def get_all(self, name: str) -> list[str] | None: ...


def licences(about: Metadata) -> set[str]:
    """Return the licences that a distribution names: as an expression, else by classifiers, else in a word."""
    if expression := about.get_all("License-Expression"):
        return {name for name in re.split(r"\s+(?:AND|OR|WITH)\s+|[()]", expression[0]) if name}
    named = {name.rpartition(" :: ")[2] for name in about.get_all("Classifier") or [] if name.startswith("License :: ")}
    return named - {"OSI Approved"} or set(about.get_all("License") or ["none"])


def runtime() -> list[str]:
    """Return the names of all distributions that a release installs on any system."""
    command = [str(UV), "export", "--quiet", "--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--no-annotate", "--no-header"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted({re.split(r"[=;\[ ]", line)[0] for line in done.stdout.splitlines()})


def test_every_distribution_of_a_release_may_be_used_by_anybody() -> None:
    found: dict[str, set[str]] = {}
    for name in runtime():
        try:
            found[name] = licences(metadata(name))
        except PackageNotFoundError:
            continue  # of another system or Python

    assert len(found) > 40
    assert {name: named - ALLOWED for name, named in found.items() if named - ALLOWED} == {}


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("License-Expression", "MIT AND (AGPL-3.0-only OR LicenseRef-Proprietary)"),
        ("Classifier", "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"),
        ("License", "All rights reserved"),
        ("Summary", "names none"),
    ],
)
def test_another_licence_is_not_allowed(header: str, value: str) -> None:
    about = Message()
    about[header] = value

    assert licences(about) - ALLOWED
