"""How many bytes a delta takes on its way to a follower: as it is, as what has changed, with parameters of 16 bits; how often it is sent.

    python -m benchmarks.scale.deltas ../shared/data

Avazu, by the settings of `sml init`, at 2,000 examples a second: versions of 200 examples, for one is published every 100 ms.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lz4.frame
import numpy as np
import zstandard
from numpy.typing import NDArray

from benchmarks.defaults.guard import Stream, recorded
from model.array_file import Arrays, dump
from model.evaluation.progressive import predict_then_learn
from model.online import OnlineModel
from model.weights import Weights, sigmoid
from stream.settings import DataSettings

RATE, FIRST, WEIGHED, AFTER = 2_000, 10_000, 10_000, 10_000  # examples a second; learned before; of the versions weighed; predicted then
EVERY = (0.1, 0.2, 0.5, 1.0)  # seconds from one version to the next
WAYS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda data: data,
    "lz4": lz4.frame.compress,
    "zstd 1": zstandard.ZstdCompressor(1).compress,
    "zstd 3": zstandard.ZstdCompressor(3).compress,
}


def halved(arrays: Arrays) -> Arrays:
    """Return the arrays with parameters of 16 bits, held in words of 32 or 64 as they would be sent."""
    half = {name: arrays[name].astype(np.float16) for name in ("dense", "rows")}
    words = {name: np.frombuffer(array.tobytes().ljust(-(-array.nbytes // 4) * 4, b"\0"), np.float32) for name, array in half.items()}
    return arrays | words


def changed(arrays: Arrays, base: Weights) -> Arrays:
    """Return by what the words of ``base`` have to be XORed: first the highest byte of each, then the next one of each, and so on."""
    before = {**base.arrays(arrays["positions"]), "positions": np.r_[0, arrays["positions"][:-1]]}
    words = {name: array.view(np.uint8) ^ before[name].view(np.uint8) for name, array in arrays.items()}
    return {name: _by_byte(array, arrays[name].itemsize) for name, array in words.items()}


def _by_byte(array: NDArray[np.uint8], size: int) -> NDArray[np.int32]:
    return np.ascontiguousarray(array.reshape(-1, size).T[::-1]).reshape(-1).view(np.int32)


def versions(stream: Stream, every: float) -> Iterator[tuple[OnlineModel, Arrays]]:
    """Learn, and yield the model and what has changed since the version before."""
    model, examples = OnlineModel(stream.spec), int(RATE * every)
    for start in (0, *range(FIRST, FIRST + WEIGHED, examples)):
        part = stream.part(start, start + examples if start else FIRST)
        predict_then_learn(model, part.features, part.labels)
        if start:
            yield model, model.changes()
        model.mark_published()


def weigh(stream: Stream) -> OnlineModel:
    """Print what deltas weigh, and how long it takes to compress them; return what was learned."""
    sizes: dict[tuple[str, str], list[tuple[int, float]]] = {}
    base: Weights | None = None
    for model, arrays in versions(stream, EVERY[0]):
        base = base or model.weights.copy()
        for held, each in {"32 bits": arrays, "32 bits, changed": changed(arrays, base), "16 bits": halved(arrays)}.items():
            data = dump(each, {})
            for way, pack in WAYS.items():
                start = time.thread_time()
                size = len(pack(data))
                sizes.setdefault((held, way), []).append((size, time.thread_time() - start))
        base.apply(arrays)
    print("| parameters | | bytes a delta | time to pack, ms |\n| --- | --- | ---: | ---: |")
    for (held, way), found in sizes.items():
        print(f"| {held} | {way} | {statistics.median(s for s, _ in found):,.0f} | {1e3 * statistics.median(t for _, t in found):.2f} |")
    return model


def lose(model: OnlineModel, stream: Stream) -> None:
    """Print by how much predictions differ where parameters have 16 bits."""
    test = stream.part(FIRST + WEIGHED, FIRST + WEIGHED + AFTER)
    exact = model.weights.predict(test.features)
    for array in (model.weights.dense, model.weights.rows):
        array[...] = array.astype(np.float16)
    rounded = model.weights.predict(test.features)
    off = np.abs(rounded - exact)
    losses = [-np.mean(np.log(np.where(test.labels > 0, sigmoid(logits), 1 - sigmoid(logits)))) for logits in (exact, rounded)]
    print(f"\nlogits with parameters of 16 bits: off by {off.mean():.1e} on average, {off.max():.1e} at most")
    print(f"log loss of the {len(exact):,} examples that follow: {losses[0]:.6f} exact, {losses[1]:.6f} with 16 bits")


def main(folder: Path) -> None:
    """Print all of it."""
    stream = recorded(folder / "avazu_sample.csv.gz", DataSettings(format="avazu"), "")
    lose(weigh(stream), stream)
    print("\n| a version every | rows | bytes of one, lz4 | MB a second |\n| ---: | ---: | ---: | ---: |")
    for every in EVERY:
        found = [(len(arrays["positions"]), len(lz4.frame.compress(dump(arrays, {})))) for _, arrays in versions(stream, every)]
        rows, size = (statistics.median(each) for each in zip(*found, strict=True))
        print(f"| {1e3 * every:.0f} ms | {rows:,.0f} | {size:,.0f} | {size / every / 1e6:.2f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
