"""What ranks send each other: commands of rank 0, and arrays as plain bytes, without a copy of what is received."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from model.encoding.features import Features
from model.kernels.rows.record import COLUMNS
from model.online import Learned
from model.rounds import Part, Update

NOTHING = torch.empty(0, dtype=torch.uint8)
_BY_ROW = "rows", "row_accumulators", "records"


class Command(IntEnum):
    """What rank 0 tells another."""

    STATE, LEARN, ROUND, FORGET, DIGEST, PING, END = range(7)


def send(command: Command, rank: int, data: torch.Tensor = NOTHING) -> None:
    """Send a command to a rank, and the bytes that belong to it."""
    distributed.send(torch.tensor([command, len(data)]), rank)
    if len(data):
        distributed.send(data, rank)


def received_command() -> tuple[Command, NDArray[np.uint8]]:
    """Return the next command of rank 0, and the bytes that belong to it."""
    header = torch.zeros(2, dtype=torch.int64)
    distributed.recv(header, 0)
    return Command(int(header[0])), received_from(0, int(header[1]))


def received_from(rank: int, size: int) -> NDArray[np.uint8]:
    """Return so many bytes of a rank."""
    received = torch.empty(size, dtype=torch.uint8)
    if size:
        distributed.recv(received, rank)
    return received.numpy()


def tensor(data: bytes) -> torch.Tensor:
    """Return bytes as what can be sent."""
    return torch.from_numpy(np.frombuffer(data, np.uint8).copy())


def exchanged(learned: Learned, update: Update) -> tuple[list[Learned], list[Update], int]:
    """Give all ranks what this one has learned of its part, and return what each has, in their order, and the bytes of it."""
    own = _joined((learned.logits, np.array(learned.undone, np.int64), *update))
    sizes = torch.empty(distributed.get_world_size(), dtype=torch.int64)
    distributed.all_gather_into_tensor(sizes, torch.tensor([len(own)]))
    padded = torch.empty(int(sizes.max()), dtype=torch.uint8)
    padded[: len(own)] = own
    received = torch.empty(len(sizes) * len(padded), dtype=torch.uint8)
    distributed.all_gather_into_tensor(received, padded)
    results = [_split(each) for each in received.numpy().reshape(len(sizes), -1)]
    of_ranks = [Learned(logits.view(np.float32), undone.view(np.int64).tolist()) for logits, undone, *_ in results]
    return of_ranks, [_update(arrays) for _, _, *arrays in results], int(sizes.sum())


def _update(arrays: Sequence[NDArray[np.uint8]]) -> Update:
    """Return the update that has these bytes."""
    types = (np.int64, np.float64, np.uint64, np.int64, *[np.float32] * 6)
    update = Update(*(array.view(dtype) for array, dtype in zip(arrays, types, strict=True)))
    rows = max(len(update.keys), 1)  # of none, any number of columns is right
    by_row = {name: getattr(update, name).reshape(-1, getattr(update, name).size // rows or COLUMNS) for name in _BY_ROW}
    return update._replace(stream_record=update.stream_record.reshape(-1, COLUMNS), **by_row)


def packed(part: Part) -> torch.Tensor:
    """Return a part as bytes, without the keys of others; what it does not have is empty."""
    (keys, starts, times), labels, importance, fnw = part
    numbers = (None if each is None else each.astype(np.float32) for each in (labels, importance))
    arrays = (keys[starts[0] : starts[-1]], starts - starts[0], times, *numbers, fnw)
    return _joined([np.empty(0, np.uint8) if each is None else each for each in arrays])


def unpacked(data: NDArray[np.uint8]) -> Part:
    """Return the part that was packed."""
    types: tuple[Any, ...] = (np.uint64, np.int64, np.int64, np.float32, np.float32, np.bool_)
    arrays: list[NDArray[Any]] = [array.view(dtype) for array, dtype in zip(_split(data), types, strict=True)]
    keys, starts, times, labels, importance, fnw = arrays
    return Part(Features(keys, starts, times), labels, importance if len(importance) else None, fnw if len(fnw) else None)


def _joined(arrays: Sequence[NDArray[Any]]) -> torch.Tensor:
    """Return arrays as bytes: how many they are, the size of each, then what each holds, from a multiple of 8 on."""
    sizes = np.array([len(arrays), *(array.nbytes for array in arrays)], np.int64)
    joined = torch.zeros(sizes.nbytes + sum(map(_padded, sizes[1:].tolist())), dtype=torch.uint8)
    content, start = joined.numpy(), sizes.nbytes
    content[:start] = sizes.view(np.uint8)
    for array in arrays:
        content[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        start += _padded(array.nbytes)
    return joined


def _split(joined: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Return the bytes of each array, as views."""
    sizes = joined[8 : 8 + 8 * int(joined[:8].view(np.int64)[0])].view(np.int64)
    starts = 8 + sizes.nbytes + np.cumsum([0, *map(_padded, sizes.tolist())])
    return [joined[start : start + size] for start, size in zip(starts.tolist(), sizes.tolist(), strict=False)]


def _padded(size: int) -> int:
    return -(-size // 8) * 8
