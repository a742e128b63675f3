"""What every exported folder holds beside the model itself: its settings, the keys of its rows, an encoder for them, and a model card."""

import inspect
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from model.encoding import buckets, features, ignored_features, keys, pairs
from model.weights import Weights
from service.export import rows
from service.export.card import model_card
from stream.records.version import Version
from stream.weights.chunks import WeightsHeader

FORMAT = "sml-online-export/1"
ENCODER = "sml_encoder.py"
_OURS = re.compile(r"^(?:from|import) (?:sml_online\.)?(?:model|service)\b")
_HEAD = '''"""From features to the inputs of the model beside it, by the code that served it; it needs numpy and xxhash."""

from types import SimpleNamespace as Field

'''


class NotEmptyError(ValueError):
    """The folder to write to holds something."""


@contextmanager
def all_or_nothing(folder: Path) -> Iterator[None]:
    """Make the folder, which the block fills; where it fails the folder is left empty.

    Raises:
        NotEmptyError: it exists and is not empty.
        OSError: it can't be made, or what it is to hold can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise NotEmptyError(f"{folder}: got a folder with files in it, expected an empty one or none")
    try:
        yield
    except BaseException as error:
        for each in folder.iterdir():
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        if isinstance(error, OSError) and error.filename is None:
            raise OSError(error.errno, error.strerror, str(folder)) from error
        raise


def write_common(folder: Path, origin: Version | WeightsHeader, weights: Weights, form: str) -> None:
    """Write all but the model itself."""
    names = ("version", "digest", "examples", "trained_through")
    described = {"format": FORMAT, **{name: getattr(origin, name) for name in names}, "spec": weights.spec.model_dump(mode="json")}
    (folder / "model.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    np.save(folder / "keys.npy", weights.keys[weights.by_key()], allow_pickle=False)
    (folder / ENCODER).write_text(encoder_source(), encoding="utf-8")
    (folder / "README.md").write_text(model_card(described, form), encoding="utf-8")


def encoder_source() -> str:
    """Return the modules that make keys and rows as one, without their imports of each other."""
    return _HEAD + "".join("\n".join(_without_imports(module)) for module in (buckets, keys, pairs, ignored_features, features, rows))


def _without_imports(module: Any) -> Iterator[str]:
    source = inspect.getsource(module)
    yield from (line for line in source.splitlines() if not _OURS.match(line))
    yield ""


def write_safetensors(folder: Path, weights: Weights) -> None:
    """Write the parameters by name, and the table's rows by ascending key: ``table.embedding``, ``table.wide``, ``table.record``."""
    positions = weights.by_key()
    arrays = weights.layout.named(weights.dense) | {
        "table.key": weights.keys[positions],
        "table.embedding": weights.rows[positions, :-1],
        "table.wide": weights.rows[positions, -1],
    }
    if weights.spec.model.records:
        arrays |= {"table.record": weights.records.counts[positions], "stream.record": weights.records.counts[-1]}
    made = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {"format": FORMAT})
    (folder / "model.safetensors").write_bytes(made)
