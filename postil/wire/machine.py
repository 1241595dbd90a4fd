"""The service about itself."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from postil.wire.shape import Answer, Request

Micro = Annotated[int, Field(ge=0, le=2**53)]
HubName = Literal["hf", "modelscope"]


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


class Limits(Request):
    """What an account may spend; None takes the service's. All are set at once."""

    monthly_cap_micro: Micro | None
    job_cap_micro: Micro | None
    balance_limit_micro: Micro | None
    hold_reason: Annotated[str, StringConstraints(max_length=255)] = Field(
        "", description="Why no job of it may start; shown to the account. Empty lets them start."
    )


class AccountRights(Request):
    """What an admin changes about an account; None leaves it."""

    role: Literal["user", "admin"] | None = None
    is_disabled: bool | None = Field(None, description="Shut out, with its sessions and keys.")


class HubToken(Answer):
    """What may be known of a hub's token; the token itself is never sent back."""

    hub: str
    kept_since: datetime | None = Field(description="None where none is kept.")


class HubTokenList(Answer):
    """Each hub, with a token or without."""

    tokens: list[HubToken]


class NewHubToken(Request):
    """A token for the downloads of bases, kept encrypted in place of the one before."""

    hub: HubName
    token: str = Field(min_length=1, max_length=500, repr=False, description="As the hub shows it; without blanks.")


class Prices(Answer):
    """Prices and limits in force; amounts are millionths of the currency."""

    rate_micro: int
    free_rows_per_month: int
    currency: str
    reserve_factor: float
    account_cap_micro: int | None
    job_cap_micro: int | None


class PriceChange(Request):
    """Prices for jobs that are submitted from now on; what is not named stays."""

    rate_micro: Micro | None = None
    free_rows_per_month: Micro | None = None
    currency: Annotated[str, StringConstraints(min_length=1, max_length=8)] | None = None
    reserve_factor: Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)] | None = None
    account_cap_micro: Micro | None = None
    job_cap_micro: Micro | None = None


class QueueEntry(Answer):
    """A job that waits or runs, without what it is about."""

    id: str
    account_id: str
    account: str
    base: str
    state: str
    wish: str
    attempt: int
    priority: int
    slot: str | None
    percent: float | None
    created_at: datetime
    started_at: datetime | None


class Queue(Answer):
    """Everybody's jobs that wait or run."""

    jobs: list[QueueEntry]


class Machine(Answer):
    """The machine."""

    slots: list[str]
    supervisor_seen_at: datetime | None
    disk_free_bytes: int
    disk_bytes: int
    num_accounts: int
    jobs: dict[str, int]
    database: str
    serving: dict[str, Any] | None = Field(description="What the process that answers says; None where there is none.")
