"""What a call may raise.

SmlError
├── RefusedError        the server has read the request and does not take it: sending it again changes nothing
└── UnavailableError    no answer within the time of the call, retries included
"""


class SmlError(Exception):
    """A call has not succeeded."""


class RefusedError(SmlError):
    """The server refuses a request.

    Args:
        status: Of the answer.
        detail: The server's reason.
        field: The path of the field at fault into the body, if one is.
    """

    def __init__(self, status: int, detail: str, field: str | None = None) -> None:
        super().__init__(f"{status}: {field + ': ' if field else ''}{detail}")
        self.status, self.detail, self.field = status, detail, field


class UnavailableError(SmlError):
    """The server has given no answer in time, or says that it can't yet.

    Args:
        why: What happened last.
        retry_after: The seconds that the server asks to be left alone for; 0 if it names none.
    """

    def __init__(self, why: str, retry_after: float = 0.0) -> None:
        super().__init__(why)
        self.retry_after = retry_after
