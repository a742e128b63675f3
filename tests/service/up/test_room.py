"""The screen of `sml up` says that a disk is full, once, and that it has room again."""

from pathlib import Path

from service.up.room import LEAST, Room, free


def test_a_disk_that_is_full_is_told_once_and_when_it_has_room_again(tmp_path: Path) -> None:
    left = [10 * LEAST]
    room = Room([tmp_path], lambda _: left[0])
    told = []
    for each in (10 * LEAST, 0, 0, LEAST - 1, LEAST + 1, 0, 3 * LEAST, 3 * LEAST):
        left[0] = each
        told.append(room.new_lines())

    assert [len(lines) for lines in told] == [0, 1, 0, 0, 0, 0, 1, 0]
    assert told[1][0].startswith(f"the disk of {tmp_path} is full, with 0.0 MB left: ")
    assert told[6] == [f"the disk of {tmp_path} has room again, 60.0 MB"]


def test_two_folders_on_one_disk_are_told_of_as_one(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()

    assert len(Room([tmp_path, tmp_path / "logs"], lambda _: 0).new_lines()) == 1


def test_what_is_left_is_what_the_system_says(tmp_path: Path) -> None:
    assert free(tmp_path) > 0
