"""API keys: shown once, kept as hashes, known to a running server within a second, and never slow or guessable for anybody."""

import json
import resource
import stat
import threading
from pathlib import Path

import pytest

from service.access import keys as module
from service.access.keys import Keys, KeysError, create, read, revoke
from tests.helpers.full_disk import full_disk


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "keys.json"


@pytest.fixture
def scrypts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the secrets that scrypt was run on."""
    run: list[str] = []
    scrypt = module._scrypt

    def counted(secret: str, salt: bytes) -> bytes:
        run.append(secret)
        return scrypt(secret, salt)

    monkeypatch.setattr(module, "_scrypt", counted)
    return run


def test_a_key_stands_for_its_roles(path: Path) -> None:
    key, record = create(path, ["predict", "ingest"], "shop")

    caller = Keys(path).verify(key)

    assert caller is not None
    assert caller == (f"key:{record.id}", frozenset({"predict", "ingest"}))


def test_the_file_holds_no_secret_and_only_its_owner_reads_it(path: Path) -> None:
    key, _ = create(path, ["read"])

    assert key.rpartition("_")[2] not in path.read_text()
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent)] == [0o600, 0o700]


def test_a_secret_holds_256_random_bits(path: Path) -> None:
    secrets = {create(path, ["read"])[0].split("_", 2)[2] for _ in range(3)}

    assert len(secrets) == 3
    assert {len(secret) for secret in secrets} == {43}  # characters of 6 bits


@pytest.mark.parametrize(
    "change",
    [
        lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda key: key + "A",
        lambda key: f"sml_00000000_{key[13:]}",
        lambda _: "",
        lambda _: "sml__",
    ],
)
def test_what_is_no_key_stands_for_nobody(path: Path, change: object) -> None:
    key, _ = create(path, ["read"])
    keys = Keys(path)

    assert callable(change)
    assert keys.verify(change(key)) is None
    assert keys.known(change(key)) is None


def test_scrypt_runs_once_for_a_key_and_never_for_an_unknown_id(path: Path, scrypts: list[str]) -> None:
    key, _ = create(path, ["read"])
    keys = Keys(path)
    scrypts.clear()

    assert keys.known(key) is None
    assert keys.verify(key) is not None
    assert all(keys.known(key) is not None for _ in range(100))
    assert keys.verify(f"sml_00000000_{key[13:]}") is None

    assert len(scrypts) == 1


def test_two_keys_are_valid_at_once_until_one_is_revoked_without_a_restart(path: Path) -> None:
    clock = Clock()
    old, record = create(path, ["read"])
    keys = Keys(path, clock)
    keys.verify(old)

    new, _ = create(path, ["read"])
    clock.now += 1.1
    assert keys.known(old)  # which looks at the file
    assert keys.verify(new)
    revoke(path, record.id)
    clock.now += 1.1

    assert keys.known(old) is None
    assert keys.verify(old) is None
    assert keys.known(new)


def test_a_key_whose_entry_did_not_change_is_not_verified_again(path: Path, scrypts: list[str]) -> None:
    clock = Clock()
    key, _ = create(path, ["read"])
    keys = Keys(path, clock)
    keys.verify(key)
    create(path, ["predict"])
    clock.now += 1.1
    scrypts.clear()

    assert keys.known(key)

    assert scrypts == []


def test_a_key_that_lost_a_role_has_it_no_longer(path: Path) -> None:
    clock = Clock()
    key, _ = create(path, ["read", "operate"])
    keys = Keys(path, clock)
    keys.verify(key)
    path.write_text(path.read_text().replace('"operate",', ""))
    clock.now += 1.1

    assert keys.known(key) is None  # its entry is another
    verified = keys.verify(key)

    assert verified is not None
    assert verified.roles == {"read"}


@pytest.mark.parametrize("text", ["", "{", "[3]", '[{"id": "x"}]', None])
def test_a_file_that_became_unreadable_leaves_the_keys_as_they_were(path: Path, text: str | None, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    key, _ = create(path, ["read"])
    keys = Keys(path, clock)
    keys.verify(key)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    for _ in range(3):
        clock.now += 1.1

        assert keys.known(key)
    assert caplog.text.count("the keys stay as they were") == 1


def test_a_key_that_is_revoked_while_no_file_can_be_opened_counts_no_longer_once_one_can(path: Path) -> None:
    clock = Clock()
    key, record = create(path, ["read"])
    keys = Keys(path, clock)
    keys.verify(key)
    revoke(path, record.id)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        clock.now += 1.1
        assert keys.known(key)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    clock.now += 1.1

    assert keys.known(key) is None


def test_a_server_does_not_begin_with_a_file_that_it_cannot_read(path: Path) -> None:
    with pytest.raises(KeysError, match=r"No such file.*sml keys create"):
        Keys(path)


def test_keys_created_at_once_are_all_kept(path: Path) -> None:
    threads = [threading.Thread(target=create, args=(path, ["read"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(read(path)) == 8
    assert sorted(each.name for each in path.parent.iterdir()) == ["keys.json", "keys.json.lock"]


def test_a_full_disk_leaves_the_keys_as_they_were_and_the_error_names_their_file(path: Path) -> None:
    key, _ = create(path, ["read"])

    with pytest.raises(OSError, match=r"File too large: '.*/keys.json'"), full_disk(100):
        create(path, ["predict"])

    assert Keys(path).verify(key)
    assert [each.name for each in path.parent.iterdir() if each.suffix == ".part"] == []


def test_a_key_that_is_not_there_cannot_be_revoked(path: Path) -> None:
    _, record = create(path, ["read"])

    with pytest.raises(KeysError, match=f"no key '00000000', only {record.id}"):
        revoke(path, "00000000")


def test_the_file_is_one_that_people_can_read(path: Path) -> None:
    create(path, ["read"], "the shop")

    (entry,) = json.loads(path.read_text())

    assert (entry["roles"], entry["name"]) == (["read"], "the shop")
