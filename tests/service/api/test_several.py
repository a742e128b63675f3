"""Several models in one server: each is asked by its name, and what befalls one is no other's."""

import contextlib
import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from service.access.bounds.limits import Allowances
from service.access.bounds.turns import Turns
from service.access.callers import Callers
from service.access.guard import Access
from service.access.roles import Caller
from service.api.several import hosting
from service.api.several.front import several
from service.api.several.hosting import Models, Opened
from service.cli.program import named_settings
from service.commands import serve as command
from service.server_settings import ServeSettings
from service.settings import Settings, SettingsError
from stream.log.contract import LogUnavailableError
from stream.log.settings import LogSettings
from tests.helpers.ports import free_port
from tests.service.fakes import Site, trained

ASKED = {"candidates": [{"id": 1, "user": "u1", "item": "i1"}], "time": 0}
INFER = {"inputs": [{"name": "user", "datatype": "BYTES", "shape": [1], "data": ["u1"]}], "parameters": {"time": 0}}


class Two:
    """A server of the models ctr and cvr, each on a fake log, which a test may keep away or let go away."""

    def __init__(self, access: Access | None = None) -> None:
        access = access or Access.unlimited()
        self.sites = {name: Site(access=access, name=name) for name in ("ctr", "cvr")}
        self.error: dict[str, Exception | None] = {"ctr": None, "cvr": None}
        self.app = several({name: self._opening(name) for name in self.sites}, access)

    def _opening(self, name: str) -> Callable[[], Any]:
        @contextlib.contextmanager
        def opened() -> Iterator[Opened]:
            if error := self.error[name]:
                raise error
            app = self.sites[name].app
            yield Opened(app, app.state.service.exported)

        return opened

    @contextlib.contextmanager
    def client(self, *names: str) -> Iterator[TestClient]:
        """Run the server, with weights of these models."""
        with TestClient(self.app, raise_server_exceptions=False) as client:
            for version, name in enumerate(names, 1):
                self.sites[name].follower.publish(version, trained(seed=version))
            yield client


@pytest.fixture
def two() -> Two:
    return Two()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open again at once."""
    monkeypatch.setattr(hosting, "RETRY", 0.01)


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_each_model_answers_by_its_name_and_the_first_where_none_is_named(two: Two) -> None:
    alone = {}
    for version, name in enumerate(("ctr", "cvr"), 1):
        site = Site()
        with site.client() as client:
            site.follower.publish(version, trained(seed=version))
            alone[name] = client.post("/v1/predict", json=ASKED).json()["predictions"][0]["probability"]

    with two.client("ctr", "cvr") as client:
        found = {name: client.post(f"/v1/models/{name}/predict", json=ASKED).json() for name in alone}
        unnamed = client.post("/v1/predict", json=ASKED).json()
        inferred = {name: client.post(f"/v2/models/{name}/infer", json=INFER).json() for name in alone}
        models = client.get("/v1/models").json()["models"]
        states = {name: client.get(f"/v1/models/{name}").json()["version"] for name in alone}

    assert alone["ctr"] != alone["cvr"]
    assert {name: answer["predictions"][0]["probability"] for name, answer in found.items()} == alone
    assert unnamed["predictions"][0]["probability"] == alone["ctr"]
    assert {name: (answer["model_name"], answer["model_version"]) for name, answer in inferred.items()} == {
        "ctr": ("ctr", "1"),
        "cvr": ("cvr", "2"),
    }
    assert models == [{"name": name, "ready": True, "reason": None} for name in alone]
    assert states == {"ctr": 1, "cvr": 2}


def test_an_event_goes_to_the_log_of_the_model_that_the_path_names(two: Two) -> None:
    with two.client("ctr", "cvr") as client:
        for path in ("/v1/models/cvr/clicks", "/v1/clicks"):
            assert client.post(path, json={"impression_id": "i1", "value": 1}).is_success, path

    assert [len(site.log.messages) for site in two.sites.values()] == [1, 1]


def test_a_model_whose_log_is_away_is_refused_alone_and_served_once_it_is_back(two: Two) -> None:
    two.error["ctr"] = LogUnavailableError("the log is away")
    with two.client("cvr") as client:
        away = [
            client.post(path, json=body)
            for path, body in (("/v1/models/ctr/predict", ASKED), ("/v1/predict", ASKED), ("/v2/models/ctr/infer", INFER))
        ]
        other = client.post("/v1/models/cvr/predict", json=ASKED)
        health = [client.get(path).status_code for path in ("/healthz", "/v2/health/live", "/v2/models/ctr/ready", "/v2/models/cvr/ready")]
        unready = client.get("/readyz")
        two.error["ctr"] = None
        two.sites["ctr"].follower.publish(3, trained())
        eventually(lambda: client.get("/readyz").is_success)
        back = client.post("/v1/models/ctr/predict", json=ASKED)

    assert [answer.status_code for answer in away] == [503] * 3
    assert [answer.json()[key] for answer, key in zip(away, ("detail", "detail", "error"), strict=True)] == [
        "model 'ctr': the log is away"
    ] * 3
    assert (other.status_code, back.status_code, health) == (200, 200, [200, 200, 503, 200])
    assert unready.json()["detail"] == "ctr: the log is away"


def test_however_many_logs_do_not_answer_a_model_whose_log_does_is_served() -> None:
    site, answer = Site(name="ctr"), threading.Event()

    @contextlib.contextmanager
    def never() -> Iterator[Opened]:
        answer.wait(30)
        raise LogUnavailableError("it does not answer")
        yield

    opened = contextlib.nullcontext(Opened(site.app, site.app.state.service.exported))
    front = several({**{f"m{n}": never for n in range(40)}, "ctr": lambda: opened}, Access.unlimited())
    try:
        with TestClient(front) as client:
            eventually(lambda: client.get("/v1/models").json()["models"][-1]["reason"] != "it is being opened")
            site.follower.publish(1, trained(seed=1))
            packed = gzip.compress(json.dumps(ASKED).encode())
            status = client.post("/v1/models/ctr/predict", content=packed, headers={"Content-Encoding": "gzip"}).status_code
            answer.set()
    finally:
        answer.set()

    assert status == 200


def test_a_model_that_fails_while_it_serves_is_opened_again_and_the_other_does_not_notice(
    two: Two, caplog: pytest.LogCaptureFixture
) -> None:
    def failing() -> None:
        raise ZeroDivisionError

    with two.client("ctr", "cvr") as client:
        before = two.sites["ctr"].follower.started
        before.clear()
        two.sites["ctr"].app.state.service.history.sample = failing
        eventually(before.is_set)
        assert client.post("/v1/models/cvr/predict", json=ASKED).is_success

    assert "model ctr has failed, and is opened again" in caplog.text


def test_models_that_are_away_are_not_waited_for_for_ever() -> None:
    now = 0.0
    models = Models({"ctr": Two()._opening("ctr"), "cvr": Two()._opening("cvr")}, lambda: now)
    site = Site(name="cvr")
    with site.client():
        site.follower.publish(1, trained())
        models.opened["cvr"] = Opened(site.app, CollectorRegistry())
        waiting, now = models.unready(), 61.0
        ready = models.unready()
        models.opened.clear()

    assert waiting == "ctr: it is being opened"
    assert ready is None
    assert models.unready() == "ctr: it is being opened; cvr: it is being opened"


def test_metrics_say_which_model_they_are_of_and_paths_make_up_no_labels(two: Two) -> None:
    two.error["ctr"] = LogUnavailableError("the log is away")
    with two.client("cvr") as client:
        client.post("/v1/models/cvr/predict", json=ASKED)
        for name in ("made", "up"):
            assert client.post(f"/v1/models/{name}/predict", json=ASKED).status_code == 404
            assert "expected 'ctr' or 'cvr'" in client.post(f"/v2/models/{name}/infer", json=INFER).json()["error"]
        lines = client.get("/metrics").text.splitlines()

    assert 'sml_server_requests_total{model="cvr",route="/v1/predict",status="200"} 1.0' in lines
    assert 'sml_server_requests_total{route="/{path:path}",status="404"} 4.0' in lines
    assert {line for line in lines if line.startswith("sml_server_ready{")} == {
        'sml_server_ready{model="ctr"} 0.0',
        'sml_server_ready{model="cvr"} 1.0',
    }
    assert {line.partition('model="')[2].partition('"')[0] for line in lines if 'model="' in line} == {"ctr", "cvr"}
    assert len([line for line in lines if line.startswith("# TYPE sml_server_requests_total")]) == 1


def test_a_named_path_needs_the_role_of_the_path_and_all_models_share_one_allowance() -> None:
    class Known(Callers):
        open = False

        def known(self, credential: str) -> Caller | None:
            return Caller("key:1", frozenset({credential}))

    two = Two(Access.unlimited()._replace(callers=Known(), allowances=Allowances(0.001, 3)))
    with two.client("ctr", "cvr") as client:

        def ask(path: str, role: str, method: str = "POST") -> int:
            return client.request(method, path, json=ASKED, headers={"x-api-key": role}).status_code

        refused = [
            ask("/v1/models/cvr/predict", "read"),
            ask("/v1/models/cvr/users/u1", "predict", "DELETE"),
            ask("/v1/models", "predict", "GET"),
        ]
        refused += [ask("/v1/models/made-up/predict", "read"), ask("/v1/models/cvr/models/ctr/predict", "predict")]
        allowed = [ask(f"/v1/models/{name}/predict", "predict") for name in ("cvr", "ctr", "made-up", "cvr")]

    assert refused == [403] * 5
    assert allowed == [200, 200, 404, 429]


def test_the_command_serves_each_model_from_its_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "compile_kernels", lambda _: None)
    serve = ServeSettings(port=free_port())
    settings = {name: Settings(log=LogSettings(url=f"sqlite:///{name}.db", prefix=name), serve=serve) for name in ("ctr", "cvr")}
    found: list[int] = []

    class Server:
        def __init__(self, app: Any, of: Settings, turns: Turns) -> None:
            self.app, self.settings, self.turns = app, of, turns

        def run(self) -> None:
            assert self.settings is settings["ctr"]
            with TestClient(self.app, base_url="http://localhost") as client:
                eventually(lambda: all("no weights yet" in each["reason"] for each in client.get("/v1/models").json()["models"]))
                found.extend(client.post(f"/v1/models/{name}/clicks", json={"impression_id": name}).status_code for name in settings)
                self.turns.refused("/v1/predict")
                assert 'sml_server_requests_total{route="/v1/predict",status="503"} 1.0' in client.get("/metrics").text

    monkeypatch.setattr(command, "server_of", Server)

    command.serve_several(settings)
    assert found == [202, 202]
    with pytest.raises(SettingsError, match="--model again: got the log and the prefix of ctr"):
        command.serve_several({"ctr": settings["ctr"], "again": settings["ctr"]})


@pytest.mark.parametrize("written", [["ctr"], ["=x.toml"], ["a/b=x.toml"], ["ctr=x.toml", "ctr=y.toml"]])
def test_a_model_is_written_as_name_and_file(written: list[str]) -> None:
    assert named_settings(["ctr=a.toml", "cvr=b=c.toml"]) == {"ctr": Path("a.toml"), "cvr": Path("b=c.toml")}
    with pytest.raises(typer.BadParameter, match="expected NAME=TOML"):
        named_settings(written)
