"""The root of everything on the wire."""

from pydantic import BaseModel, ConfigDict


class Answer(BaseModel):
    """What the service says; a client ignores what it does not know, so that fields can be added."""

    model_config = ConfigDict(frozen=True, from_attributes=True, extra="ignore")


class Request(BaseModel):
    """What a client asks; a field that does not exist is a mistake, and is said."""

    model_config = ConfigDict(frozen=True, extra="forbid")
