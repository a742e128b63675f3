"""Learning on several ranks: real processes learn what the versions say, and one process that replays them ends with the same digest."""

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import msgspec
import pytest

from model.online import Learned, OnlineModel
from model.rounds import OneProcess, Part, learn_part, together
from stream.learn.errors import RanksDifferError
from stream.learn.ranks import groups as rank_groups
from stream.learn.ranks.groups import Processes
from stream.learn.ranks.leader import Group, Leader
from stream.learn.restore.recovery import Recovery
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import Log, Message
from stream.records.version import Round, Version
from tests.faults.conftest import long_only
from tests.stream.learn.ranks import faulty_rank
from tests.stream.learning import SPEC, TOPICS, all_versions, assert_each_example_was_read_once, examples, learn_all, learner, opened, polls

ROOT = Path(__file__).parents[4]


class Simulated(OneProcess):
    """Ranks in this process."""

    batch = 100

    def __init__(self, ranks: int = 3, fails_at: int = -1) -> None:
        self.count, self.fails_at, self.rounds = ranks, fails_at, 0

    def ready(self, _: OnlineModel, examples: int) -> int:
        return self.count if examples >= self.batch else 1

    def learn(self, model: OnlineModel, parts: Sequence[Part]) -> tuple[Learned, int]:
        self.rounds += len(parts) > 1
        if self.rounds == self.fails_at and len(parts) > 1:
            learn_part(model, parts[0])  # what was learned of the round so far leaves no trace
            return together([model.learn(*part) for part in parts]), 1
        return super().learn(model, parts)

    def ping(self) -> None:
        pass

    def check(self, digest: str) -> None:
        pass


def replayed(log: Log, folder: Path) -> str:
    """Return the digest of the weights that one process ends with which learns all versions again."""
    recovered = Recovery(log, TOPICS, SPEC, Checkpoints(folder / "none", 3)).recover()
    assert not recovered.diverged
    return recovered.trainer.model.digest()


def sizes(versions: Sequence[Version]) -> list[Round]:
    return [each for version in versions for each in version.rounds]


def test_versions_say_how_their_records_were_shared_and_one_process_learns_the_same_again(tmp_path: Path) -> None:
    bad = [Message(TOPICS.examples, b"x", b"no example"), Message(TOPICS.examples, b"x", b'{"impression_id": "x", "time": 1}')]
    with opened(tmp_path) as log:
        log.append(examples(700) + bad + examples(900, 700))

        last = learn_all(log, tmp_path, ranks=Simulated(), publish_every=10.0)

        versions = all_versions(log)
        assert {each.ranks for each in sizes(versions)} == {1, 3}
        for version in versions:
            if version.rounds:
                assert sum(each.records for each in version.rounds) == sum(run.last - run.first + 1 for run in version.runs)
        assert_each_example_was_read_once(log)
        assert replayed(log, tmp_path) == last.digest


def test_a_round_that_was_lost_is_learned_again_alone_and_the_version_says_so(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(examples(2000))

        last = learn_all(log, tmp_path, ranks=Simulated(fails_at=2), publish_every=10.0)

        assert Round(512, 1) in sizes(all_versions(log))
        assert replayed(log, tmp_path) == last.digest


def test_a_learner_that_shares_goes_on_from_a_checkpoint_of_one_that_did_not(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(examples(600))
        learn_all(log, tmp_path)
        log.append(examples(600, 600))
        learn_all(log, tmp_path, ranks=Simulated(2))
        log.append(examples(600, 1200))

        last = learn_all(log, tmp_path)

        assert {each.ranks for each in sizes(all_versions(log))} == {2}
        assert last.examples == 1800
        assert replayed(log, tmp_path) == last.digest


def test_a_learner_of_two_processes_loses_one_and_gets_another_and_nothing_is_learned_twice(tmp_path: Path) -> None:
    started: list[Processes] = []

    def start() -> Group:
        started.append(Processes(2))
        return started[-1]

    leader, number, rounds = Leader(2, start, mature=0, part=128, again=0.0), 0, 0
    with opened(tmp_path) as log:

        def feed() -> bool:
            nonlocal number, rounds
            if len(started) == 1 and leader.group is started[0] and leader.rounds > 5:
                started[0].processes[0].kill()  # between two rounds, or in one: rank 0 sees it in a round
                rounds = leader.rounds + 1
            log.append(examples(300, number))
            number += 300
            time.sleep(0.02)
            return len(started) == 2 and leader.rounds > rounds + 5

        learning = learner(log, tmp_path, ranks=leader, publish_every=0.01)
        try:
            learning.run(feed)
            learning.run(lambda: False, until_caught_up=True)
        finally:
            leader.close()

        shared = [bool(version.rounds) for version in all_versions(log) if version.runs]
        assert True in shared[shared.index(False, shared.index(True)) :]  # together, alone, together again
        assert learning.last
        assert learning.last.version.examples == number
        assert_each_example_was_read_once(log)
        assert replayed(log, tmp_path) == learning.last.version.digest


@pytest.mark.faults
@long_only
def test_a_rank_that_is_killed_while_it_learns_has_sent_or_merges_is_lost_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    struck = tmp_path / "struck"
    struck.mkdir()
    monkeypatch.setenv(faulty_rank.STRUCK, str(struck))
    monkeypatch.setattr(rank_groups, "_process", faulty_rank.process)
    leader, number, rounds = Leader(2, partial(Processes, 2), mature=0, part=64, again=0.0), 0, 0
    with opened(tmp_path) as log:

        def feed() -> bool:
            nonlocal number, rounds
            log.append(examples(300, number))
            number += 300
            time.sleep(0.02)
            rounds = rounds or (leader.rounds if len(list(struck.iterdir())) == len(faulty_rank.MOMENTS) and leader.group is None else 0)
            return bool(rounds) and leader.rounds > rounds + 3

        learning = learner(log, tmp_path, ranks=leader, publish_every=0.05)
        try:
            learning.run(feed)
            learning.run(lambda: False, until_caught_up=True)
        finally:
            leader.close()

        assert learning.last
        assert learning.last.version.examples == number
        assert_each_example_was_read_once(log)
        assert replayed(log, tmp_path) == learning.last.version.digest


def test_a_rank_that_ends_before_all_are_there_is_lost_at_once() -> None:
    with closing(Processes(2)) as group:
        group.processes[0].kill()
        group.processes[0].join()

        with pytest.raises(RuntimeError, match="rank 1 has ended with status -9 before all had come together"):
            group.joined()


STOPPED = """
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from stream.learn.ranks.groups import Processes
from stream.learn.ranks.leader import Leader
from tests.stream.learning import learner, opened

with opened(Path(sys.argv[1])) as log, closing(Leader(2, partial(Processes, 2), mature=0, part=64)) as leader:
    learner(log, Path(sys.argv[1]), ranks=leader).run(lambda: leader.group is not None)
"""


def test_a_learner_that_is_stopped_while_its_ranks_come_together_ends_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(examples(600))

    stopped = subprocess.run(
        [sys.executable, "-c", STOPPED, str(tmp_path)], check=False, cwd=ROOT, capture_output=True, text=True, timeout=300
    )

    assert (stopped.returncode, stopped.stderr) == (0, "")


def test_torchrun_starts_all_again_where_a_rank_is_killed_and_they_end_with_the_weights_of_one(tmp_path: Path) -> None:
    with opened(tmp_path) as log:
        log.append(examples(6000))

        run = ("torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", "--standalone", "--monitor-interval=0.1")
        command = [sys.executable, "-m", *run, "-m", "tests.stream.learn.ranks.torchrun_learner", str(tmp_path)]
        done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300)

        assert done.returncode == 0, done.stderr
        assert (tmp_path / "restarts").read_text() == "1"
        last = all_versions(log)[-1]
        assert last.examples == 6000
        assert_each_example_was_read_once(log)
        assert replayed(log, tmp_path) == last.digest
        assert 2 in [each.ranks for each in sizes(all_versions(log)[-4:])]  # after it was started again, too


def test_nothing_is_published_where_ranks_have_different_weights(tmp_path: Path) -> None:
    class Differing(Simulated):
        def check(self, digest: str) -> None:
            raise RanksDifferError(digest)

    with opened(tmp_path) as log:
        log.append(examples(600))

        with pytest.raises(RanksDifferError):
            learner(log, tmp_path, ranks=Differing()).run(polls(9))

        assert not any(version.runs for version in all_versions(log))


def test_a_round_of_no_ranks_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="Expected `int` >= 1"):
        msgspec.json.decode(b"[5,0]", type=Round)
