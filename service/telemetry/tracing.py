"""From the settings to where traces go."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.settings import Settings, SettingsError
from stream.traces import Tracing


@contextmanager
def tracing(settings: Settings, name: str) -> Iterator[Tracing | None]:
    """Trace until the block ends what the process of this ``name`` does, if the settings say where to; None: nothing is traced.

    Raises:
        SettingsError: what it needs is not installed.
    """
    endpoint = settings.trace.endpoint
    if endpoint is None:
        yield None
        return
    try:
        from service.telemetry.traces import sent  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise SettingsError(f"trace.endpoint: got {endpoint!r}, expected the extra sml-online[trace]: {error}") from error
    with sent(endpoint, f"sml-{name}") as traces:
        yield traces
