"""``sml forget``: forget a value that stands for a person, and show what is left of it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from service.commands.own_key import key_header
from service.settings import Settings
from service.telemetry.audit import record, this_user
from stream.arms import in_force
from stream.forget import ForgetError, ask, count_impressions, delete_impressions, fields_to_forget, keys_of
from stream.formats.decoding import decoding
from stream.inputs.event_time import TimeRule
from stream.learn.saving.checkpoint import Checkpoints, DamagedCheckpointError
from stream.log.connect import open_log
from stream.log.contract import Log
from stream.log.topics import CONTROL, Topics
from stream.records.events import Forget
from stream.records.times import LATEST_TIME
from stream.weights.chunks import BrokenWeightsError
from stream.weights.follow import newest_weights
from stream.weights.versions import newest_version, read_versions

PATIENCE = 10.0  # seconds to wait for the learner
NOT_REACHED = (
    "the dense weights, which belong to no value; what the log holds until retention deletes it: impressions, examples and dead letters, "
    "a site's own topics, and for an hour the earlier weights"
)


def forget(settings: Settings, value: str, named: str | None) -> dict[str, Any]:
    """Ask for ``value`` to be forgotten in the field ``named``, or in those of ``privacy.fields``, and wait a while for the learner.

    Raises:
        ForgetError: nothing was learned yet, or the field or the value can't be forgotten.
        LogError: the log can't be used.
    """
    topics, fields = settings.topics, fields_to_forget(settings.spec.fields, named, settings.privacy.fields)
    with open_log(settings.log) as opened:
        log = decoding(opened, settings.join)
        living, retired = _arms(log, settings)
        newest = {each.topics: newest_version(log, each.topics) for each in living}
        starts = {of_arm: published.offset + 1 for of_arm, published in newest.items() if published}
        if not starts:
            raise ForgetError(f"{topics.versions} is empty: nothing was learned, so there is nothing to forget")
        until = int(time.time() * 1000) + TimeRule.of(settings.join).clock_skew
        requests = ask(log, topics, fields, value, until, this_user())
        record(this_user(), "forgot", f"{', '.join(field.name for field in fields)}: {', '.join(request.forget for request in requests)}")
        impressions = delete_impressions(log, _as_joined(settings), fields, requests)
        by_version = {_of("forgotten_by_version", each): _wait(log, each, start, requests) for each, start in starts.items()}
    return {
        "fields": [field.name for field in fields],
        "keys": [request.forget for request in requests],
        "impressions": impressions,
        **{name: "none yet: the learner does it when it runs" if version is None else version for name, version in by_version.items()},
        **{
            _of("forgotten_by_version", each.topics): f"never: it was retired; delete {each.learn.directory}/*.checkpoint"
            for each in retired
        },
        "not_reached": NOT_REACHED,
    }


def verify(settings: Settings, value: str, named: str | None) -> list[dict[str, Any]]:
    """Return, for each place that may answer to ``value``, whether it does; ``answers`` is None where that could not be seen.

    Raises:
        ForgetError: the field or the value can't be forgotten.
        LogError: the log can't be used.
    """
    fields = fields_to_forget(settings.spec.fields, named, settings.privacy.fields)
    keys, topics = keys_of(fields, value), _as_joined(settings)
    with open_log(settings.log) as opened:
        log = decoding(opened, settings.join)
        living, retired = _arms(log, settings)
        found = []
        for each in living:
            found += [_in_newest_weights(log, each.topics, keys), *_in_checkpoints(Path(each.learn.directory), keys)]
        for each in retired:
            found += [where for where in _in_checkpoints(Path(each.learn.directory), keys) if where["answers"] is not None]
        found += [_in_server(settings.serve.url, value, field.name) for field in fields]
        requests = [Forget.of(key, LATEST_TIME) for key in keys]
        impressions = count_impressions(log, topics, fields, requests)
    return [*found, {"where": f"{topics.impressions}, until retention deletes them", "records": impressions}]


def _arms(log: Log, settings: Settings) -> tuple[list[Settings], list[Settings]]:
    """Return the settings of the arms that learn, and of those that were retired: nobody carries a request out for these."""
    gone = in_force(log, settings.topics, settings.traffic).retired if settings.arms else []
    every = settings.of_every_arm()
    return [each for each in every if each.topics.arm not in gone], [each for each in every if each.topics.arm in gone]


def _as_joined(settings: Settings) -> Topics:
    """Return the topics, impressions being where the joiner reads them: those of a site's own topic are in the copies alone."""
    return settings.topics._replace(by_id=bool(settings.input.topics))


def _of(name: str, topics: Topics) -> str:
    return name if topics.arm == CONTROL else f"{name}_of_{topics.arm}"


def _wait(log: Log, topics: Topics, start: int, requests: list[Forget]) -> int | None:
    """Return the version that carried out all ``requests``, None if none did within ``PATIENCE``."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        left = {request.forget for request in requests}
        for version, _ in read_versions(log, topics, start):
            left.difference_update(request.forget for request in version.forgotten)
            if not left:
                return version.version
        time.sleep(0.1)
    return None


def _in_newest_weights(log: Log, topics: Topics, keys: list[int]) -> dict[str, Any]:
    """Follow the weights to their end, as a server does, and look there."""
    try:
        header, weights = newest_weights(log, topics, PATIENCE)
    except BrokenWeightsError as error:
        return {"where": f"{topics.weights}: {error}", "answers": None}
    return {"where": f"{topics.weights}, version {header.version}", "answers": any(map(weights.has, keys))}


def _in_checkpoints(folder: Path, keys: list[int]) -> Iterator[dict[str, Any]]:
    checkpoints = Checkpoints(folder, keep=1)
    paths = checkpoints.paths()
    if not paths:
        yield {"where": f"{folder}: no checkpoint is here", "answers": None}
    for path in paths:
        try:
            checkpoint = checkpoints.read(path)
            answers = any(map(checkpoint.restore().model.weights.has, keys))
        except FileNotFoundError:
            continue  # the learner has deleted it meanwhile
        except (DamagedCheckpointError, OSError) as error:
            yield {"where": f"checkpoint {path}, which can't be read: {error}", "answers": None}
        else:
            yield {"where": f"checkpoint of version {checkpoint.version.version}", "answers": answers}


def _in_server(url: str, value: str, field: str) -> dict[str, Any]:
    try:
        answer = (
            httpx.get(f"{url}/v1/users/{quote(value, safe='')}", params={"field": field}, headers=key_header()).raise_for_status().json()
        )
    except httpx.HTTPError as error:
        return {"where": f"{url}: no answer: {error}", "answers": None}
    return {"where": f"{url}, version {answer['version']}", "answers": answer["fields"][field]}
