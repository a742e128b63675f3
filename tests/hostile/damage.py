"""Damage to what the processes keep: checkpoints, the joiner's committed progress, a disk that takes nothing more."""

import random
import resource

from stream.log.connect import connect
from stream.log.contract import Progress
from tests.hostile.keyed_site import KeyedSite
from tests.hostile.rubbish import flipped

PATIENCE = 120.0  # seconds within which a process that was started is at work
METADATA = (
    "",
    "{",
    "null",
    "[]",
    '{"rewind": "x"}',
    '{"rewind": 1e99}',
    '{"seen": 3}',
    "\0" * 100,
    '{"rewind": 0, "cursor": [1]}',
    "x" * 4_000,
    '{"rewind": -5}',
    '{"rewind": 0, "seen": 9223372036854775807}',
)


def damaged_checkpoint(site: KeyedSite, chance: random.Random) -> None:
    """Kill the learner, cut its newest checkpoint or flip a bit of it, and start the learner again: it takes an earlier one, or none."""
    site.kill("learn")
    files = list((site.folder / "data" / "checkpoints").glob("*.checkpoint"))
    assert files, "no checkpoint was written"
    newest = max(files)
    content = newest.read_bytes()
    newest.write_bytes(flipped(content, chance) if chance.random() < 0.5 else content[: chance.randrange(len(content))])
    restart(site, "learn")


def damaged_progress(site: KeyedSite, chance: random.Random) -> None:
    """Kill the joiner and make rubbish of the progress that it has committed: it ends and says so; with its own again, it goes on."""
    site.kill("join")
    owner, topic = f"{site.topics.prefix}.joiner", site.topics.impressions
    with connect(site.url) as log:
        commit = log.writer(owner).commit  # it ends the transaction of the one that was killed, without which no progress can be read
        known = log.progress(owner, topic)
        partition = chance.choice(sorted(known))
        odd = [Progress(known[partition].offset, text) for text in METADATA] + [known[partition]._replace(offset=2**40)]
        commit([], {(topic, partition): chance.choice(odd)})
        process, said = site.start("join"), len(site.said("join"))
        status = process.wait(PATIENCE)
        complaint = site.said("join")[said:].strip().splitlines()[-1]
        assert status == 1, f"expected an end in order, got {status}: {complaint}"
        assert f"{topic} partition {partition}" in complaint, complaint
        log.writer(owner).commit([], {(topic, partition): known[partition]})
    restart(site, "join")


def full_disk(site: KeyedSite, _: random.Random) -> None:
    """Let joiner and learner write no file beyond 20 kB, the log in a file included, until the learner has felt it: they wait, and go on."""

    def failures() -> float:
        counters = ("sml_learner_checkpoint_failures_total", "sml_learner_reconnects_total")
        return sum(site.metric("learn", name) for name in counters)

    limited, before = [site.processes[name].pid for name in ("join", "learn")], failures()
    for pid in limited:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    try:
        site.wait_for(lambda: failures() > before, "a disk that is full", PATIENCE)
    finally:
        for pid in limited:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def restart(site: KeyedSite, name: str) -> None:
    """Start a process, and wait until it is at work."""
    site.start(name)
    site.wait_for(lambda: site.get(name, "/metrics").is_success or site.processes[name].poll() is not None, name, PATIENCE)
