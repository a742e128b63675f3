"""An exported model predicts what the server answers, in the official runtime of its format, whatever the network; no file is a pickle."""

import ast
import importlib.util
import json
import re
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from typer.testing import CliRunner

from model.encoding.features import Encoder
from model.online import OnlineModel
from model.settings import Field, ModelSettings, Spec, TableSettings
from model.weights import Weights
from service.cli import app
from service.export.folder import ENCODER, encoder_source, write_common
from service.export.graph import program, write_onnx, write_torch
from stream.weights.chunks import WeightsHeader
from tests.helpers.full_disk import full_disk
from tests.service.fakes import Site
from tests.service.schemas import fits

PICKLES = (b"PK\x03\x04", *(b"\x80%c" % protocol for protocol in range(2, 6)))  # how what torch.save writes, and a pickle, begin
START = 1_760_000_000_000
FIELDS = (
    Field(name="user"),
    Field(name="price", kind="numeric", tiles=4),
    Field(name="score", kind="numeric", tiles=2, bucket_width=0.1),
    Field(name="tags", kind="multi"),
    Field(name="hour", kind="hour"),
    Field(name="weekday", kind="weekday"),
    Field(name="user:tags", kind="cross", of=("user", "tags")),
    Field(name="liked", kind="multi", separator=" "),
    Field(name="liked&tags", kind="overlap", of=("liked", "tags")),
)
NETWORKS: dict[str, dict[str, Any]] = {
    "dnn": {"skip": "meta_tanh_online", "records": True, "base_rate": True},
    "dcn": {"skip": "none", "wide": False, "cross_layers": 1},
    "dcn_v2": {"skip_cross": True, "cross_layers": 1, "records": True, "skip_input": "post"},
    "deepfm": {"skip": "weight_tanh", "base_rate": True},
    "xdeepfm": {"cin": (4,), "records": True},
    "autoint": {"attention": (2,), "heads": 2, "records": True},
}


def candidates(random: np.random.Generator, count: int) -> list[dict[str, Any]]:
    """Make up candidates, of which some features are missing, null, or have values never seen."""
    made = []
    for n in range(count):
        tags: list[str] = [f"t{tag}" for tag in random.integers(20, size=random.integers(4))]
        features: dict[str, Any] = {"user": int(random.integers(80)), "price": round(float(random.normal(3, 9)), 2), "tags": tags}
        features["liked"] = " ".join(f"t{tag}" for tag in random.integers(20, size=random.integers(9)))
        features["score"] = round(float(random.normal()), 3)
        features = {name: value for name, value in features.items() if random.random() > 0.1}
        made.append({"id": n} | features | ({"user": None} if random.random() < 0.1 else {}))
    return made


def learned(network: str, policy: str) -> Weights:
    settings = ModelSettings.model_validate({"network": network, "hidden": (8, 4), "embedding": 4, **NETWORKS[network]})
    spec = Spec(model=settings, table=TableSettings(capacity=256), fields=FIELDS, label_delay=50, label_policy=policy)  # type: ignore[arg-type]
    random = np.random.default_rng(3)
    model = OnlineModel(spec)
    features = Encoder(FIELDS).encode(candidates(random, 1500), range(START, START + 1500)).features
    model.learn(features, (random.random(1500) < 0.3).astype(np.float32))
    model.digest()
    return model.weights


def answered(weights: Weights, asked: list[dict[str, Any]], time: int) -> NDArray[np.float64]:
    """Return what a server answers that has these weights in service."""
    site = Site()
    with site.client() as client:
        site.follower.publish(7, weights)
        answer = client.post("/v1/predict", json={"candidates": asked, "time": time}).json()
    return np.array([each["probability"] for each in answer["predictions"]])


def header(weights: Weights) -> WeightsHeader:
    return WeightsHeader(7, None, weights.digest(), 1500, START, START)


def inputs(folder: Path, asked: list[dict[str, Any]], time: int) -> Any:
    """Encode candidates by the folder's own encoder, as a module of its own."""
    spec = importlib.util.spec_from_file_location("exported_encoder", folder / ENCODER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.RowEncoder.load(folder).encode(asked, [time] * len(asked))


@pytest.mark.parametrize("network", NETWORKS)
def test_onnx_and_torch_predict_what_the_server_answers(network: str, tmp_path: Path) -> None:
    weights = learned(network, "fnc" if network == "dcn" else "window")
    asked, time = candidates(np.random.default_rng(4), 1000), START + 1480
    expected = answered(weights, asked, time)
    exported = program(weights)
    write_common(tmp_path, header(weights), weights, "onnx")
    write_onnx(tmp_path, exported)
    write_torch(tmp_path, exported)
    given = inputs(tmp_path, asked, time)

    (by_onnx,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, given._asdict())
    with torch.no_grad():
        by_torch = torch.export.load(tmp_path / "model.pt2").module()(*map(torch.from_numpy, given)).numpy()

    assert expected.std() > 0.001
    np.testing.assert_allclose(by_onnx, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(by_torch, expected, rtol=0, atol=1e-6)
    alone = inputs(tmp_path, asked[:1], time)
    (single,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(None, alone._asdict())
    np.testing.assert_allclose(single, expected[:1], rtol=0, atol=1e-6)
    onnx.checker.check_model(tmp_path / "model.onnx", full_check=True)
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        assert [name for name in archive.namelist() if archive.read(name).startswith(PICKLES)] == []


def test_the_encoder_is_one_file_that_imports_numpy_and_xxhash_only_and_refuses_what_the_server_refuses(tmp_path: Path) -> None:
    nodes = list(ast.walk(ast.parse(encoder_source())))
    imported = {alias.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module).partition(".")[0] for node in nodes if isinstance(node, ast.ImportFrom)}

    assert imported - sys.stdlib_module_names == {"numpy", "xxhash"}
    weights = learned("dnn", "window")
    write_common(tmp_path, header(weights), weights, "onnx")
    with pytest.raises(ValueError, match=r"example 1: field 'price': got 'dear', expected a finite number"):
        inputs(tmp_path, [{}, {"price": "dear"}], START)
    card = (tmp_path / "README.md").read_text()
    assert all(text in card for text in (weights.digest(), "| `price` | numeric |", "1,500 examples", "`dnn`", "model.onnx"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose log and checkpoints hold a model that has learned twice."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.csv").write_text("item,click,time\n" + "".join(f"i{n % 7},{n % 2},{1000 + n}\n" for n in range(60)))
    (tmp_path / "sml.toml").write_text(
        '[log]\nurl = "sqlite:///log.db"\n[learn]\nmetrics_port = 0\ndirectory = "saved"\n[table]\ncapacity = 64\n'
        '[model]\nhidden = [8, 4]\nembedding = 4\n[data]\nlabel = "click"\ntime = "time"\n[[field]]\nname = "item"\n'
    )
    sml("topics", "create")
    for _ in range(2):
        sml("replay", "rows.csv", "--as", "examples")
        sml("learn", "--until-caught-up")
    return tmp_path


def sml(*words: str, status: int = 0) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == status, done.output
    return done.output


def test_the_command_exports_what_is_served_now_a_past_version_or_a_checkpoint(folder: Path) -> None:
    served = fits("export", json.loads(sml("export", "--format", "safetensors", "-o", "now", "--json").splitlines()[-1]))
    past = json.loads(sml("export", "--format", "safetensors", "-o", "past", "--version", "1", "--json").splitlines()[-1])
    saved = max(folder.glob("saved/*.checkpoint"))
    (folder / "log.db").rename(folder / "gone.db")
    offline = json.loads(sml("export", "--format", "safetensors", "-o", "saved-one", "--checkpoint", str(saved), "--json").splitlines()[-1])

    assert served["digest"] == offline["digest"] != past["digest"]
    arrays, before = load_file(folder / "now/model.safetensors"), load_file(folder / "past/model.safetensors")
    assert {"tower.0.weight", "skip.0.meta", "output", "bias", "table.key", "table.embedding", "table.wide"} <= set(arrays)
    assert len(arrays["table.key"]) == 7
    assert (arrays["output"] != before["output"]).any()
    assert json.loads((folder / "now/model.json").read_text())["digest"] == served["digest"]
    assert "expected an empty one" in sml("export", "--format", "safetensors", "-o", "now", status=1)


@pytest.mark.parametrize("form", ["safetensors", "onnx", "torch"])
def test_on_a_full_disk_an_export_ends_with_a_sentence_and_leaves_its_folder_empty(folder: Path, form: str) -> None:
    saved = max(folder.glob("saved/*.checkpoint"))
    with full_disk(1000):
        said = sml("export", "--format", form, "-o", "full", "--checkpoint", str(saved), status=1)
    assert re.search(r"^sml: \[Errno 27\] File too large: 'full.*'\n\Z", said, re.MULTILINE)
    assert list((folder / "full").iterdir()) == []


def test_mlflow_loads_the_model_by_its_own_call_and_it_predicts_what_the_checkpoint_does(folder: Path) -> None:
    import mlflow.pyfunc  # noqa: PLC0415 - it takes seconds

    (folder / "request.json").write_text('{"candidates": [{"id": 1, "item": "i3"}, {"id": 2}], "time": 5000}')
    expected = [each["probability"] for each in json.loads(sml("predict", "request.json", "--json").splitlines()[-1])["predictions"]]

    sml("export", "--format", "mlflow", "-o", "served")

    with warnings.catch_warnings(action="ignore"):
        model = mlflow.pyfunc.load_model(str(folder / "served"))
        predicted = model.predict(pd.DataFrame([{"item": "i3", "time": 5000}, {"item": None, "time": 5000}]))
    np.testing.assert_allclose(predicted, expected, rtol=0, atol=1e-6)
    names = [path.name for path in (folder / "served").rglob("*") if path.is_file()]
    assert {"MLmodel", "README.md", "model.onnx", ENCODER} <= set(names)
    assert [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".bin"))] == []
