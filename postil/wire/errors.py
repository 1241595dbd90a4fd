"""The two shapes of an error."""

from typing import Any

from pydantic import Field

from postil.wire.shape import Answer


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
