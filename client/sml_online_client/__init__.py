"""Predictions of SML Online, and the impressions and clicks that it learns from: client → calls (tried again), events (in batches)."""

from sml_online_client.client import AsyncClient, Client
from sml_online_client.errors import RefusedError, SmlError, UnavailableError
from sml_online_client.messages import (
    Choice,
    Explanation,
    Explanations,
    Features,
    Log,
    Prediction,
    Predictions,
    Served,
    Time,
)

__all__ = [
    "AsyncClient",
    "Choice",
    "Client",
    "Explanation",
    "Explanations",
    "Features",
    "Log",
    "Prediction",
    "Predictions",
    "RefusedError",
    "Served",
    "SmlError",
    "Time",
    "UnavailableError",
]
