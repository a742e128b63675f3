"""Fields, step and table change while a model learns: it goes on from what it has learned, and the log still gives every past state."""

import shutil
from pathlib import Path

import pytest

from model.settings import Field, Spec, TableSettings
from stream.learn.errors import OtherSettingsError
from stream.learn.restore.rollback import rebuild, roll_back
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import Log
from stream.records.version import Version
from stream.settings import LearnSettings
from tests.stream.learn.fragile import Killed, fragile
from tests.stream.learning import SPEC, TOPICS, all_versions, examples, learn_all
from tests.stream.weights.test_follow import follow_to_the_end, following

USER, ITEM, PRICE = SPEC.fields
WIDER = SPEC.model_copy(update={"fields": (USER, Field(name="hour", kind="hour"), ITEM, PRICE)})
FASTER = SPEC.model_copy(update={"model": SPEC.model.model_copy(update={"tower_rate": 0.05, "accumulator_half_life": 40})})
LARGER = SPEC.model_copy(update={"table": TableSettings(capacity=1024)})
NARROWER = SPEC.model_copy(update={"fields": (USER, PRICE.model_copy(update={"kind": "categorical"}))})


def learn_in_turn(log: Log, folder: Path, *specs: Spec) -> list[Version]:
    """Learn fifty examples with each of the settings, one after another; return the last version under each."""
    last = []
    for number, spec in enumerate(specs):
        log.append(examples(50, first=50 * number))
        last.append(learn_all(log, folder, spec))
    return last


def test_a_learner_goes_on_when_a_field_is_new_and_when_fields_are_gone(log: Log, tmp_path: Path) -> None:
    versions = learn_in_turn(log, tmp_path, SPEC, WIDER, NARROWER)

    assert [version.examples for version in versions] == [50, 100, 150]
    named = [version for version in all_versions(log) if version.spec]
    assert [Spec.model_validate(version.spec) for version in named] == [SPEC, WIDER, NARROWER]
    assert all(not version.runs for version in named)


def test_a_new_field_leaves_the_rows_of_the_others_as_they_were(log: Log, tmp_path: Path) -> None:
    learn_in_turn(log, tmp_path, SPEC)
    before = follow_to_the_end(log).weights
    learn_all(log, tmp_path, WIDER)

    after = follow_to_the_end(log).weights

    assert after.spec == WIDER
    assert (after.rows == before.rows).all()
    assert (after.keys == before.keys).all()


def test_records_come_and_go_and_wait_for_another_time_while_the_model_goes_on(log: Log, tmp_path: Path) -> None:
    without = SPEC.model_copy(update={"model": SPEC.model.model_copy(update={"records": False})})
    later = SPEC.model_copy(update={"label_delay": 20})
    versions = learn_in_turn(log, tmp_path, without, SPEC, later, without)

    assert [version.examples for version in versions] == [50, 100, 150, 200]
    assert follow_to_the_end(log).weights.digest() == versions[-1].digest
    for number, spec in ((versions[1].version, SPEC), (versions[2].version, later)):
        past = rebuild(log, TOPICS, spec, Checkpoints(tmp_path / "none", 3), number)
        assert past.version.digest == all_versions(log)[number].digest
        assert past.arrays["model/records"][-1].any()


def test_the_same_settings_again_are_no_change(log: Log, tmp_path: Path) -> None:
    learn_in_turn(log, tmp_path, SPEC, SPEC)

    assert len([version for version in all_versions(log) if version.spec]) == 1


def test_without_checkpoints_the_log_gives_the_same_weights_across_a_change(log: Log, tmp_path: Path) -> None:
    learn_in_turn(log, tmp_path, SPEC, WIDER, NARROWER)
    shutil.rmtree(tmp_path / "checkpoints")

    again = learn_all(log, tmp_path, NARROWER)

    assert again.examples == 150
    assert again.digest == all_versions(log)[-1].digest


@pytest.mark.parametrize("specs", [(SPEC, WIDER, NARROWER), (SPEC, FASTER, LARGER)])
def test_states_on_both_sides_of_a_change_can_be_rebuilt(log: Log, tmp_path: Path, specs: tuple[Spec, ...]) -> None:
    for version in learn_in_turn(log, tmp_path, *specs):
        rebuilt = rebuild(log, TOPICS, specs[-1], Checkpoints(tmp_path / "none", 1), version.version)

        assert rebuilt.version.digest == version.digest


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("changed", [WIDER, FASTER, LARGER])
def test_killed_at_a_change_it_changes_once(log: Log, tmp_path: Path, changed: Spec, after: bool) -> None:
    learn_in_turn(log, tmp_path, SPEC)

    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        learn_all(fragile(log, **{"after_commit" if after else "before_commit": die}), tmp_path, changed)
    log.append(examples(50, first=50))
    learn_all(log, tmp_path, changed)

    assert [version.spec is not None for version in all_versions(log)].count(True) == 2
    assert all_versions(log)[-1].examples == 100


@pytest.mark.parametrize("changed", [WIDER, FASTER, LARGER])
def test_back_before_a_change_and_on_from_there(log: Log, tmp_path: Path, changed: Spec) -> None:
    first, last = learn_in_turn(log, tmp_path, SPEC, changed)

    back = roll_back(log, TOPICS, changed, LearnSettings(directory=str(tmp_path / "checkpoints")), first.version, replay=True)
    again = learn_all(log, tmp_path, changed)

    assert back.digest == first.digest
    assert (again.examples, again.digest) == (100, last.digest)
    assert follow_to_the_end(log).weights.spec == changed


@pytest.mark.parametrize("changed", [WIDER, LARGER])
def test_a_server_follows_across_a_change(log: Log, tmp_path: Path, changed: Spec) -> None:
    (first,) = learn_in_turn(log, tmp_path, SPEC)

    with following(log) as service:
        service.wait_for(first.version)
        log.append(examples(50, first=50))
        last = learn_all(log, tmp_path, changed)
        service.wait_for(last.version)

    assert service.weights.spec == changed
    assert service.taken[-1].digest == last.digest


def test_another_step_and_a_larger_table_change_no_weight_when_they_come(log: Log, tmp_path: Path) -> None:
    (first,) = learn_in_turn(log, tmp_path, SPEC)
    before = follow_to_the_end(log).weights

    faster = learn_all(log, tmp_path, FASTER)
    larger = learn_all(log, tmp_path, LARGER.model_copy(update={"model": FASTER.model}))

    after = follow_to_the_end(log).weights
    assert faster.digest == first.digest
    assert (larger.version, larger.runs) == (faster.version + 1, [])
    assert {int(key): row.tolist() for key, row in zip(after.keys, after.rows, strict=True) if key} == {
        int(key): row.tolist() for key, row in zip(before.keys, before.rows, strict=True) if key
    }


def test_what_can_not_be_changed_in_place_is_named_with_what_there_was_and_nothing_is_published(log: Log, tmp_path: Path) -> None:
    learn_in_turn(log, tmp_path, SPEC)

    for changes, complaint in (
        ({"table": TableSettings(capacity=8)}, "table.capacity: got 8, expected at least 256"),
        ({"model": SPEC.model.model_copy(update={"embedding": 8})}, "model.embedding: got 8, expected 4"),
        ({"label_policy": "fnc"}, "label_policy: got 'fnc', expected 'window'"),
    ):
        with pytest.raises(OtherSettingsError, match=rf"let the new ones be an arm.*{complaint}"):
            learn_all(log, tmp_path, SPEC.model_copy(update=changes))

    assert len([version for version in all_versions(log) if version.spec]) == 1
