"""What ``sml bench predict`` compares with need not be there."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.bench import predict


def test_a_server_whose_packages_are_missing_is_left_out_with_a_sentence_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def no_site(_: str | None) -> Iterator[None]:
        raise KeyboardInterrupt  # the others are done with
        yield

    monkeypatch.setattr(predict, "find_spec", lambda _: None)
    monkeypatch.setattr(predict, "running", no_site)

    with pytest.raises(KeyboardInterrupt):
        list(predict.predictions(1, 1, None))

    assert capsys.readouterr().err.splitlines() == [
        "FastAPI and PyTorch is not measured: it needs pip install 'sml-online[torch]'",
        "Ray Serve and PyTorch is not measured: it needs pip install 'ray[serve]'",
    ]
