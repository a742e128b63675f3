"""Compile the kernels before they are needed, by calling each once on a small model: they are the same for every shape of a network.

numba compiles one kernel at a time in a process, so two processes share the work. What both halves are made of is compiled in one of them
and kept; meanwhile the other compiles what only it needs, and then it loads the rest.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from model.encoding.features import Encoder, Features
from model.evaluation.quality import Quality
from model.evaluation.scores import RunningScores
from model.explanation.contributions import contributions
from model.exploration import chances
from model.guard.guard import Guard
from model.kernels.cache import mark
from model.kernels.forward import found_scratch, read_rows
from model.kernels.network import activations
from model.kernels.tower import dnn
from model.online import OnlineModel
from model.settings import Field, ModelSettings, NetworkName, Spec, TableSettings


class _Sample(NamedTuple):
    model: OnlineModel
    features: Features
    labels: NDArray[np.float32]


def compiling(network: NetworkName) -> Iterator[str]:
    """Compile all kernels that learn and serve a network; yield, before each part of the work, what it is for.

    Raises:
        RuntimeError: the process beside this one has failed; it has said why.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    beside = context.Process(target=_compile_learning, args=(network, theirs), daemon=True)
    beside.start()
    try:
        sample = _sample(network)
        yield "to predict"
        _compile_forward(sample)
        ours.send(None)
        probabilities = sample.model.weights.probabilities(sample.features)
        chances(probabilities, sample.model.weights.spreads(sample.features, probabilities), 1)
        yield "to explain"
        contributions(sample.model.weights, sample.features)
        yield "to learn"
        beside.join()
    finally:
        beside.kill()
    if beside.exitcode:
        raise RuntimeError(f"the process that compiles how to learn has ended with {beside.exitcode}")
    if marked := mark(network):
        with suppress(OSError):  # a cache that was filled for us, and is not ours to write
            marked.touch()


def _sample(network: NetworkName) -> _Sample:
    fields = Field(name="item"), Field(name="user")
    model = OnlineModel(Spec(model=ModelSettings(network=network, records=True), fields=fields, table=TableSettings(capacity=8)))
    features, _ = Encoder(fields).encode([{"item": "a"}, {"item": "b"}], times=[0, 0])
    return _Sample(model, features, np.array([0, 1], np.float32))


def _compile_forward(sample: _Sample) -> None:
    """Compile what both processes need."""
    weights = sample.model.weights
    network = weights.network()
    work, table = weights.workspace(network), (weights.keys, weights.rows, weights.records)
    _compile(read_rows, network, work.act.step, found_scratch(network, sample.features), *table, sample.features, 0)
    _compile(dnn.forward, network, work.act, dnn.FROM_START)


def _compile_learning(network: NetworkName, forward: Connection) -> None:
    """Compile what learns, in a process of its own: first what needs nothing of the other's, then, once that has compiled it, the rest."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the other process, which ends this one
    Thread(target=_end_with_parent, daemon=True).start()
    sample = _sample(network)
    model, features, labels = sample
    net, number = model.weights.network(), np.float32(0)
    _compile(dnn.backward, net, activations(net), number, number)
    scores = RunningScores()
    scores.update(labels, labels)
    scores.recent()
    Guard().observe(features, labels, labels)
    quality = Quality(model.spec, ["item"])
    quality.observe(labels, labels, quality.look(model.weights, features, np.zeros(2, np.bool_), lambda _: {}))
    quality.window(2)
    model.digest()
    forward.recv()
    model.learn(features, labels)
    model.learn(features, labels, np.full(2, np.inf))  # a step that is undone


def _end_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _compile(kernel: Any, *arguments: Any) -> None:
    kernel.compile(tuple(map(numba.typeof, arguments)))
