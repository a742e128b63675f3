"""A learner begins with weights from elsewhere, bit for bit and once; what does not fit is refused by its name, and nothing in a file is run."""

import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import save_file

from model.encoding.features import Encoder
from model.imported import ImportedModelError
from model.networks.build import build
from model.settings import Spec
from service.commands.models.import_model import import_model
from service.export.folder import write_safetensors
from service.export.tensor_file import TensorFileError
from service.settings import Settings
from stream.learn.errors import LearnError, RecoveryError
from stream.learn.restore.imported import AlreadyLearnedError
from stream.learn.restore.rollback import rebuild
from stream.learn.saving.checkpoint import Checkpoints
from stream.log.contract import Log
from stream.records.version import Begun
from stream.weights.follow import newest_weights
from stream.weights.versions import newest_version, read_versions
from tests.stream.learning import SPEC as SMALL, TOPICS, examples, learn_all, opened


def settings(folder: Path, spec: Spec = SMALL) -> Settings:
    data = {"log": {"url": f"sqlite:///{folder / 'log.db'}", "prefix": TOPICS.prefix}, "learn": {"directory": str(folder / "checkpoints")}}
    made = spec.model_dump(mode="json")
    return Settings.model_validate(data | {"model": made["model"], "table": made["table"], "field": made["fields"]})


SPEC = settings(Path()).spec
WIDTH = SPEC.model.embedding


@pytest.fixture(autouse=True)
def log(tmp_path: Path) -> Iterator[Log]:
    with opened(tmp_path) as log:
        yield log


@pytest.fixture
def network() -> Any:
    """The settings' network, as somebody else has trained it."""
    torch.manual_seed(1)
    network = build(SPEC)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture
def files(tmp_path: Path, network: Any) -> tuple[Path, Path]:
    """Its checkpoint, and an embedding for each of 30 users and of 20 items."""
    torch.save(network.state_dict(), tmp_path / "model.pt")
    write_rows(tmp_path / "rows.parquet", {})
    return tmp_path / "model.pt", tmp_path / "rows.parquet"


def table() -> dict[str, list[Any]]:
    random = np.random.default_rng(0)
    ids = [("user", str(n)) for n in range(30)] + [("item", str(n)) for n in range(20)]
    vectors = random.normal(size=(50, WIDTH)).astype(np.float32)
    fields, values = zip(*ids, strict=True)
    return {"field": list(fields), "id": list(values), "embedding": vectors.tolist(), "wide": random.normal(size=50).tolist()}


def write_rows(path: Path, changes: dict[str, list[Any]]) -> None:
    pq.write_table(pa.table({**table(), **changes}), path)


def test_it_predicts_as_the_network_that_was_imported(log: Log, tmp_path: Path, files: tuple[Path, Path], network: Any) -> None:
    done = import_model(settings(tmp_path), *files)
    version = learn_all(log, tmp_path, SPEC)

    weights = newest_weights(log, TOPICS)[1]
    own = table()
    rows = {(field, value): n for n, (field, value) in enumerate(zip(own["field"], own["id"], strict=True))}
    asked = [{"user": str(n), "item": str(n % 20)} for n in range(30)]
    defaults = weights.layout.named(weights.dense)["defaults"]
    vectors = np.array(
        [[own["embedding"][rows["user", each["user"]]], own["embedding"][rows["item", each["item"]]], defaults[2]] for each in asked]
    )
    wide = np.array([[own["wide"][rows["user", each["user"]]], own["wide"][rows["item", each["item"]]], 0] for each in asked])
    with torch.no_grad():
        expected = network(torch.tensor(vectors, dtype=torch.float32), torch.tensor(wide, dtype=torch.float32), torch.zeros(30, 3)).numpy()
    logits = weights.predict(Encoder(SPEC.fields).encode(asked, [0] * 30).features)
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert (version.version, version.digest, version.begun) == (
        0,
        done["digest"],
        Begun(None, 0, accumulators=False, digest=done["digest"]),
    )
    assert done["rows"] == 50
    assert "accumulators" in done["begins_anew"]


@pytest.mark.parametrize("lost", ["nothing", "its checkpoints", "all"])
def test_what_is_learned_from_there_is_made_again_bit_for_bit(log: Log, tmp_path: Path, files: tuple[Path, Path], lost: str) -> None:
    import_model(settings(tmp_path), *files)
    first = learn_all(log, tmp_path, SPEC)
    log.append(examples(100))
    last = learn_all(log, tmp_path, SPEC)
    checkpoints = tmp_path / "checkpoints"
    if lost == "all":
        shutil.rmtree(checkpoints)
        with pytest.raises(RecoveryError, match=rf"\.imported holds none, expected {first.digest}: run the same `sml import` again"):
            learn_all(log, tmp_path, SPEC)
        import_model(settings(tmp_path), *files)
    elif lost == "its checkpoints":
        for path in checkpoints.glob("*.checkpoint"):
            path.unlink()

    again = learn_all(log, tmp_path, SPEC)

    assert (again.digest, again.examples, last.examples) == (last.digest, 100, 100)
    assert last.digest != first.digest
    assert rebuild(log, TOPICS, SPEC, Checkpoints(checkpoints, 1), 0).version.digest == first.digest
    assert len([each for each, _ in read_versions(log, TOPICS, 0) if each.begun]) == 1


def test_a_model_that_has_learned_is_left_as_it_is(log: Log, tmp_path: Path, files: tuple[Path, Path]) -> None:
    log.append(examples(10))
    before = learn_all(log, tmp_path, SPEC)

    with pytest.raises(AlreadyLearnedError, match="holds versions that did not begin with this"):
        import_model(settings(tmp_path), *files)

    newest = newest_version(log, TOPICS)
    assert newest is not None
    assert newest.version.digest == before.digest
    assert not (tmp_path / "checkpoints/.imported").exists()


def test_under_settings_that_changed_since_the_learner_says_so_and_publishes_nothing(
    log: Log, tmp_path: Path, files: tuple[Path, Path]
) -> None:
    import_model(settings(tmp_path), *files)
    other = SPEC.model_copy(update={"fields": SPEC.fields[:2]})

    with pytest.raises(LearnError, match="the imported weights are of other settings"):
        learn_all(log, tmp_path, other)

    assert newest_version(log, TOPICS) is None


def test_what_sml_export_wrote_comes_back_with_its_table(log: Log, tmp_path: Path) -> None:
    log.append(examples(200))
    learn_all(log, tmp_path, SPEC)
    weights = newest_weights(log, TOPICS)[1]
    write_safetensors(tmp_path, weights)
    (tmp_path / "new").mkdir()

    with opened(tmp_path / "new"):
        import_model(settings(tmp_path / "new"), tmp_path / "model.safetensors", None)

    begun = next(Checkpoints(tmp_path / "new/checkpoints", 1).imported.newest_first()).restore().model.weights
    assert (begun.dense == weights.dense).all()
    for own, other in ((begun.keys, weights.keys), (begun.rows, weights.rows)):
        assert (own[begun.by_key()] == other[weights.by_key()]).all()


def nan(array: torch.Tensor) -> torch.Tensor:
    array = array.clone()
    array.view(-1)[1] = float("nan")
    return array


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda state: state.pop("skip.1.meta"), r"tensor skip.1.meta: got none, expected float32 of shape \(4, 4\)"),
        (lambda state: state.update(extra=torch.zeros(2)), "tensor extra: this model has none of that name"),
        (
            lambda state: state.update(output=torch.zeros(5)),
            r"tensor output: got float32 of shape \(5,\), expected float32 of shape \(4,\)",
        ),
        (lambda state: state.update(output=torch.zeros(4).double()), "tensor output: got torch.float64, expected torch.float32"),
        (
            lambda state: state.update({"tower.0.weight": nan(state["tower.0.weight"])}),
            "tensor tower.0.weight: got a number that is not finite",
        ),
        (lambda state: state.update(epoch=3), "tensor epoch: got int, expected torch.float32"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(
    log: Log, tmp_path: Path, network: Any, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    state = dict(network.state_dict())
    change(state)
    torch.save(state, tmp_path / "model.pt")

    with pytest.raises((ImportedModelError, TensorFileError), match=said):
        import_model(settings(tmp_path), tmp_path / "model.pt", None)

    assert not (tmp_path / "checkpoints").exists()
    assert newest_version(log, TOPICS) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"field": ["user", "shop", *["item"] * 48]}, "row 1: field: got 'shop', expected one of user, item, price"),
        ({"field": ["user", "price", *["item"] * 48]}, "row 1: id: field 'price': got '1', expected a value with a row of its own"),
        ({"id": ["1", "1", *map(str, range(2, 50))]}, "row 1: id: got '1' of user again, expected it in row 0 only"),
        ({"embedding": [[1.0] * 3] * 50}, r"row 0: embedding: got float32 of shape \(3,\), expected float32 of shape \(4,\)"),
        (
            {"embedding": [*table()["embedding"][:7], [1.0, 2.0, 3.0, float("inf")], *table()["embedding"][8:]]},
            "row 7: embedding: got a number",
        ),
        ({"wide": [None, *[0.0] * 49]}, "row 0: wide: got a number that is not finite"),
    ],
)
def test_a_row_that_does_not_fit_is_named(
    log: Log, tmp_path: Path, files: tuple[Path, Path], changes: dict[str, list[Any]], said: str
) -> None:
    write_rows(files[1], changes)

    with pytest.raises(ImportedModelError, match=said):
        import_model(settings(tmp_path), *files)

    assert newest_version(log, TOPICS) is None


def test_a_table_too_small_for_the_rows_is_refused_by_how_many(tmp_path: Path, files: tuple[Path, Path]) -> None:
    small = SPEC.model_copy(update={"table": SPEC.table.model_copy(update={"capacity": 48})})

    with pytest.raises(ImportedModelError, match=r"table.capacity: got 48, of which \d+ of 50 rows find their set full"):
        import_model(settings(tmp_path, small), *files)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


def test_nothing_in_a_checkpoint_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"output": Evil()}, protocol=2))
    torch.save({"output": Evil()}, tmp_path / "zipped.pt")
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 20)
    save_file({"output": np.zeros(4)}, tmp_path / "double.safetensors")

    for name, said in {
        "plain.pt": "nothing but tensors",
        "zipped.pt": "nothing but tensors",
        "cut.safetensors": "expected a safetensors",
    }.items():
        with pytest.raises(TensorFileError, match=said):
            import_model(settings(tmp_path), tmp_path / name, None)
    with pytest.raises(ImportedModelError, match=r"tensor tower.0.weight: got none"):
        import_model(settings(tmp_path), tmp_path / "double.safetensors", None)
    assert not (tmp_path / "evil").exists()
