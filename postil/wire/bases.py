"""Bases: what may be trained here."""

from datetime import datetime
from typing import Any

from pydantic import Field

from postil.wire.datasets import Trouble
from postil.wire.shape import Answer


class Base(Answer):
    """A base that may be trained here, or could be."""

    name: str
    source: str = Field(description='"package", "hf", "modelscope" or "folder".')
    state: str = Field(description='"absent", "waiting", "downloading", "ready" or "failed".')
    is_allowed: bool
    num_bytes: int
    done_bytes: int = Field(description="Of a download.")
    error: Trouble | None
    facts: dict[str, Any]
    created_at: datetime | None = None


class BaseList(Answer):
    """All of them."""

    bases: list[Base]
