"""The two shapes of an error, and which status stands for which kind: the service sends it, the client reads it."""

from typing import Any

from pydantic import Field

from postil.errors import (
    CannotWriteError,
    ConflictError,
    DataError,
    MissingInputError,
    NotAllowedError,
    PostilError,
    QuotaError,
    TooManyError,
    TryAgainError,
    UnavailableError,
    UsageError,
)
from postil.wire.shape import Answer

# The first status of a kind is sent for it; the first kind with a status is read from it.
_STATUSES: tuple[tuple[type[PostilError], tuple[int, ...]], ...] = (
    (TooManyError, (429,)),
    (TryAgainError, (503, 408, 502, 504)),
    (UsageError, (422, 400, 405)),
    (DataError, (422, 413)),
    (MissingInputError, (404,)),
    (ConflictError, (409,)),
    (QuotaError, (402,)),
    (CannotWriteError, (507,)),
    (UnavailableError, (503,)),
    (NotAllowedError, (403, 401)),
)
# Where two kinds share a status, the code tells them apart.
_DATA_CODES = ("data.", "platform.datasets.", "platform.uploads.", "platform.storage.")
_LASTING_CODES = ("platform.database.damaged",)
_TOO_LARGE = "platform.storage.too_large"


def status_of(error: PostilError) -> int:
    """The status that is sent for an error; 500 for what is our own fault."""
    if error.key == _TOO_LARGE:
        return 413
    if isinstance(error, NotAllowedError) and not error.is_signed_in:
        return 401
    return next((statuses[0] for kind, statuses in _STATUSES if isinstance(error, kind)), 500)


def kind_of(status: int, code: str) -> type[PostilError]:
    """The kind of error that a status and its code tell of."""
    kind = next((kind for kind, statuses in _STATUSES if status in statuses), None)
    if kind is UsageError and code.startswith(_DATA_CODES):
        return DataError
    if kind is TryAgainError and code.startswith(_LASTING_CODES):
        return UnavailableError
    return kind or (TryAgainError if status >= 500 else UsageError)


class ErrorBody(Answer):
    """What went wrong."""

    code: str = Field(description="Stable id of the kind of error.")
    message: str = Field(description="Where, and what was found, in the reader's language.")
    hint: str = Field(description="What to do.")
    problems: list[dict[str, Any]] = Field(default_factory=list, description="What is wrong one by one.")
    request_id: str = Field(description="Names the request in the service's log.")


class ErrorAnswer(Answer):
    """An error under /api."""

    error: ErrorBody


class OpenAIErrorBody(Answer):
    """What went wrong, as the `openai` client reads it."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class OpenAIErrorAnswer(Answer):
    """An error under /v1."""

    error: OpenAIErrorBody
