"""The obvious server: the same network in PyTorch behind plain FastAPI, bodies decoded by pydantic, features hashed by Python.

``python -m service.bench.eager_server PORT`` serves it for ``sml bench predict``.
"""

import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from torch import nn

from model.networks.dnn import DNN
from model.settings import Field, Spec
from service.bench.site import ITEM_FIELDS, USER_FIELDS
from service.bench.step import ROWS


class Request(BaseModel):
    """One context, many candidates."""

    context: dict[str, Any]
    candidates: list[dict[str, Any]]


def build() -> FastAPI:
    """Build the application."""
    torch.set_num_threads(1)
    names = [*(f"user_{f}" for f in range(USER_FIELDS)), *(f"item_{f}" for f in range(ITEM_FIELDS))]
    spec = Spec(fields=tuple(Field(name=name) for name in names))
    embedding, wide, network = nn.Embedding(ROWS, spec.model.embedding), nn.Embedding(ROWS, 1), DNN(spec)
    app = FastAPI()

    @app.post("/v1/predict")
    def predict(request: Request) -> list[dict[str, Any]]:
        rows = [[hash((name, (request.context | each).get(name))) % ROWS for name in names] for each in request.candidates]
        ids = torch.tensor(rows)  # (N, F)
        with torch.no_grad():
            clicked = torch.sigmoid(network(embedding(ids), wide(ids)[:, :, 0]))  # (N,)
        return [{"id": each["id"], "probability": p} for each, p in zip(request.candidates, clicked.tolist(), strict=True)]

    return app


if __name__ == "__main__":
    uvicorn.run(build(), port=int(sys.argv[1]), log_level="warning")
