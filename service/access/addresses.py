"""Which addresses only this machine reaches, and which nobody on the way can answer for."""

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias
from urllib.parse import urlsplit

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_trusted_url(url: object) -> bool:
    """Return whether nobody on the way can change what the URL answers: https, or this machine.

    >>> is_trusted_url("https://id.example.org"), is_trusted_url("http://localhost:8080"), is_trusted_url("http://id.example.org")
    (True, True, False)
    """
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        return False
    return bool(parts and parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and is_local(parts.hostname))))


def is_local(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    return host in {"127.0.0.1", "::1", "localhost"}


def networks(written: Iterable[str]) -> tuple[Network, ...]:
    """Return the addresses and networks that are written so; ``*`` is every address.

    Raises:
        ValueError: one is neither.
    """
    return tuple(ipaddress.ip_network(part) for each in written for part in (("0.0.0.0/0", "::/0") if each == "*" else (each,)))


def is_within(address: str, among: Iterable[Network]) -> bool:
    """Return whether an address is in one of the networks.

    >>> is_within("10.1.2.3", networks(["10.0.0.0/8"])), is_within("socket", networks(["*"]))
    (True, False)
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(found in network for network in among)


def split(written: str) -> list[str]:
    """Return the parts of a list that is written with commas."""
    return [part for each in written.split(",") if (part := each.strip())]
