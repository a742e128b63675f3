"""Which addresses only this machine reaches, and which nobody on the way can answer for."""

from urllib.parse import urlsplit


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
