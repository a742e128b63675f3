"""The clients: one for threads, one for asyncio, with the same methods."""

import asyncio
import time as clock
import uuid
from collections.abc import Sequence
from typing import Any, Generic, Self, TypeVar

import msgspec

from sml_online_client.calls import AsyncCalls, Calls
from sml_online_client.events import CLICKS, IMPRESSIONS, Events
from sml_online_client.messages import Explanations, Features, Log, Predictions, Served, Time

PREDICT, EXPLAIN = "/predict", "/explain"

C = TypeVar("C", Calls, AsyncCalls)


class _Recording(Generic[C]):
    """Records impressions and clicks: none of it waits for the server.

    Args:
        url: Of the server.
        key: Of the API, or a token; default: none, for a server that is open.
        model: One of the models of a server that has several; default: its first.
        timeout: Seconds that a call may take, retries included; and that the last events may take at the end.
        buffer: Bytes of events that may wait. While so many do, further events are lost, and counted in ``lost["full"]``.
        interval: Seconds after which events that have come are sent.
    """

    _kind: type[C]  # of the calls that wait for an answer

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        model: str | None = None,
        timeout: float = 5.0,
        buffer: int = 16 * 1024 * 1024,
        interval: float = 0.5,
    ) -> None:
        self._calls: C = self._kind(url, key, model, timeout)
        self._events = Events(Calls(url, key, model, timeout), buffer, interval, timeout)
        self.lost = self._events.lost  # events that the server will never have: by "full", "refused" and "exit"

    def impression(
        self, features: Features, *, impression_id: str | None = None, time: Time | None = None, served: Served | None = None
    ) -> str:
        """Record that an item was shown, and return the id of the impression, to record its click with.

        Args:
            features: Of item and visitor, as they were when it was shown.
            impression_id: That of its prediction, if it has one; default: a new one.
            time: When it was shown; default: now.
            served: By which arm and version it was shown.

        Raises:
            TypeError: a feature can't be written as JSON.
        """
        impression_id = impression_id or uuid.uuid4().hex
        self._put(IMPRESSIONS, impression_id, time, features=features, served=served)
        return impression_id

    def click(self, impression_id: str, *, value: float | None = None, time: Time | None = None) -> None:
        """Record a click on an impression.

        Args:
            impression_id: Of the impression.
            value: What the click was worth.
            time: When it came; default: now.
        """
        self._put(CLICKS, impression_id, time, value=value)

    def _put(self, path: str, impression_id: str, time: Time | None, **more: Any) -> None:
        event = {"impression_id": impression_id, "time": int(clock.time() * 1000) if time is None else time, **more}
        self._events.put(path, {name: value for name, value in event.items() if value is not None})


class Client(_Recording[Calls]):
    """Predicts, and records what was shown and clicked.

    ``impression`` and ``click`` return at once: a thread sends the events in batches, until the server has them. Close the client at the
    end, or leave its ``with`` block: that sends what waits. A process that ends without doing so sends it, too, unless it is killed.
    Threads may share a client; a process that forks makes its own.
    """

    _kind = Calls

    def predict(
        self,
        candidates: Sequence[Features],
        context: Features | None = None,
        *,
        time: Time | None = None,
        log: Log = False,
        choose: int | None = None,
        debug: bool = False,
    ) -> Predictions:
        """Return the click probability of each candidate.

        What fails in passing is tried again until the call's time is over. With ``log="chosen"`` or ``{"top": k}``, where another try may
        choose others, only what has surely logged nothing is.

        Args:
            candidates: The features of each, and its ``id``.
            context: Features of all.
            time: From which hour and weekday are derived; default: the server's now.
            log: What is shown, of which the server logs impressions with the features as served: ``True`` where all candidates are, else
                their ids, ``{"top": k}``, or ``"chosen"``.
            choose: How many candidates the server chooses to show.
            debug: Whether the answer names the features that no field reads.

        Raises:
            RefusedError: the server does not take the request.
            UnavailableError: there was no answer in time.
        """
        request = _request(candidates, context, time, log=log, choose=choose, debug=debug)
        return _predictions(self._calls.post(PREDICT, request, _new_key(), repeatable=_repeatable(log)))

    def explain(self, candidates: Sequence[Features], context: Features | None = None, *, time: Time | None = None) -> Explanations:
        """Return the logit of each candidate as the sum that it is; arguments and errors are those of :meth:`predict`."""
        return _explanations(self._calls.post(EXPLAIN, _request(candidates, context, time)))

    def flush(self) -> None:
        """Send the events that wait, now, and return when the server has them.

        Raises:
            UnavailableError: it has not, when the time of a call is over.
        """
        self._events.flush()

    def close(self) -> None:
        """Send the events that wait, and end."""
        self._events.close()
        self._calls.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the client."""
        self.close()


class AsyncClient(_Recording[AsyncCalls]):
    """:class:`Client` for asyncio. ``impression`` and ``click`` are plain functions, since they never wait; the rest is awaited."""

    _kind = AsyncCalls

    async def predict(
        self,
        candidates: Sequence[Features],
        context: Features | None = None,
        *,
        time: Time | None = None,
        log: Log = False,
        choose: int | None = None,
        debug: bool = False,
    ) -> Predictions:
        """Return the click probability of each candidate, as :meth:`Client.predict` does."""
        request = _request(candidates, context, time, log=log, choose=choose, debug=debug)
        return _predictions(await self._calls.post(PREDICT, request, _new_key(), repeatable=_repeatable(log)))

    async def explain(self, candidates: Sequence[Features], context: Features | None = None, *, time: Time | None = None) -> Explanations:
        """Return the logit of each candidate as the sum that it is, as :meth:`Client.explain` does."""
        return _explanations(await self._calls.post(EXPLAIN, _request(candidates, context, time)))

    async def flush(self) -> None:
        """Send the events that wait, now, as :meth:`Client.flush` does."""
        await asyncio.to_thread(self._events.flush)

    async def close(self) -> None:
        """Send the events that wait, and end."""
        await asyncio.to_thread(self._events.close)
        await self._calls.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the client."""
        await self.close()


_predictions = msgspec.json.Decoder(Predictions).decode
_explanations = msgspec.json.Decoder(Explanations).decode


def _request(candidates: Sequence[Features], context: Features | None, time: Time | None, **more: Any) -> bytes:
    request = {"candidates": candidates, "context": context, "time": time, **more}
    return msgspec.json.encode({name: value for name, value in request.items() if value is not None and value is not False})


def _repeatable(log: Log) -> bool:
    """Return whether each try logs the same impressions."""
    return isinstance(log, bool) or (isinstance(log, Sequence) and not isinstance(log, str))


def _new_key() -> dict[str, str]:
    """Return the header by which the server gives each try of a call the same impression ids."""
    return {"idempotency-key": uuid.uuid4().hex}
