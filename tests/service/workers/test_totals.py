"""The metrics of several processes are those of one: counts add up, those of processes that have ended, too."""

from service.workers.totals import Family, added_up


def test_counts_add_up_by_label_and_the_last_value_of_anything_else_counts() -> None:
    def report(count: float, route: str, age: float, in_flight: float) -> list[Family]:
        return [
            Family("requests", "counter", "Requests.", [("requests_total", {"route": route}, count)]),
            Family("age", "gauge", "Age.", [("age", {}, age)]),
            Family("sml_server_in_flight_requests", "gauge", "In flight.", [("sml_server_in_flight_requests", {}, in_flight)]),
        ]

    requests, age, in_flight = added_up([report(2, "a", 7, 1), report(3, "b", 5, 2), report(4, "a", 6, 3)])

    assert requests.samples == [("requests_total", {"route": "a"}, 6), ("requests_total", {"route": "b"}, 3)]
    assert age.samples == [("age", {}, 6)]
    assert in_flight.samples == [("sml_server_in_flight_requests", {}, 6)]
