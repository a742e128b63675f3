"""``sml snapshots`` and ``sml rebuild``: list and verify the checkpoints, and go back to a past version."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from service.settings import Settings
from service.telemetry.audit import record, this_user
from stream.learn.order import DONE, give_order
from stream.learn.restore.rollback import rebuild, roll_back
from stream.learn.saving.checkpoint import Checkpoint, Checkpoints, DamagedCheckpointError
from stream.log.connect import open_log
from stream.log.topics import Topics
from stream.records.version import Archived, Version
from stream.weights.archive import Archive
from stream.weights.versions import newest_version, version_at


def kept(settings: Settings) -> list[dict[str, Any]]:
    """Return the checkpoints that can be loaded, the oldest first."""
    states = [checkpoint.version for checkpoint in Checkpoints.of(settings.learn).newest_first()]
    return [_named(state) for state in reversed(states)]


def verified(settings: Settings) -> list[dict[str, Any]]:
    """Verify each checkpoint, then each in the archive: its bytes by their checksum, its weights by the digest of their version.

    Raises:
        LogError: there is an archive, and the log, which says what is in it, can't be used.
    """
    checkpoints = Checkpoints.of(settings.learn)
    own = [{"file": path.name, "problem": _problem(partial(checkpoints.read, path))} for path in checkpoints.paths()]
    archive, topics = Archive.of(settings.archive), settings.topics
    if archive is None:
        return own
    with open_log(settings.log) as log:
        newest = newest_version(log, topics)
    for each in newest.version.archived if newest else ():
        problem = _problem(partial(_archived, archive, topics, each))
        own.append({"file": f"{settings.archive.url}: {archive.name(topics, each)}", "problem": problem})
    return own


def go_back(settings: Settings, to: str, *, replay: bool) -> dict[str, Any]:
    """Publish the weights of a past version as the next one.

    Raises:
        NoSuchVersionError: ``to`` names no version.
        LearnError: it can't be rebuilt.
        LogError: the log can't be used.
    """
    topics = settings.topics
    with open_log(settings.log) as log:
        version = version_at(log, topics, to)
        published = roll_back(
            log, topics, settings.spec, settings.learn, version, replay=replay, by=this_user(), archive=Archive.of(settings.archive)
        )
    record(this_user(), "rolled back", f"{topics.versions} to version {version}, as version {published.version}")
    return {**_named(published), "rolled_back_to": version}


def order(settings: Settings, what: Literal["approve", "hold"]) -> dict[str, Any]:
    """Approve the versions that are held, or hold them from here on.

    Raises:
        OrderError: there is nothing to approve, or nothing was learned yet.
        LogError: the log can't be used.
    """
    topics = settings.topics
    with open_log(settings.log) as log:
        version = give_order(log, topics, what, this_user())
    record(this_user(), DONE[what], f"{topics.versions}, by version {version.version}")
    return {**_named(version), "order": what, "held": version.held}


def rebuilt(settings: Settings, until: str, folder: Path) -> dict[str, Any]:
    """Rebuild the learner's state at a past version from the log, write it to a folder, and return its version and its file.

    Raises:
        NoSuchVersionError: ``until`` names no version.
        LearnError: it can't be rebuilt.
        LogError: the log can't be used.
    """
    topics = settings.topics
    with open_log(settings.log) as log:
        version = version_at(log, topics, until)
        state = rebuild(log, topics, settings.spec, Checkpoints.of(settings.learn), version, Archive.of(settings.archive))
    digest = state.restore().model.digest()
    return {**_named(state.version), "digest": digest, "file": str(Checkpoints(folder, keep=1).write(state))}


def _named(version: Version) -> dict[str, Any]:
    names = ("version", "digest", "examples", "trained_through", "offsets")
    sampling = {"sampling": msgspec.to_builtins(version.sampling)} if version.sampling else {}
    return {name: getattr(version, name) for name in names} | sampling


def _archived(archive: Archive, topics: Topics, each: Archived) -> Checkpoint:
    return Checkpoint.from_bytes(archive.read(topics, each))


def _problem(read: Callable[[], Checkpoint]) -> str | None:
    try:
        checkpoint = read()
    except (DamagedCheckpointError, OSError) as error:
        return str(error)
    if checkpoint.forgotten().version > checkpoint.version.version:
        return None  # values were forgotten after its version, so its weights are no longer those published; its bytes are checked
    digest, expected = checkpoint.restore().model.digest(), checkpoint.version.digest
    return None if digest == expected else f"its weights have the digest {digest}, expected {expected}"
