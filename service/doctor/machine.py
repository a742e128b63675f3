"""Whether this machine has what the processes need: a processor, compiled kernels, libraries, ports, and room on the disk."""

import os
import platform
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from llvmlite.binding import get_host_cpu_features

from model.fingerprint import fingerprint
from model.kernels import target
from model.kernels.cache import mark
from service.doctor.finding import Finding, of_arm, size
from service.settings import Settings

FEATURES = {"x86-64-v3": ("avx2", "bmi2", "fma")}  # that a processor must have for a kernel target
LIBRARIES = ("numpy", "numba", "msgspec", "fastapi", "kafka-python")


def settings_found(settings: Settings) -> Finding:
    """Name what the settings describe; those that can't be used have ended the command before."""
    network = f"{settings.model.network} {'-'.join(map(str, settings.model.hidden))}, skip {settings.model.skip}"
    arms = f", {len(settings.arms)} arms" if settings.arms else ""
    found = f"fields: {len(settings.field)}; {network}{arms}; a click counts for {settings.join.click_window:g} s"
    return Finding("settings", True, found)


def versions() -> Finding:
    """Name what the program runs on."""
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    found = f"sml {version('sml-online')}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {libraries}"
    return Finding("versions", True, found)


def processor() -> Finding:
    """Check that the processor can run the kernels."""
    name = str(target.config.CPU_NAME or "native")
    features = get_host_cpu_features()
    missing = [feature for feature in FEATURES.get(name, ()) if not features.get(feature)]
    lacks = f", but this processor lacks {', '.join(missing)}" if missing else ""
    found = f"compiled for {name}{lacks}; fingerprint {fingerprint()}"
    return Finding.check("processor", not missing, found, "another machine, or another type of it: the kernels need its instructions")


def kernels(settings: Settings) -> Iterator[Finding]:
    """Say which kernels are compiled; the first start compiles those that are not."""
    for network in dict.fromkeys(each.model.network for each in settings.of_every_arm()):
        marked = mark(network)
        done = marked is not None and marked.exists()
        found = "compiled, by these sources and this compiler" if done else "not compiled yet: the first start takes as long as that"
        yield Finding(f"kernels of {network}", True, found, "" if done else "`sml compile` compiles them now")


def ports(settings: Settings) -> Iterator[Finding]:
    """Check that each port is free, and wanted once."""
    wanted = {
        "serve.port": (settings.serve.host, settings.serve.port),
        **{
            of_arm("learn.metrics_port", each.topics.arm): (settings.learn.metrics_host, each.learn.metrics_port)
            for each in settings.of_every_arm()
        },
        "join.metrics_port": (settings.join.metrics_host, settings.join.metrics_port),
    }
    taken: dict[int, str] = {}
    for name, (host, port) in wanted.items():
        if port and port in taken:
            yield Finding(name, False, f"{port} is also {taken[port]}", f"give {name} another port, or 0 for any")
            continue
        taken[port] = name
        try:
            socket.create_server((host, port)).close()
        except OSError as error:
            yield Finding(name, False, f"{port} can't be used: {error.strerror}", "is it running already? else choose another port")
        else:
            yield Finding(name, True, f"{port} is free" if port else "any free port")


def folder(name: str, path: Path, wanted: int) -> Finding:
    """Check that there is a folder, or can be, with room for so many bytes."""
    existing = _existing(path)
    free = shutil.disk_usage(existing).free
    if not writable(path):
        return Finding(name, False, f"{existing} can't be written to", "let the user of the processes write there, or name another folder")
    found = f"{path}: {size(free)} free, for at most {size(wanted)}"
    return Finding.check(name, wanted < free, found, "free some room, or name another folder")


def writable(path: Path) -> bool:
    """Return whether a folder can be written to, or made."""
    existing = _existing(path)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def _existing(path: Path) -> Path:
    """Return the folder, or the nearest above it that exists."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())
