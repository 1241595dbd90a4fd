"""The service about itself."""

from typing import Literal

from pydantic import Field

from postil.wire.shape import Answer


class Alive(Answer):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(Answer):
    """What the service needs, part by part."""

    is_ready: bool
    database: bool
    storage: bool = Field(description="Files can be written, and there is room.")
    supervisor: bool = Field(description="Jobs are being looked after.")
    answers: bool = Field(description="A base is in memory and answers.")
