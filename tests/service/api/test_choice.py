"""What is chosen is chosen with the propensity that is said and logged; and only what is shown is logged."""

import math
import random
from collections import Counter
from typing import Any

import pytest
from fastapi.testclient import TestClient

from model.exploration import chances
from service.api.choice import epsilon_greedy, thompson
from stream.records.events import Impression, decode_impression
from tests.service.fakes import SPEC, TRAINED_THROUGH, Site, trained

CANDIDATES = [{"id": n if n % 2 else f"{n}", "item": f"i{n % 5}", "price": n / 7} for n in range(6)]


def ask(client: TestClient, **more: Any) -> Any:
    """Ask for predictions of some candidates."""
    return client.post("/v1/predict", json={"candidates": CANDIDATES, "time": TRAINED_THROUGH} | more)


def impressions(site: Site) -> list[Impression]:
    """Return what was logged."""
    decoded = [decode_impression(message.value) for message in site.log.messages]
    return [each for each in decoded if isinstance(each, Impression)]


def test_the_propensity_of_each_candidate_is_how_often_it_is_chosen() -> None:
    probabilities, chance, rounds = [0.1, 0.4, 0.4, 0.3, 0.05], random.Random(0), 20_000
    counts: Counter[int] = Counter()
    said: dict[int, set[float]] = {}
    for _ in range(rounds):
        chosen = epsilon_greedy(probabilities, 2, 0.3, chance)
        assert len({each.candidate for each in chosen}) == 2
        counts.update(each.candidate for each in chosen)
        for index, propensity in chosen:
            said.setdefault(index, set()).add(propensity)

    for index, propensities in said.items():
        (propensity,) = propensities
        assert abs(counts[index] / rounds - propensity) < 4 * (propensity * (1 - propensity) / rounds) ** 0.5 + 1e-9
    assert sum(next(iter(each)) for each in said.values()) == pytest.approx(2)


def test_without_exploration_the_most_probable_are_chosen_the_first_of_equals_first() -> None:
    chosen = epsilon_greedy([0.1, 0.4, 0.4, 0.9], 3, 0.0, random.Random(0))

    assert chosen == [(3, 1.0), (1, 1.0), (2, 1.0)]
    assert epsilon_greedy([0.1], 5, 0.5, random.Random(0)) == [(0, 1.0)]


@pytest.mark.parametrize("count", [1, 3])
def test_thompson_chooses_each_candidate_as_often_as_its_propensity_says(count: int) -> None:
    probabilities, spreads, rounds = [0.1, 0.4, 0.4, 0.3, 0.05], [0.5, 0.1, 0.6, 0.3, 1.5], 4_000
    logits = [math.log(each / (1 - each)) for each in probabilities]
    propensities, chance = chances(logits, spreads, count), random.Random(0)
    counts: Counter[int] = Counter()
    for _ in range(rounds):
        chosen = thompson(probabilities, spreads, count, chance)
        assert len({each.candidate for each in chosen}) == count
        assert [each.propensity for each in chosen] == [propensities[each.candidate] for each in chosen]
        counts.update(each.candidate for each in chosen)

    assert propensities.sum() == pytest.approx(count)
    each = [(counts[index] - rounds * p) ** 2 / (rounds * p) for index, p in enumerate(propensities)]
    assert sum(each) < 18.47  # χ² with 4 degrees of freedom at the level of 0.1 %; of three at a time it spreads less


def test_thompson_shows_all_where_no_more_are_there_and_takes_any_probability() -> None:
    assert thompson([0.3], [0.0], 1, random.Random(0)) == [(0, 1.0)]
    assert sorted(thompson([0.3, 0.2], [1.0, 0.0], 5, random.Random(0))) == [(0, 1.0), (1, 1.0)]
    (only,) = thompson([0.0, 1.0], [0.0, 0.0], 1, random.Random(0))
    assert only.candidate == 1
    assert only.propensity == pytest.approx(1, abs=1e-5)


def test_thompson_of_the_settings_is_answered_and_logged_with_propensities() -> None:
    site = Site(explore="thompson")
    with site.client() as client:
        site.follower.publish(7, trained(spec=SPEC.model_copy(update={"model": SPEC.model.model_copy(update={"records": True})})))
        answers = [ask(client, choose=2, log="chosen").json()["chosen"] for _ in range(30)]

    shown = [each for answer in answers for each in answer]
    assert {each.impression_id: each.served and each.served.choice for each in impressions(site)} == {
        each["impression_id"]: each["propensity"] for each in shown
    }
    assert all(0 < each["propensity"] < 1 for each in shown)
    assert len({each["id"] for each in shown}) > 2  # it explores


def test_the_choice_is_answered_and_logged_with_its_propensity(site: Site, client: TestClient) -> None:
    answer = ask(client, choose=2, log="chosen").json()

    best = sorted(answer["predictions"], key=lambda each: -each["probability"])[:2]
    assert answer["chosen"] == [{"id": each["id"], "impression_id": each["impression_id"], "propensity": 1.0} for each in best]
    assert [each.impression_id for each in impressions(site)] == [each["impression_id"] for each in best]
    assert all(each.served and each.served.choice == 1.0 for each in impressions(site))


def test_only_the_impressions_that_are_asked_for_are_logged(site: Site, client: TestClient) -> None:
    def logged(log: Any) -> list[Any]:
        site.log.messages.clear()
        answer = ask(client, log=log).json()
        ids = {each["impression_id"]: each["id"] for each in answer["predictions"]}
        return [ids[each.impression_id] for each in impressions(site)]

    everything = ask(client).json()["predictions"]
    best = {each["id"] for each in sorted(everything, key=lambda each: -each["probability"])[:3]}

    assert logged(["4", 1]) == [1, "4"]
    assert logged({"top": 3}) == [each["id"] for each in CANDIDATES if each["id"] in best]
    assert (logged(True), logged(False), logged([])) == ([each["id"] for each in CANDIDATES], [], [])


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"log": ["4", 4]}, "log[1]"),  # "4" is the id of a candidate, the number is none
        ({"log": "chosen"}, "log"),
        ({"log": "all"}, "log"),
        ({"log": {"top": 0}}, "log.top"),
        ({"log": {"top": 1, "bottom": 2}}, "log"),
        ({"log": 3}, "log"),
        ({"choose": 0}, "choose"),
        ({"choose": 1001}, "choose"),
    ],
)
def test_what_can_not_be_logged_or_chosen_is_refused_and_nothing_is_written(
    site: Site, client: TestClient, more: dict[str, Any], field: str
) -> None:
    answer = ask(client, **more)

    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert site.log.messages == []


def test_a_key_that_stands_twice_in_log_is_refused(client: TestClient) -> None:
    answer = client.post("/v1/predict", content=b'{"candidates": [{"id": 1}], "log": {"top": 1, "top": 1}}')

    assert (answer.status_code, answer.json()["field"]) == (422, "top")
