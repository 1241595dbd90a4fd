"""The part of the `openai` wire that the service itself looks at; the rest passes through."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from postil.wire.shape import Answer


class ChatRequest(BaseModel):
    """POST /v1/chat/completions. Keys that are not known are passed on, as `openai` clients expect."""

    model_config = ConfigDict(extra="allow")

    model: str = Field(min_length=1, max_length=300, description="The base, or an adapter's id, name or alias.")
    messages: list[dict[str, Any]] = Field(min_length=1, description="Roles and contents.")
    stream: bool | None = Field(None, description="Send the answer in pieces while it is written.")


class ModelInfo(Answer):
    """One thing that answers."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Seconds since 1970.")
    owned_by: str
    postil_name: str = Field(description="What its owner calls it.")
    postil_base: str = Field(description="The base that it stands on.")


class ModelList(Answer):
    """All that answers."""

    object: Literal["list"] = "list"
    data: list[ModelInfo]
