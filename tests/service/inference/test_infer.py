"""``/v2``: the same prediction as ``/v1/predict``, bit for bit, and an error that names the field, what came and what was expected."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings, strategies as st

from service.access.callers import Callers
from service.access.guard import Access
from service.access.roles import Caller
from service.api.inference.tensors import DATATYPES
from tests.service.api.test_arms import OF_ARMS, ArmsSite, users_of
from tests.service.fakes import HOUR, TRAINED_THROUGH, Site, trained

INFER = "/v2/models/sml/infer"


def tensor(name: str, datatype: str, values: list[Any], shape: list[int] | None = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(values)], "data": values} | more


def texts(*values: str | bytes) -> bytes:
    encoded = [value if isinstance(value, bytes) else value.encode() for value in values]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)


def infer(client: TestClient, *inputs: dict[str, Any], **more: Any) -> Any:
    return client.post(INFER, json={"inputs": inputs} | more)


def binary(client: TestClient, raw: bytes, *inputs: dict[str, Any], length: int | str | None = None, **more: Any) -> Any:
    content = json.dumps({"inputs": inputs} | more).encode()
    headers = {"inference-header-content-length": str(len(content) if length is None else length)}
    return client.post(INFER, content=content + raw, headers=headers)


def probabilities(answer: Any) -> list[float]:
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("probability", "FP64", [len(output["data"])])
    data: list[float] = output["data"]
    return data


def predicted(client: TestClient, candidates: list[dict[str, Any]], context: dict[str, Any] | None = None, time: int = 0) -> list[float]:
    """Return what ``/v1/predict`` says."""
    rows = [{"id": n} | row for n, row in enumerate(candidates)]
    answer = client.post("/v1/predict", json={"context": context or {}, "candidates": rows, "time": time})
    return [each["probability"] for each in answer.json()["predictions"]]


VALUES = {
    "user": st.sampled_from(["u0", "u1", "", "ü", "5"]),
    "item": st.sampled_from([0, 1, 5, -(2**63), 2**63 - 1]),
    "price": st.one_of(st.none(), st.floats(allow_infinity=False, allow_nan=False)),
    "tags": st.lists(st.sampled_from(["a", "b", "c", ""]), min_size=2, max_size=2),
}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=5), st.sets(st.sampled_from([*VALUES])), st.integers(0, 48))
def test_each_kind_of_field_is_predicted_as_v1_predicts_it_bit_for_bit_as_json_and_as_bytes(
    client: TestClient, rows: list[dict[str, Any]], missing: set[str], hour: int
) -> None:
    named = [name for name in VALUES if name not in missing] or ["user"]
    rows = [{name: row[name] for name in named} for row in rows]
    datatypes = {"user": "BYTES", "item": "INT64", "price": "FP64", "tags": "BYTES"}
    inputs, raw, sized = [], b"", []
    for name in named:
        values = [row[name] for row in rows]
        shape = [len(rows), 2] if name == "tags" else [len(rows)]
        inputs.append(tensor(name, datatypes[name], values, shape))
        flat = [part for value in values for part in value] if name == "tags" else values
        numbers = {"item": "<i8", "price": "<f8"}
        data = np.array([np.nan if each is None else each for each in flat], numbers[name]).tobytes() if name in numbers else texts(*flat)
        sized.append({key: inputs[-1][key] for key in ("name", "datatype", "shape")} | {"parameters": {"binary_data_size": len(data)}})
        raw += data
    time = {"time": hour * HOUR}
    expected = predicted(client, rows, time=hour * HOUR)

    assert probabilities(infer(client, *inputs, parameters=time)) == expected
    assert probabilities(binary(client, raw, *sized, parameters=time)) == expected
    answer = binary(client, raw, *sized, parameters=time | {"binary_data_output": True})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert np.frombuffer(answer.content[int(answer.headers["inference-header-content-length"]) :], "<f8").tolist() == expected


@pytest.mark.parametrize("datatype", ["BYTES", *DATATYPES])
def test_a_number_is_the_same_feature_in_every_datatype(client: TestClient, datatype: str) -> None:
    value: Any = {"BYTES": "1", "BOOL": True}.get(datatype, 1)
    expected = predicted(client, [{"price": 1, "item": "true" if datatype == "BOOL" else 1}])

    inputs = [tensor(name, datatype, [value]) for name in ("price", "item")]
    assert probabilities(infer(client, *inputs, parameters={"time": 0})) == expected
    raw = texts("1") if datatype == "BYTES" else np.array([1], DATATYPES[datatype]).tobytes()
    sized = [{"name": name, "datatype": datatype, "shape": [1], "parameters": {"binary_data_size": len(raw)}} for name in ("price", "item")]
    assert probabilities(binary(client, raw * 2, *sized, parameters={"time": 0})) == expected


def test_a_tensor_of_one_is_for_all_candidates_alike_and_a_list_may_be_one_text(client: TestClient) -> None:
    items = [{"item": f"i{n}"} for n in range(3)]
    expected = predicted(client, items, {"user": "u1", "tags": ["a", "b"]})

    item, user = tensor("item", "BYTES", ["i0", "i1", "i2"]), tensor("user", "BYTES", ["u1"])
    for tags in (tensor("tags", "BYTES", ["a,b"]), tensor("tags", "BYTES", ["a", "b"], [1, 2])):
        assert probabilities(infer(client, item, user, tags, parameters={"time": "1970-01-01T00:00:00Z"})) == expected


def test_the_answer_names_the_model_its_version_and_what_it_was_asked_under(client: TestClient) -> None:
    answer = infer(client, tensor("user", "BYTES", ["u1"]), id="42", outputs=[{"name": "probability"}]).json()

    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("sml", "7", "42")
    assert answer["parameters"]["trained_through"] == TRAINED_THROUGH
    assert answer["parameters"]["staleness_seconds"] >= 0


def test_metadata_names_every_field_with_its_datatype_and_shape(client: TestClient) -> None:
    answer = client.get("/v2/models/sml").json()

    inputs = {each["name"]: (each["datatype"], each["shape"]) for each in answer["inputs"]}
    numbers = ("FP64", [-1])
    assert inputs == {"user": ("BYTES", [-1]), "item": ("BYTES", [-1]), "price": numbers, "tags": ("BYTES", [-1, -1])}
    assert answer["outputs"] == [{"name": "probability", "datatype": "FP64", "shape": [-1]}]
    assert client.get("/v2/models/sml/versions/7").json() == answer
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]


def test_what_is_not_served_is_not_found(client: TestClient) -> None:
    for path, said in {
        "/v2/models/ctr": "'ctr', expected 'sml'",
        "/v2/models/sml/versions/6": "'6', expected '7'",
        "/v2/x": "Not Found",
    }.items():
        answer = client.get(path)
        assert answer.status_code == 404
        assert said in answer.json()["error"]
    assert client.get(INFER).json()["error"].startswith("GET is not among")


def test_health_is_told_before_and_after_weights_come(site: Site) -> None:
    with site.client() as client:
        before = {path: client.get(f"/v2/{path}").status_code for path in ("health/live", "health/ready", "models/sml/ready", "models/sml")}
        site.follower.publish(7, trained())
        after = [client.get(f"/v2/{path}").json() for path in ("health/live", "health/ready", "models/sml/ready")]

    assert before == {"health/live": 200, "health/ready": 503, "models/sml/ready": 503, "models/sml": 503}
    assert after == [{"live": True}, {"ready": True}, {"ready": True}]


PRICE = {"name": "price", "datatype": "FP64", "shape": [2]}


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([tensor("uzer", "BYTES", ["u1"])], "inputs[0].name: got 'uzer', expected of user, item, price, tags"),
        ([tensor("hour", "INT64", [3])], "inputs[0].name: got 'hour'"),
        ([tensor("user", "BYTES", ["u1"])] * 2, "inputs[1].name: got 'user', expected each once"),
        ([tensor("price", "FP128", [1])], "price.datatype: got 'FP128', expected one of BYTES, BOOL"),
        ([tensor("price", "FP64", [1], [-1])], "price.shape: got [-1], expected [N] with N from 1 to 1,000"),
        ([tensor("price", "FP64", [], [0])], "price.shape: got [0]"),
        ([tensor("price", "FP64", [1], [2**32, 2**32])], "price.shape: got [4294967296, 4294967296]"),
        ([tensor("tags", "BYTES", ["a"], [2**63, 2])], "tags.shape: got [9223372036854775808, 2]"),
        ([tensor("tags", "BYTES", ["a"], [1, 1_001])], "tags.shape: got [1, 1001], expected [N] with N from 1 to 1,000, or [N, K] with K"),
        ([tensor("price", "FP64", [1, 2], [3])], "price.data: got 2 values, expected 3, as its shape [3] says"),
        ([tensor("price", "FP64", [1, 2]), tensor("user", "BYTES", ["a"] * 3)], "price.shape[0]: got 2, expected 3"),
        ([tensor("price", "FP64", [1, "x"])], "price.data[1]: got 'x', expected numbers in FP64"),
        ([tensor("price", "INT8", [300])], "price.data[0]: got 300, expected INT8"),
        ([tensor("price", "INT64", [1.5])], "price.data[0]: got 1.5, expected whole numbers in INT64"),
        ([tensor("price", "FP32", [1e300])], "price[0]: expected a finite number, got inf"),
        ([tensor("price", "BYTES", ["much"])], "price[0]: expected a finite number, got 'much'"),
        ([tensor("item", "FP32", [0.1])], "item: got 0.10000000149011612, expected whole numbers in FP32"),
        ([tensor("user", "BYTES", [1])], "user.data[0]: got 1, expected texts in BYTES"),
        ([tensor("user", "BYTES", ["u" * 10_001])], "inputs[0].data"),
        ([PRICE], "price.data: got none, expected data, or binary_data_size"),
        ([tensor("price", "FP64", [1], parameters={"binary_data_size": 8})], "inputs[0].parameters.binary_data_size: got 8"),
        ([{"name": f"n{n}", "datatype": "BYTES", "shape": [1], "data": [""]} for n in range(1_001)], "inputs: Expected `array` of length <= 1000"),
        ([], "inputs: Expected `array` of length >= 1"),
        ([tensor("user", "BYTES", ["u1"]), tensor("tags", "BYTES", ["t"] * 500, [1, 500]), tensor("item", "BYTES", ["i"] * 1_000)], "inputs: the lists hold 500,000 values"),
    ],
)  # fmt: skip
def test_what_a_field_does_not_take_is_refused_with_its_name_what_came_and_what_was_expected(
    client: TestClient, inputs: list[dict[str, Any]], said: str
) -> None:
    answer = infer(client, *inputs)

    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"inputs": [{"name": "user", "datatype": "BYTES", "shape": [1], "data": ["a"], "data": ["b"]}]}', "data: this key stands twice"),
        (b'{"inputs": ' + b"[" * 100_000, "inputs[0]: Expected `object`"),
        (b"\xff", "body"),
        (b'{"input": []}', "missing required field `inputs`"),
        (b'{"inputs": [{"name": "user", "datatype": "BYTES", "shape": [1], "data": [""]}], "x": ' + b"[" * 100_000, "body"),
    ],
)
def test_a_body_that_is_no_request_is_refused(client: TestClient, body: bytes, said: str) -> None:
    answer = client.post(INFER, content=body)

    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"outputs": [{"name": "logit"}]}, "outputs[0].name: got 'logit', expected 'probability'"),
        ({"parameters": {"time": 10**18}}, "parameters.time: got '1000000000000000000', expected epoch milliseconds"),
        ({"parameters": {"time": True}}, "parameters.time: got 'True'"),
    ],
)
def test_what_is_asked_for_beside_the_inputs_is_checked(client: TestClient, more: dict[str, Any], said: str) -> None:
    answer = infer(client, tensor("user", "BYTES", ["u1"]), **more)

    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("raw", "given", "length", "said"),
    [
        (b"\0" * 15, {"binary_data_size": 16}, None, "inputs[0].parameters.binary_data_size: got 16, expected a number of bytes up to 15"),
        (b"\0" * 16, {"binary_data_size": -1}, None, "got -1, expected a number of bytes"),
        (b"\0" * 16, {"binary_data_size": 2**62}, None, f"got {2**62}, expected a number of bytes"),
        (b"\0" * 15, {"binary_data_size": 15}, None, "price.data: got 15 bytes, expected 16, as FP64 of shape [2] has"),
        (b"\0" * 17, {"binary_data_size": 16}, None, "body: got 17 bytes after the JSON, expected 16"),
        (b"\0" * 16, {"binary_data_size": 16}, 10**30, "Inference-Header-Content-Length: got '1000000000000000000000000000000'"),
        (b"\0" * 16, {"binary_data_size": 16}, -1, "Inference-Header-Content-Length: got '-1'"),
        (b"\0" * 16, {"binary_data_size": 16}, 3, "body"),
    ],
)
def test_bytes_that_are_not_what_the_json_says_are_refused(
    client: TestClient, raw: bytes, given: dict[str, int], length: int | None, said: str
) -> None:
    answer = binary(client, raw, PRICE | {"parameters": given}, length=length)

    assert answer.status_code == 400
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    "raw", [b"\xff\xff\xff\xff", texts("a"), texts("a", "b", "c"), texts("a", "b")[:-1], texts("a", b"\xff"), texts("a", "b" * 10_001)]
)
def test_texts_that_end_before_or_after_their_bytes_or_are_none_are_refused(client: TestClient, raw: bytes) -> None:
    user = {"name": "user", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(raw)}}

    answer = binary(client, raw, user)

    assert answer.status_code == 400
    assert answer.json()["error"].startswith("user.data")


def test_what_is_answered_and_refused_below_v2_is_in_what_the_console_shows(client: TestClient, site: Site) -> None:
    infer(client, tensor("user", "BYTES", ["u1"]))
    infer(client, tensor("uzer", "BYTES", ["u1"]))

    history = site.app.state.service.history
    assert history._requests() == (1, 1, 0)
    assert history._buckets()[float("inf")] == 2


def test_the_unit_of_all_candidates_decides_the_arm_as_in_v1() -> None:
    site = ArmsSite()
    with site.client(**OF_ARMS) as client:
        for arm in ("control", "treatment"):
            (user,) = users_of(site, arm, 1)
            answer = infer(client, tensor("user", "BYTES", [user] * 2), tensor("item", "BYTES", ["i1", "i2"]), parameters={"time": 0})

            v1 = client.post(
                "/v1/predict", json={"context": {"user": user}, "candidates": [{"id": 1, "item": "i1"}, {"id": 2, "item": "i2"}], "time": 0}
            ).json()
            assert probabilities(answer) == [each["probability"] for each in v1["predictions"]]
            said = answer.json()["parameters"]
            assert {name: said[name] for name in v1["served"]} == v1["served"]
            assert said["arm"] == arm
        several = infer(client, tensor("user", "BYTES", ["u1", "u2"])).json()["parameters"]
        assert (several["arm"], "unit" in several) == ("control", False)


def test_the_guard_asks_for_the_role_predict_and_refuses_in_the_protocols_form() -> None:
    class Known(Callers):
        open = False

        def known(self, credential: str) -> Caller | None:
            return Caller("key:1", frozenset({credential}))

    site = Site(access=Access.unlimited()._replace(callers=Known()))
    with site.client() as client:
        site.follower.publish(7, trained())
        body = {"inputs": [tensor("user", "BYTES", ["u1"])]}
        roles = {role: client.post(INFER, json=body, headers={"x-api-key": role}) for role in ("predict", "read")}
        forced = client.post(INFER, json=body, headers={"x-api-key": "predict", "x-sml-arm": "control"})

        assert (roles["predict"].status_code, roles["read"].status_code, forced.status_code) == (200, 403, 403)
        assert "'predict'" in roles["read"].json()["error"]
        assert "error" in client.post(INFER, json=body).json()
        assert client.get("/v2/models/sml").status_code == 401
        assert client.get("/v2/health/ready").status_code == 200
