"""A misspelt feature is found by its count, whatever others send beside it."""

from model.encoding.ignored_features import LONGEST_NAME, MOST_NAMES, OTHER, IgnoredFeatures


def test_a_name_that_keeps_coming_stays_while_others_are_made_up() -> None:
    ignored, made_up = IgnoredFeatures(), 0

    for n in range(1_000):
        for _candidate in range(2):
            ignored.add({"uzer"})
        ignored.add({f"made-up-{n}-{k}" for k in range(30)})
        made_up += 30

    counts = ignored.counts()
    assert counts["uzer"] == 2_000
    assert len(counts) <= MOST_NAMES + 1
    assert sum(counts.values()) == 2_000 + made_up


def test_a_name_that_comes_late_takes_a_place_from_names_that_are_many_and_frequent() -> None:
    ignored = IgnoredFeatures()
    ignored.add({f"flood-{n}" for n in range(MOST_NAMES)}, 1_000_000)

    ignored.add({"uzer"})

    assert ignored.counts()["uzer"] == 1
    assert ignored.counts()[OTHER] == 1_000_000


def test_names_that_are_long_or_unprintable_are_counted_and_not_kept() -> None:
    ignored = IgnoredFeatures()

    ignored.add({"x" * (LONGEST_NAME + 1), "a\nb", "\x1b[2J", "\ud800", OTHER}, 2)

    assert ignored.counts() == {OTHER: 10}
