"""What the settings cost in memory and in time: counted, not estimated, from a model with a few rows and what each further row adds."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from model.encoding.features import Encoder
from model.online import OnlineModel
from model.settings import Spec, TableSettings
from service.doctor.finding import Finding, of_arm, size
from service.settings import Settings

_EXAMPLES = 256  # by which the time of a step is measured
_MEMORY = Path("/proc/meminfo")
LESS = "a smaller [table] capacity, [model] embedding or hidden takes less"


class Memory(NamedTuple):
    """Bytes that the settings determine."""

    table: int
    dense: int  # parameters, their accumulators, and a copy of both to undo steps
    server: int  # two copies of the weights

    @property
    def learner(self) -> int:
        """Bytes of the learner, beside the program itself."""
        return self.table + self.dense


def memory_of(spec: Spec) -> Memory:
    """Count the bytes of a learner's and a server's arrays."""

    def model(capacity: int) -> OnlineModel:
        return OnlineModel(spec.model_copy(update={"table": TableSettings(capacity=capacity)}))

    few, more, rows = model(8), model(16), spec.table.capacity
    of_row, of_weights_row = (_bytes(more) - _bytes(few)) // 8, (_bytes(more.weights) - _bytes(few.weights)) // 8
    dense, dense_weights = _bytes(few) - 8 * of_row, _bytes(few.weights) - 8 * of_weights_row
    return Memory(table=rows * of_row, dense=dense, server=2 * (rows * of_weights_row + dense_weights))


def _bytes(whole: Any) -> int:
    """Add up the bytes of the arrays that an object holds, each once."""
    arrays: dict[int, int] = {}

    def visit(part: Any) -> None:
        if isinstance(part, np.ndarray):
            arrays[part.ctypes.data] = max(arrays.get(part.ctypes.data, 0), part.nbytes)
        elif isinstance(part, tuple | list):
            for each in part:
                visit(each)
        elif type(part).__module__.startswith(OnlineModel.__module__.removesuffix("online")) and hasattr(part, "__dict__"):
            visit(tuple(vars(part).values()))

    visit(whole)
    return sum(arrays.values())


def memory_found(memories: Mapping[str, Memory]) -> Iterator[Finding]:
    """Check that the machine has the memory that each arm, and the server, will take."""
    for arm, memory in memories.items():
        learner = f"{size(memory.learner)}: the table {size(memory.table)}, the network {size(memory.dense)}"
        yield Finding(of_arm("learner's memory", arm), True, f"{learner}; as much again for a moment while it saves")
    server, learners = (sum(getattr(memory, what) for memory in memories.values()) for what in ("server", "learner"))
    of_each = f" of each of {len(memories)} arms" if len(memories) > 1 else ""
    yield Finding("server's memory", True, f"{size(server)}: two copies of the weights{of_each}")
    if _MEMORY.exists():
        available = _machine("MemAvailable")
        wanted = 2 * learners + server
        found = f"{size(available)}, for {size(wanted)} of learner and server together"
        yield Finding.check("memory available", wanted < available, found, LESS)


def learning_time(settings: Settings) -> Finding:
    """Measure the step of an arm, on made-up examples and a small table."""
    spec = settings.spec.model_copy(update={"table": TableSettings(capacity=8 * _EXAMPLES)})
    values = {"categorical": str, "multi": str, "numeric": float}
    rows = [{field.name: values[field.kind](n % 97) for field in spec.fields if field.is_feature} for n in range(_EXAMPLES)]
    features, _ = Encoder(spec.fields).encode(rows, [0] * _EXAMPLES)
    labels = np.arange(_EXAMPLES, dtype=np.float32) % 2
    seconds = []
    for _ in range(4):  # the first loads the kernels, or compiles them
        model, start = OnlineModel(spec), time.perf_counter()
        model.learn(features, labels)
        seconds.append(time.perf_counter() - start)
    each = float(np.median(seconds[1:])) / _EXAMPLES
    return Finding(of_arm("learning time", settings.topics.arm), True, f"{each * 1e6:,.1f} µs an example, {1 / each:,.0f} a second")


def waiting(most: int) -> Finding:
    """Check that the joiner reaches its limit before the machine's memory ends."""
    total = _machine("MemTotal") if _MEMORY.exists() else most
    found = f"up to {size(most)}, as join.most_waiting says, of {size(total)}"
    return Finding.check("joiner's memory", most <= total, found, "lower [join] most_waiting: the joiner ends there, and says so")


def _machine(name: str) -> int:
    return next(int(line.split()[1]) * 1024 for line in _MEMORY.read_text().splitlines() if line.startswith(name))
