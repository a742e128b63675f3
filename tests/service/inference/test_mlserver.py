"""What mlserver 1.7 takes a request and an answer to be, by its own types: requests that they write are answered, and they read each answer.

mlserver wants a FastAPI of before 0.116, so it can't be installed beside this server. Its types need pydantic alone: they are taken from its
wheel, which nothing else of mlserver is run of.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.deploy.composition import PROGRAMS

WHEEL = "mlserver==1.7.1 --hash=sha256:d2ac7502915bb5311343a878aa1fb614f9b0f2436ee550a6137c1872a4dca193"
USERS, PRICES = ["u1", "ü", ""], [0.5, 12.0, 3.25]


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Yield ``mlserver.types``, below a package that is empty but for it."""
    folder = tmp_path_factory.mktemp("mlserver")
    (folder / "wanted.txt").write_text(WHEEL)
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--python", sys.executable, "--target", str(folder)]
    subprocess.run([PROGRAMS / "uv", "pip", "install", *options, "--requirement", folder / "wanted.txt"], check=True)
    with pytest.MonkeyPatch.context() as patch:
        package = ModuleType("mlserver")
        package.__path__ = [str(folder / "mlserver")]
        patch.setitem(sys.modules, "mlserver", package)
        yield import_module("mlserver.types")
        for name in [name for name in sys.modules if name.startswith("mlserver.")]:
            del sys.modules[name]


def test_what_its_types_ask_is_predicted_as_v1_predicts_it_and_they_read_the_answer(client: TestClient, types: Any) -> None:
    inputs = [
        types.RequestInput(name="user", shape=[3], datatype="BYTES", data=types.TensorData(USERS), parameters={"content_type": "str"}),
        types.RequestInput(name="price", shape=[3], datatype=types.Datatype.FP64, data=types.TensorData(PRICES)),
    ]
    request = types.InferenceRequest(id="42", inputs=inputs, outputs=[types.RequestOutput(name="probability")], parameters={"time": 0})

    said = client.post("/v2/models/sml/infer", content=request.model_dump_json())

    rows = [{"id": n, "user": user, "price": price} for n, (user, price) in enumerate(zip(USERS, PRICES, strict=True))]
    expected = client.post("/v1/predict", json={"candidates": rows, "time": 0}).json()["predictions"]
    answer = types.InferenceResponse.model_validate_json(said.content, strict=False)
    assert (answer.id, answer.model_name, answer.model_version) == ("42", "sml", "7")
    assert list(answer.outputs[0].data) == [each["probability"] for each in expected]
    assert (answer.outputs[0].datatype, answer.outputs[0].shape) == ("FP64", [3])


def test_its_types_read_metadata_and_errors_and_lose_nothing_of_them(client: TestClient, types: Any) -> None:
    read = {
        "/v2": types.MetadataServerResponse,
        "/v2/models/sml": types.MetadataModelResponse,
        "/v2/models/sml/versions/7": types.MetadataModelResponse,
        "/v2/models/ctr": types.MetadataModelErrorResponse,
    }
    for path, kind in read.items():
        said = client.get(path).json()
        assert json.loads(kind.model_validate(said).model_dump_json()) == said

    refused = client.post("/v2/models/sml/infer", json={"inputs": []}).json()
    assert types.InferenceErrorResponse.model_validate(refused).error == refused["error"] != ""
