"""Adapters: the library, sharing, aliases."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from postil.wire.shape import Answer, Request

AdapterName = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Adapter(Answer):
    """An adapter that the account may use."""

    id: str
    name: str
    owner: str
    is_own: bool = Field(description="False where it is shared with the account: to be used, not changed.")
    model_name: str = Field(description="What requests to /v1 call it.")
    base: str
    job_id: str | None
    verdict: str = Field(description='"better", "same", "worse" or "cannot_tell".')
    num_bytes: int
    metrics: dict[str, Any]
    lineage: dict[str, Any]
    shared_with: list[str]
    aliases: list[str]
    created_at: datetime
    used_at: datetime | None


class AdapterList(Answer):
    """A page of adapters, the newest first."""

    adapters: list[Adapter]
    next_after: str | None = Field(description="Ask with after= this for the next page; None at the end.")


class AdapterRename(Request):
    """Another name."""

    name: AdapterName


class ShareRequest(Request):
    """With whom."""

    account: AdapterName = Field(description="Name of the account that may use it from now on.")


class AliasTarget(Request):
    """Where an alias points from now on."""

    adapter_id: str = Field(max_length=40)


class Alias(Answer):
    """A name that points at an adapter, and can be turned back."""

    name: str
    adapter_id: str
    adapter_name: str
    previous_id: str | None
    updated_at: datetime


class AliasList(Answer):
    """All aliases of the account."""

    aliases: list[Alias]
