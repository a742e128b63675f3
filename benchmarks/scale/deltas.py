"""How many bytes a delta takes on its way to a follower, as it is, compressed, and with parameters of 16 bits; and what these lose.

    python -m benchmarks.scale.deltas ../shared/data

Avazu, by the settings of `sml init`, in versions of 200 examples: what a learner of 2,000 examples a second publishes every 100 ms.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import numpy as np
import zstandard

from benchmarks.guard import VERSION, recorded
from model.array_file import Arrays, dump
from model.online import OnlineModel
from model.progressive import predict_then_learn
from stream.settings import DataSettings

FIRST, VERSIONS = 20_000, 50  # examples learned before, and versions that are weighed


def halved(arrays: Arrays) -> Arrays:
    """Return the arrays with parameters of 16 bits, held in words of 32 or 64 as they would be sent."""
    half = {name: arrays[name].astype(np.float16) for name in ("dense", "rows")}
    words = {name: np.frombuffer(array.tobytes().ljust(-(-array.nbytes // 4) * 4, b"\0"), np.float32) for name, array in half.items()}
    return arrays | words


WAYS: dict[str, Callable[[bytes], bytes]] = {
    "as it is": lambda data: data,
    "lz4": lz4.frame.compress,
    "zstd 1": zstandard.ZstdCompressor(1).compress,
    "zstd 3": zstandard.ZstdCompressor(3).compress,
}


def main(folder: Path) -> None:
    """Print the table, and by how much predictions differ."""
    stream = recorded(folder / "avazu_sample.csv.gz", DataSettings(format="avazu"), "")
    model = OnlineModel(stream.spec)
    first = stream.part(0, FIRST)
    predict_then_learn(model, first.features, first.labels)
    model.mark_published()
    sizes: dict[tuple[str, str], list[tuple[int, float]]] = {}
    rows = []
    for version in range(VERSIONS):
        part = stream.part(FIRST + version * VERSION, FIRST + (version + 1) * VERSION)
        predict_then_learn(model, part.features, part.labels)
        arrays = model.changes()
        rows.append(len(arrays["positions"]))
        model.mark_published()
        for bits, each in {"32": arrays, "16": halved(arrays)}.items():
            data = dump(each, {})
            for way, pack in WAYS.items():
                start = time.thread_time()
                size = len(pack(data))
                sizes.setdefault((bits, way), []).append((size, time.thread_time() - start))
    print(f"{statistics.median(rows):,.0f} rows a delta\n\n| bits | | bytes a delta | time to pack, ms |\n| ---: | --- | ---: | ---: |")
    for (bits, way), found in sizes.items():
        print(f"| {bits} | {way} | {statistics.median(s for s, _ in found):,.0f} | {1e3 * statistics.median(t for _, t in found):.2f} |")
    test = stream.part(FIRST + VERSIONS * VERSION, FIRST + VERSIONS * VERSION + 5_000)
    exact = model.weights.predict(test.features)
    for array in (model.weights.dense, model.weights.rows):
        array[...] = array.astype(np.float16)
    off = np.abs(model.weights.predict(test.features) - exact)
    print(f"\nlogits with parameters of 16 bits: off by {off.mean():.1e} on average, {off.max():.1e} at most")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
