"""From the settings to who may do what."""

from pathlib import Path

from service.access.bounds.limits import Allowances
from service.access.callers import Callers
from service.access.guard import Access
from service.access.keys import Keys, KeysError
from service.access.origin import allowed_hosts
from service.settings import Settings, SettingsError


def access_of(settings: Settings) -> Access:
    """Return who may do what, and how much.

    Raises:
        SettingsError: the keys can't be read, or the address is one that others reach, and it is not said who may do what.
    """
    serve, limits = settings.serve, settings.limits
    settings.access.check_address("serve.host", serve.host)
    allowances = Allowances(limits.requests_per_second, limits.requests_per_second, limits.in_flight)
    return Access(callers_of(settings), allowances, allowed_hosts(serve.host, serve.hosts), limits.body, serve.log_requests)


def callers_of(settings: Settings) -> Callers:
    """Return whose keys and tokens count.

    Raises:
        SettingsError: the keys can't be read.
    """
    access = settings.access
    try:
        keys = Keys(Path(access.keys)) if access.keys is not None else None
    except KeysError as error:
        raise SettingsError(f"access.keys: {error}") from error
    if access.issuer is None or access.audience is None:
        return Callers(keys)
    from service.access.tokens import Tokens  # noqa: PLC0415 - cryptography takes a tenth of a start

    return Callers(keys, Tokens(access.issuer, access.audience))
