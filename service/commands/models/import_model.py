"""``sml import``: save what the next learner begins with, from a torch checkpoint and a Parquet of embeddings."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model.imported import EmbeddingRows, ImportedModelError, begin_with, embedding_rows, exported_rows
from model.settings import Spec
from service.export.tensor_file import read_tensors
from service.settings import Settings
from stream.learn.restore.imported import save_imported
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.connect import open_log

_ANEW = "accumulators, records, and under base_rate the bias"


def import_model(settings: Settings, checkpoint: Path, rows: Path | None) -> dict[str, Any]:
    """Save the imported state beside the checkpoints; the learner, when it has published nothing yet, begins with it.

    Raises:
        TensorFileError: the checkpoint holds something other than named tensors.
        ImportedModelError: a tensor or a row is not of this model.
        AlreadyLearnedError: the model has begun with something else.
        LogError: the log can't be used.
        OSError: a file can't be read, or the state can't be written.
    """
    spec = settings.spec
    tensors = read_tensors(checkpoint)
    exported = exported_rows(spec, tensors)
    if exported and rows:
        raise ImportedModelError(f"{checkpoint}: got a table in it, expected none beside {rows}")
    model = begin_with(spec, tensors, exported or _read_rows(spec, rows))
    checkpoints = Checkpoints.of(settings.learn)
    with open_log(settings.log) as log:
        digest = save_imported(log, settings.topics, checkpoints, model)
    occupied = int(np.count_nonzero(model.weights.keys))
    return {"digest": digest, "parameters": len(model.weights.dense), "rows": occupied, "begins_anew": _ANEW}


def _read_rows(spec: Spec, path: Path | None) -> EmbeddingRows:
    """Read the columns ``field`` (may be absent where the model has one field), ``id``, ``embedding`` and, if it is there, ``wide``."""
    if path is None:
        return embedding_rows(spec, [], [], [], [])
    try:
        columns = pq.read_table(path).to_pydict()
    except pa.ArrowInvalid as error:
        raise ImportedModelError(f"{path}: got no Parquet file: {error}") from error
    if len(spec.fields) == 1:
        columns.setdefault("field", [spec.fields[0].name] * len(columns.get("id", ())))
    missing = [name for name in ("field", "id", "embedding") if name not in columns]
    if missing:
        raise ImportedModelError(f"{path}: got the columns {', '.join(columns)}, expected {missing[0]} too")
    wide = columns.get("wide", [0.0] * len(columns["id"]))
    return embedding_rows(spec, columns["field"], columns["id"], columns["embedding"], wide)
