"""``[arms.NAME]`` holds what differs from the model that all share; without arms nothing is as if there were any."""

import os
from pathlib import Path

import pytest

from model.settings import Spec
from service.settings import Settings, SettingsError, load
from stream.learn.publish import settings_digest
from stream.log.topics import Topics, wanted

ARMS = """
[model]
skip = "none"
hidden = [16]
[table]
capacity = 1024
[experiment]
unit = "user_id"
[arms.control]
share = 0.9
[arms.treatment]
share = 0.1
model = { skip = "meta_tanh", network = "deepfm" }
[arms.large]
table = { capacity = 2048 }
[[field]]
name = "user_id"
"""


def settings(folder: Path, text: str) -> Settings:
    """Load settings."""
    path = folder / "sml.toml"
    path.write_text(text)
    return load(path)


def test_an_arm_has_what_it_says_and_the_rest_from_the_shared_tables(tmp_path: Path) -> None:
    shared = settings(tmp_path, ARMS)

    control, treatment, large = (each.spec for each in shared.of_every_arm())

    assert control == shared.spec
    assert (treatment.model.skip, treatment.model.network, treatment.model.hidden) == ("meta_tanh", "deepfm", (16,))
    assert treatment.model.embedding_rate == 0.02  # a default that depends on the network depends on the arm's
    assert (treatment.table, large.table.capacity) == (control.table, 2048)
    assert large.model == control.model


def test_an_arm_has_topics_a_folder_an_owner_and_a_port_of_its_own_and_control_those_of_a_model_without_arms(tmp_path: Path) -> None:
    shared = settings(tmp_path, ARMS)
    alone = settings(tmp_path, "")

    control, treatment, large = shared.of_every_arm()

    assert control.topics == alone.topics == Topics("sml")
    assert control.learn == alone.learn
    assert (treatment.topics.versions, treatment.topics.weights) == ("sml.versions.treatment", "sml.weights.treatment")
    assert treatment.topics.examples == control.topics.examples
    assert (control.topics.learner, treatment.topics.learner) == ("sml.learner", "sml.learner.treatment")
    assert treatment.learn.directory == os.path.join(control.learn.directory, "treatment")  # noqa: PTH118 - as it is written
    assert len({each.learn.metrics_port for each in (control, treatment, large)} | {shared.join.metrics_port}) == 4


def test_settings_without_arms_are_those_of_one_model_whose_topics_and_digest_are_as_before() -> None:
    alone = Settings.model_validate({"field": [{"name": "user_id"}]})

    assert alone.of_arm(None) is alone.of_arm("control") is alone
    assert [each.name for each in wanted(alone.topics, 1, alone.kept, arms=tuple(alone.arms))] == [
        "sml.impressions", "sml.clicks", "sml.examples", "sml.versions", "sml.weights", "sml.dead-letters",
    ]  # fmt: skip
    assert settings_digest(alone.spec) == settings_digest(Spec(fields=alone.field))


def test_an_arm_that_learns_from_its_own_names_itself_and_the_others_settings_are_as_before(tmp_path: Path) -> None:
    own = settings(tmp_path, ARMS.replace("share = 0.1", 'share = 0.1\nlearn_from = "own"'))

    assert [each.spec.served_by for each in own.of_every_arm()] == [None, "treatment", None]
    assert [settings_digest(each.spec) for each in own.of_every_arm()][::2] == [
        settings_digest(each.spec) for each in settings(tmp_path, ARMS).of_every_arm()
    ][::2]


def test_an_arm_knows_the_settings_of_the_one_that_it_begins_from(tmp_path: Path) -> None:
    text = ARMS.replace("[arms.large]", '[arms.large]\nbegin_from = "treatment"').replace(
        "[arms.control]", '[arms.control]\nbegin_from = "large"'
    )

    control, treatment, large = settings(tmp_path, text).of_every_arm()

    assert treatment.begin_from is None
    assert control.begin_from is not None
    assert large.begin_from is not None
    assert (large.begin_from.spec, large.begin_from.learn) == (treatment.spec, treatment.learn)
    assert (control.begin_from.spec, control.begin_from.learn) == (large.spec, large.learn)


def test_control_has_all_the_traffic_unless_shares_are_given(tmp_path: Path) -> None:
    assert settings(tmp_path, "[arms.control]\n[arms.b]").traffic.points() == {"control": 1_000_000_000}
    assert settings(tmp_path, ARMS).traffic.points() == {"control": 900_000_000, "treatment": 100_000_000}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[arms.control]\n[arms.b]\n[arms.b]", "Cannot declare .* twice"),
        ("[arms.a]\n[arms.b]", r"^\S*: arms: got a, b, expected one of them to be named control$"),
        ("[arms.control]\nshare = 0.5\n[arms.b]\nshare = 0.6", "arms: got shares that sum to 1.1, expected 1: control 0.5, b 0.6"),
        ("[arms.control]\nshare = 0.5\n[arms.b]\nshare = 0.5", "experiment.unit: got nothing, expected the feature"),
        ("[arms.control]\n[arms.b]\nshare = -0.5", "arms.b.share: got -0.5, expected"),
        ('[arms.control]\n[arms."A b"]', "arms.A b: got 'A b', expected a name of up to 40 small letters"),
        ("[arms.control]\n[arms.b.model]\nskp = 1", "arms.b.model.skp: no such setting, nearest is 'skip'"),
        ("[arms.control]\n[arms.b.join]\nlateness = 1", "arms.b.join.lateness: no such setting, nearest is 'label_policy'"),
        ("[arms.control]\n[arms.b]\nlearn_from = 'mine'", "arms.b.learn_from: got 'mine', expected 'all' or 'own'"),
        ("[arms.control]\n[arms.b]\nbegin_from = 'c'", "arms.b.begin_from: got 'c', expected control"),
        ("[arms.control]\n[arms.b]\nbegin_from = 'b'", "arms.b.begin_from: got 'b', expected control"),
        ("[arms.control]\n[arms.b]\nmodle = 1", "arms.b.modle: no such setting, nearest is 'model'"),
        ('[arms.control]\n[arms.b.join]\nlabel_policy = "fnw"', "arms.b.join.label_policy: got 'fnw', expected window, for"),
        ("[experiment]\nuint = 1", "experiment.uint: no such setting, nearest is 'unit'"),
        ('[model]\nskip = "x"\n[arms.control]\n[arms.b]', r"^\S*: model.skip: got 'x', [^\n]*$"),  # once, not for each arm
    ],
)
def test_wrong_arms_are_answered_with_where_got_and_expected(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        settings(tmp_path, text)


@pytest.mark.parametrize("text", [ARMS, ""])
def test_an_arm_that_is_not_there_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"arms: got 'traetment', expected (control or treatment or large|\[arms.traetment\] in)"):
        settings(tmp_path, text).of_arm("traetment")
