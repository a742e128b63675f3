"""Where the time of a request for predictions goes in the server: the table of benchmarks/serving/predict.md.

    python -m benchmarks.serving.request_path

Requests of 20 fields, 10 of the context and 10 of each candidate, without a socket; the thread's time in ms, medians of many requests,
each part of each request in turn.
"""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from fastapi import FastAPI

from model.encoding.features import Encoder
from model.online import OnlineModel
from model.settings import Field, Spec
from model.weights import Weights
from service.api.app import build
from service.api.messages import Predictions
from service.api.predictor import Predictor
from service.api.reading import read_predict_request
from service.api.served_weights import ServedWeights
from service.bench.site import ITEM_FIELDS, USER_FIELDS, item, request, user
from stream.log.connect import connect
from stream.log.topics import Topics
from stream.weights.chunks import WeightsHeader

SIZES = (1, 10, 100, 1_000)
EXAMPLES, BODIES, REQUESTS = 5_000, 50, 300
HEADER = WeightsHeader(1, 0, "", EXAMPLES, 1, 1)


def learned() -> Weights:
    """Return weights that know values of the requests."""
    names = [f"{name}_{n}" for name, count in (("user", USER_FIELDS), ("item", ITEM_FIELDS)) for n in range(count)]
    fields = tuple(Field(name=name, kind="numeric" if name.endswith("_0") else "categorical") for name in names)
    model, draw = OnlineModel(Spec(fields=fields)), np.random.default_rng(0)
    features: list[dict[str, Any]] = [user(draw) | item(draw) for _ in range(EXAMPLES)]
    model.learn(Encoder(fields).encode(features, [0] * EXAMPLES).features, (draw.random(EXAMPLES) < 0.2).astype(np.float32))  # noqa: PLR2004
    return model.weights


async def answered(app: FastAPI, body: bytes) -> bytes:
    """Return the application's answer."""
    sent = list[Any]()
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    at = {"path": "/v1/predict", "raw_path": b"/v1/predict", "root_path": "", "query_string": b"", "client": ("127.0.0.1", 1)}
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http", "headers": headers, **at}

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    return bytes(sent[1]["body"])


def parts(predictor: Predictor, body: bytes, answer: bytes) -> Iterator[float]:
    """Yield the thread's time before the first part of a request and after each."""
    said = msgspec.json.decode(answer, type=Predictions)
    yield time.thread_time()
    asked = read_predict_request(body)
    yield time.thread_time()
    keys = predictor._encode(asked, 0)  # noqa: SLF001 - only this measures it
    yield time.thread_time()
    predictor.weights.probabilities(keys).tolist()
    yield time.thread_time()
    msgspec.json.encode(said)
    yield time.thread_time()


async def measured(app: FastAPI, predictor: Predictor, candidates: int) -> list[float]:
    """Return the medians of each part of a request, of the rest and of the whole."""
    bodies = [request(np.random.default_rng(n), candidates) for n in range(BODIES)]
    taken = []
    for n in range(REQUESTS):
        start = time.thread_time()
        answer = await answered(app, bodies[n % BODIES])
        whole = time.thread_time() - start
        of_parts = np.diff(list(parts(predictor, bodies[n % BODIES], answer))).tolist()
        taken.append([*of_parts, whole - sum(of_parts), whole])
    return [1000 * statistics.median(each) for each in zip(*taken, strict=True)]


async def main() -> None:
    """Measure, and print a table in Markdown."""
    ready, weights = asyncio.Event(), learned()
    loop = asyncio.get_running_loop()

    def follow(served: ServedWeights, should_stop: Callable[[], bool]) -> None:
        served.hand_over(HEADER, weights)
        loop.call_soon_threadsafe(ready.set)
        while not should_stop():
            time.sleep(0.1)

    with tempfile.TemporaryDirectory() as folder, connect(f"sqlite:///{Path(folder)}/log.db") as log:
        app = build(log, Topics("bench"), follow)
        async with app.router.lifespan_context(app):
            await ready.wait()
            print("| candidates | read the body | columns and keys | the network | write the answer | the rest | all |")
            print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
            for candidates in SIZES:
                found = await measured(app, Predictor(HEADER, weights), candidates)
                print(f"| {candidates:,} | {' | '.join(f'{each:.2f}' for each in found)} |")


if __name__ == "__main__":
    asyncio.run(main())
