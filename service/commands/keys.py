"""``sml keys``: create, list and revoke the API keys."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.access import keys
from service.access.keys import KeyRecord
from service.access.roles import ROLES
from service.settings import Settings, SettingsError
from service.telemetry.audit import record, this_user


def create(settings: Settings, roles: Sequence[str], name: str) -> dict[str, Any]:
    """Create a key and return it, and what is known of it.

    Raises:
        SettingsError: there is no such role, or the settings name no file of keys.
        KeysError: the file can't be used.
    """
    for role in roles:
        if role not in ROLES:
            raise SettingsError(f"--role: got {role!r}, expected {', '.join(ROLES)}")
    key, created = keys.create(_file(settings), roles, name)  # type: ignore[arg-type]  # each is a role
    record(this_user(), "created", f"key {created.id} for {', '.join(created.roles)}")
    return {"key": key, **_shown(created)}


def listed(settings: Settings) -> list[dict[str, Any]]:
    """Return what is known of each key, the oldest first.

    Raises:
        SettingsError: the settings name no file of keys.
        KeysError: the file can't be used.
    """
    return [_shown(each) for each in keys.read(_file(settings))]


def revoke(settings: Settings, key_id: str) -> dict[str, Any]:
    """Remove a key, and return what was known of it.

    Raises:
        SettingsError: the settings name no file of keys.
        KeysError: there is no such key, or the file can't be used.
    """
    revoked = keys.revoke(_file(settings), key_id)
    record(this_user(), "revoked", f"key {revoked.id}")
    return _shown(revoked)


def _file(settings: Settings) -> Path:
    if settings.access.keys is None:
        raise SettingsError('access.keys: got none, expected a file: [access] keys = "data/keys.json", or SML_ACCESS__KEYS')
    return Path(settings.access.keys)


def _shown(key: KeyRecord) -> dict[str, Any]:
    created = datetime.fromtimestamp(key.created, UTC).isoformat()
    return {"id": key.id, "roles": ",".join(key.roles), "created": created, "name": key.name}
