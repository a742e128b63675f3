"""The server's TLS context, whose certificate is replaced without a restart when its files change."""

import logging
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from service.access.file_state import FileState, state_of

logger = logging.getLogger(__name__)


class CertificateError(Exception):
    """The certificate's files can't be used."""


class Files(NamedTuple):
    """PEM files: the certificate chain, its key (None: in the same file), and the authorities of clients (None: they need none)."""

    certfile: str
    keyfile: str | None = None
    client_ca: str | None = None

    @property
    def paths(self) -> Sequence[Path]:
        """The files that there are."""
        return [Path(path) for path in self if path is not None]

    def states(self) -> list[FileState | None]:
        """Return what changes with them."""
        return [state_of(path) for path in self.paths]


class Certificates:
    """A TLS context of files.

    Raises:
        CertificateError: they can't be used.
    """

    def __init__(self, files: Files) -> None:
        self._files, self._states = files, files.states()
        self._refused = self._states  # those that could not be used, which are tried again: there may have been no file to spare
        self.context = _context(files)

    def reload(self) -> None:
        """Use the files as they are now, if they have changed, for connections that begin from now on; if they are wrong, go on as before.

        The authorities of clients can only be added to: OpenSSL keeps those that a context has.
        """
        states = self._files.states()
        if states == self._states:
            return
        try:
            _context(self._files)  # half of a change would leave the context without a key that fits
            _load(self.context, self._files)
        except CertificateError as error:
            if states != self._refused:
                logger.error("the certificate stays as it was: %s", error)  # noqa: TRY400 - the message says it all
            self._refused = states
        else:
            self._states = states
            logger.info("the certificate was read again from %s", self._files.certfile)


def _context(files: Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _load(context, files)
    if files.client_ca:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _load(context: ssl.SSLContext, files: Files) -> None:
    try:
        context.load_cert_chain(files.certfile, files.keyfile, password=_no_password)
        if files.client_ca:
            context.load_verify_locations(files.client_ca)
    except (OSError, ValueError) as error:
        raise CertificateError(f"{', '.join(map(str, files.paths))}: got {error}, expected a certificate and its key in PEM") from error


def _no_password() -> str:
    """Answer OpenSSL, which would otherwise ask on the terminal and wait there."""
    raise ValueError("a key with a password")
