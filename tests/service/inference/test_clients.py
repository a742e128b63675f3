"""The protocol's official clients, over HTTP and gRPC, against a server as ``sml serve`` runs it."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as over_grpc
import tritonclient.http as over_http
import trustme
from tritonclient.grpc import service_pb2 as messages, service_pb2_grpc as services
from tritonclient.utils import InferenceServerException

from service.access.keys import create
from service.access.roles import ROLES
from service.listen import server_of
from service.server_settings import AccessSettings, LimitSettings, ServeSettings
from service.settings import Settings, SettingsError
from tests.helpers.ports import free_port
from tests.service.access.serving import serving
from tests.service.access.test_certificates import Certified
from tests.service.fakes import Site

LIMITS = LimitSettings(body=100_000)
VALUES: dict[str, tuple[str, Any]] = {
    "user": ("BYTES", np.array(["u1", "ü", ""], np.object_)),
    "item": ("INT64", np.array([1, -5, 2**40])),
    "price": ("FP64", np.array([0.1, np.nan, -1e300])),
    "tags": ("BYTES", np.array([["a", "b"], ["c", ""], ["", ""]], np.object_)),
}
ROWS: list[dict[str, Any]] = [
    {"id": 0, "user": "u1", "item": 1, "price": 0.1, "tags": ["a", "b"]},
    {"id": 1, "user": "ü", "item": -5, "tags": ["c"]},
    {"id": 2, "item": 2**40, "price": -1e300},
]


class Ports(NamedTuple):
    """Where a server listens."""

    http: int
    grpc: int


@pytest.fixture(scope="module")
def ports() -> Iterator[Ports]:
    """Serve without keys."""
    port = free_port()
    with serving(ServeSettings(grpc_port=port), limits=LIMITS) as (http, _):
        yield Ports(http, port)


@pytest.fixture(params=[over_http, over_grpc], ids=["http", "grpc"])
def client(request: pytest.FixtureRequest, ports: Ports) -> Iterator[tuple[Any, Any]]:
    """Yield each of Triton's clients, and its module."""
    module = request.param
    with module.InferenceServerClient(f"127.0.0.1:{ports.http if module is over_http else ports.grpc}") as client:
        yield client, module


def inputs_of(module: Any, **how: Any) -> list[Any]:
    inputs = []
    for name, (datatype, values) in VALUES.items():
        inputs.append(module.InferInput(name, list(values.shape), datatype))
        inputs[-1].set_data_from_numpy(values, **how)
    return inputs


def expected_of(ports: Ports) -> list[float]:
    answer = httpx.post(f"http://127.0.0.1:{ports.http}/v1/predict", json={"candidates": ROWS, "time": 0}).json()
    return [each["probability"] for each in answer["predictions"]]


def code_of(stub: Any, request: Any, **more: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(request, **more)
    return refused.value.code(), refused.value.details()


def test_tritons_clients_get_the_predictions_of_v1_bit_for_bit(client: tuple[Any, Any], ports: Ports) -> None:
    triton, module = client

    result = triton.infer("sml", inputs_of(module), request_id="42", parameters={"time": 0})
    assert result.as_numpy("probability").tolist() == expected_of(ports)
    assert "42" in str(result.get_response())
    chosen = triton.infer("sml", inputs_of(module), "7", [module.InferRequestedOutput("probability")], parameters={"time": 0})
    assert chosen.as_numpy("probability").tolist() == expected_of(ports)


def test_tritons_clients_read_health_and_metadata(client: tuple[Any, Any]) -> None:
    triton, _ = client

    assert all((triton.is_server_live(), triton.is_server_ready(), triton.is_model_ready("sml"), triton.is_model_ready("sml", "7")))
    metadata = str(triton.get_model_metadata("sml"))
    assert all(name in metadata for name in ("user", "item", "price", "tags", "probability", "FP64", "BYTES"))
    assert "sml-online" in str(triton.get_server_metadata())


def test_tritons_clients_are_told_what_is_wrong(client: tuple[Any, Any]) -> None:
    triton, module = client
    wrong = module.InferInput("uzer", [1], "BYTES")
    wrong.set_data_from_numpy(np.array(["u1"], np.object_))

    for model, version, inputs, said in (
        ("sml", "", [wrong], "inputs[0].name: got 'uzer', expected of user, item, price, tags"),
        ("ctr", "", inputs_of(module), "model: got 'ctr', expected 'sml'"),
        ("sml", "6", inputs_of(module), "version: got '6', expected '7'"),
    ):
        with pytest.raises(InferenceServerException) as refused:
            triton.infer(model, inputs, version)
        assert said in refused.value.message()


def test_json_without_bytes_is_taken_and_given_over_http_too(ports: Ports) -> None:
    finite = {name: values for name, values in VALUES.items() if name != "price"}
    inputs = [over_http.InferInput(name, list(values.shape), datatype) for name, (datatype, values) in finite.items()]
    for each in inputs:
        each.set_data_from_numpy(finite[each.name()][1], binary_data=False)

    with over_http.InferenceServerClient(f"127.0.0.1:{ports.http}") as triton:
        output = over_http.InferRequestedOutput("probability", binary_data=False)
        result = triton.infer("sml", inputs, outputs=[output], request_compression_algorithm="gzip", parameters={"time": 0})

    rows = [{name: value for name, value in row.items() if name != "price"} for row in ROWS]
    answer = httpx.post(f"http://127.0.0.1:{ports.http}/v1/predict", json={"candidates": rows, "time": 0}).json()
    assert result.as_numpy("probability").tolist() == [each["probability"] for each in answer["predictions"]]


KSERVE = """
import asyncio, sys
import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def main(http, grpc):
    user, price = InferInput("user", [2], "BYTES"), InferInput("price", [2], "FP64")
    user.set_data_from_numpy(np.array(["u1", "ü"], np.object_), binary_data=True)
    price.set_data_from_numpy(np.array([0.1, 2.0]), binary_data=True)
    def request():
        return InferRequest("sml", [user, price], parameters={"time": 0})
    rest, found = InferenceRESTClient(RESTConfig(protocol="v2")), InferenceGRPCClient(f"127.0.0.1:{grpc}")
    url = f"http://127.0.0.1:{http}"
    assert await rest.is_server_live(url) and await rest.is_server_ready(url) and await rest.is_model_ready(url, "sml")
    assert await found.is_server_live() and await found.is_server_ready() and await found.is_model_ready("sml")
    for answer in (await rest.infer(url, request(), model_name="sml"), await found.infer(request())):
        print(answer.outputs[0].as_numpy().tolist())
    await rest.close(), await found.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_kserves_clients_get_the_predictions_of_v1(ports: Ports) -> None:
    # In a process of its own: its messages and Triton's bear the same names.
    command = [sys.executable, "-c", KSERVE, str(ports.http), str(ports.grpc)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    body = {"candidates": [{"id": 0, "user": "u1", "price": 0.1}, {"id": 1, "user": "ü", "price": 2}], "time": 0}
    answer = httpx.post(f"http://127.0.0.1:{ports.http}/v1/predict", json=body).json()
    assert said.stdout.splitlines() == [str([each["probability"] for each in answer["predictions"]])] * 2, said.stderr


@pytest.mark.parametrize(
    ("datatype", "contents", "value"),
    [
        ("BOOL", {"bool_contents": [True]}, True),
        ("INT8", {"int_contents": [-5]}, -5),
        ("INT64", {"int64_contents": [2**40]}, 2**40),
        ("UINT16", {"uint_contents": [5]}, 5),
        ("UINT64", {"uint64_contents": [2**63]}, 2**63),
        ("FP32", {"fp32_contents": [0.5]}, 0.5),
        ("FP64", {"fp64_contents": [0.1]}, 0.1),
        ("FP64", {"fp64_contents": [float("nan")]}, None),
        ("BYTES", {"bytes_contents": [b"0.1"]}, "0.1"),
    ],
)
def test_contents_of_every_type_come_over_grpc_one_by_one_too(ports: Ports, datatype: str, contents: dict[str, Any], value: Any) -> None:
    price = messages.ModelInferRequest.InferInputTensor(name="price", datatype=datatype, shape=[1], contents=contents)
    request = messages.ModelInferRequest(model_name="sml", inputs=[price])
    request.parameters["time"].int64_param = 0
    answer = httpx.post(f"http://127.0.0.1:{ports.http}/v1/predict", json={"candidates": [{"id": 0, "price": value}], "time": 0}).json()

    with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        reply = services.GRPCInferenceServiceStub(channel).ModelInfer(request)

    assert np.frombuffer(reply.raw_output_contents[0]).tolist() == [answer["predictions"][0]["probability"]]


def test_what_an_adversary_sends_over_grpc_is_refused_and_the_next_is_answered(ports: Ports) -> None:
    tensor, status = messages.ModelInferRequest.InferInputTensor, grpc.StatusCode

    def asking(*inputs: Any, raw: list[bytes] | None = None) -> Any:
        return messages.ModelInferRequest(model_name="sml", inputs=inputs, raw_input_contents=raw)

    price = tensor(name="price", datatype="FP64", shape=[1], contents={"fp64_contents": [1.0]})
    with grpc.insecure_channel(f"127.0.0.1:{ports.grpc}") as channel:
        stub = services.GRPCInferenceServiceStub(channel)
        refusals = [
            code_of(stub, asking(tensor(name="user", datatype="BYTES", shape=[1]), raw=[b"x" * 200_000])),
            code_of(stub, asking(price), compression=grpc.Compression.Gzip),
            code_of(stub, asking(tensor(name="price", datatype="FP64", shape=[-1]), raw=[b"\0" * 8])),
            code_of(stub, asking(tensor(name="price", datatype="FP64", shape=[2**62, 4]), raw=[b"\0" * 8])),
            code_of(stub, asking(*(tensor(name=str(n), datatype="BYTES", shape=[1]) for n in range(1_001)))),
            code_of(stub, asking(price, price, raw=[b"\0" * 8])),
            code_of(stub, asking(tensor(name="price", datatype="INT8", shape=[1], contents={"int_contents": [300]}))),
            code_of(stub, asking(tensor(name="price", datatype="FP16", shape=[1]))),
            code_of(stub, asking()),
            code_of(stub, messages.ModelInferRequest(model_name="../../v1/users/u1", inputs=[price])),
        ]
        with pytest.raises(grpc.RpcError) as other_path:
            stub.ModelMetadata(messages.ModelMetadataRequest(name="sml/ready"))
        assert stub.ModelInfer(asking(price)).model_version == "7"
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelConfig(messages.ModelConfigRequest(name="sml"))

    assert (refused.value.code(), other_path.value.code()) == (status.UNIMPLEMENTED, status.NOT_FOUND)
    assert [code for code, _ in refusals] == [
        status.RESOURCE_EXHAUSTED,
        status.UNIMPLEMENTED,
        *[status.INVALID_ARGUMENT] * 7,
        status.NOT_FOUND,
    ]
    said = ["price.shape: got [-1]", "price.shape: got [46", "inputs: got 1,001", "raw_input_contents: got 1, expected 2", "price.contents: ", "price.datatype: got 'FP16'", "inputs: "]  # fmt: skip
    assert all(expected in found for expected, (_, found) in zip(said, refusals[2:], strict=False)), refusals


def test_calls_that_are_begun_and_not_ended_hold_up_nobody_and_are_cut_off() -> None:
    port, stop = free_port(), threading.Event()

    def nothing() -> Iterator[bytes]:
        stop.wait(30)
        yield from ()

    with (
        serving(ServeSettings(grpc_port=port), limits=LimitSettings(receive_timeout=0.5)),
        grpc.insecure_channel(f"127.0.0.1:{port}") as held,
    ):
        calls = [held.stream_unary("/inference.GRPCInferenceService/ServerLive").future(nothing()) for _ in range(100)]
        with over_grpc.InferenceServerClient(f"127.0.0.1:{port}") as triton:
            assert triton.is_server_live()
        codes = {call.exception(20).code() for call in calls}
        stop.set()

    assert codes == {grpc.StatusCode.UNAVAILABLE}


def test_over_grpc_too_a_key_needs_its_role_and_has_its_allowance_and_requests_are_counted(tmp_path: Path) -> None:
    files, keys, port = Certified(tmp_path), tmp_path / "keys.json", free_port()
    predict, read = (create(keys, [role])[0] for role in ROLES[::3])
    serve = ServeSettings(certfile=str(files.server), client_ca=str(files.ca), grpc_port=port)
    limits = LimitSettings(requests_per_second=1)
    identity = files.authority.issue_cert("client")
    chain, key = b"".join(each.bytes() for each in identity.cert_chain_pems), identity.private_key_pem.bytes()
    authority, request = files.ca.read_bytes(), messages.ModelInferRequest(model_name="sml")

    with serving(serve, AccessSettings(keys=str(keys)), limits) as (_, site):
        with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(authority, key, chain)) as channel:
            stub = services.GRPCInferenceServiceStub(channel)
            codes = [code_of(stub, request, metadata=[("authorization", f"Bearer {key}")])[0] for key in ("x", read, *[predict] * 9)]
            wrong = messages.ModelInferRequest(model_name="sml", raw_input_contents=[b"for no input"])
            nobody = code_of(stub, wrong)[0]  # who has no key is not told what is wrong with a message: it was not looked at
        with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(authority)) as stranger:
            without = code_of(services.GRPCInferenceServiceStub(stranger), request, timeout=5)[0]
        counted = site.app.state.service.exported.get_sample_value

    status = grpc.StatusCode
    assert codes[:3] == [status.UNAUTHENTICATED, status.PERMISSION_DENIED, status.INVALID_ARGUMENT]
    assert {*codes[3:]} >= {status.RESOURCE_EXHAUSTED}
    assert (nobody, without) == (status.UNAUTHENTICATED, status.UNAVAILABLE)
    labels = {"route": "/v2/models/{model}/infer", "status": "400"}
    assert counted("sml_server_requests_total", labels) == codes.count(status.INVALID_ARGUMENT)


def test_a_certificate_of_grpc_is_replaced_without_a_restart(tmp_path: Path) -> None:
    files, port = Certified(tmp_path), free_port()

    def answers() -> bool:
        with grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(files.ca.read_bytes())) as channel:
            return bool(services.GRPCInferenceServiceStub(channel).ServerLive(messages.ServerLiveRequest()).live)

    with serving(ServeSettings(certfile=str(files.server), grpc_port=port)):
        assert answers()
        files.authority = trustme.CA()
        files.authority.cert_pem.write_to_path(str(files.ca))
        files.renew()

        assert answers()
        files.server.write_text("no certificate")
        assert answers()


def test_a_port_that_is_taken_and_an_extra_that_is_not_there_are_said_at_start(ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(serve=ServeSettings(port=free_port(), grpc_port=ports.grpc))
    with pytest.raises(SettingsError, match=r"serve.grpc_port: got .*expected a free port"):
        server_of(Site().app, settings).run()
    monkeypatch.setitem(sys.modules, "service.grpc.server", None)
    with pytest.raises(SettingsError, match=r"expected the extra sml-online\[grpc\]"):
        server_of(Site().app, settings)
