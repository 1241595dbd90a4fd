"""Balances and bills; amounts are millionths of the currency."""

from datetime import datetime
from typing import Any

from pydantic import Field

from postil.wire.shape import Answer


class Balance(Answer):
    """What an account owes, holds back and has left in a month; each figure follows from the lines."""

    month: str = Field(description='In UTC, such as "2026-11".')
    currency: str
    settled_micro: int = Field(description="What its ended jobs cost.")
    reserved_micro: int = Field(description="What its waiting and running jobs hold back.")
    owed_micro: int = Field(description="Both.")
    total_micro: int = Field(description="The same of all months.")
    free_rows_per_month: int
    free_rows_left: int
    rate_micro: int = Field(description="For 1000 trained tokens.")
    left_micro: int | None = Field(description="What may still be spent; None where nothing limits it.")


class Line(Answer):
    """One line of the bill; lines are added and never changed."""

    id: str
    job_id: str | None
    kind: str
    amount_micro: int
    tokens: int
    rows: int
    free_rows: int
    rate_micro: int
    currency: str
    month: str
    details: dict[str, Any]
    created_at: datetime


class LineList(Answer):
    """Lines, the newest first."""

    lines: list[Line]
