"""What users and admins see of the ledger: balances, lines, and the cost of a job. `audit.py` proves them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from postil.errors import MissingInputError
from postil.platform.ids import is_id
from postil.platform.money.ledger import free_rows_left, month_of, room_left
from postil.platform.money.prices import current_prices
from postil.platform.service import Service
from postil.platform.store.tables import Account, LedgerEntry

MOST_LINES = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bill, as `LedgerEntry` keeps it."""

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
    details: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account owes, holds back and has left in a month.

    Args:
        month: in UTC, such as "2026-11".
        settled_micro: what its ended jobs cost.
        reserved_micro: what its waiting and running jobs hold back.
        owed_micro: both.
        total_micro: the same of all months.
        free_rows_left: of `free_rows_per_month`; rows that running jobs hold are not left.
        left_micro: what may still be spent; None where nothing limits it.
    """

    month: str
    currency: str
    settled_micro: int
    reserved_micro: int
    owed_micro: int
    total_micro: int
    free_rows_per_month: int
    free_rows_left: int
    rate_micro: int
    left_micro: int | None


@dataclass(frozen=True, slots=True)
class JobCost:
    """What one job was said to cost, holds back, and has cost.

    Args:
        estimate_micro: None where it was never estimated.
        settled_micro: None before it ended; 0 after a refund.
    """

    estimate_micro: int | None
    reserved_micro: int
    settled_micro: int | None
    currency: str


def get_balance(service: Service, account_id: str, month: str | None = None) -> Balance:
    """The account's month, by sums that the database makes.

    Args:
        month: None is the current one.

    Raises:
        MissingInputError: there is no such account.
    """
    with service.database.reading() as session:
        return balance_of(session, service, account_id, month)


def balance_of(session: Session, service: Service, account_id: str, month: str | None = None) -> Balance:
    """As `get_balance`, within a transaction."""
    account = session.get(Account, account_id)
    if account is None:
        raise MissingInputError("platform.money.no_account")
    month = month or month_of(service.now())
    prices = current_prices(session, service.settings)
    by_kind = _sums_by_kind(session, account_id, month)
    room = room_left(session, account, prices, month)
    return make_balance(
        by_kind,
        month=month,
        currency=prices.currency,
        total_micro=_total(session, account_id),
        free_rows_per_month=prices.free_rows_per_month,
        free_rows_left=free_rows_left(session, account_id, month, prices.free_rows_per_month),
        rate_micro=prices.rate_micro,
        left_micro=None if room is None else max(0, room),
    )


def make_balance(by_kind: Mapping[str, int], **rest: Any) -> Balance:
    """A balance out of sums by kind; `rest` are its other entries."""
    settled = by_kind.get("settle", 0) + by_kind.get("refund_settled", 0)
    owed = sum(by_kind.values())
    return Balance(settled_micro=settled, reserved_micro=owed - settled, owed_micro=owed, **rest)


def list_entries(
    service: Service, account_id: str, *, month: str | None = None, job_id: str | None = None, limit: int = MOST_LINES
) -> tuple[Line, ...]:
    """Lines of the account, newest first.

    Args:
        month: None takes all.
        job_id: of one job only; somebody else's has no lines here.
        limit: at most 1000.
    """
    query = select(LedgerEntry).where(LedgerEntry.account_id == account_id)
    if month is not None:
        query = query.where(LedgerEntry.month == month)
    if job_id is not None:
        if not is_id(job_id, "job"):
            return ()
        query = query.where(LedgerEntry.job_id == job_id)
    query = query.order_by(LedgerEntry.created_at.desc(), LedgerEntry.id.desc()).limit(min(limit, MOST_LINES))
    with service.database.reading() as session:
        return tuple(view_line(entry) for entry in session.scalars(query))


def costs_of(session: Session, job_ids: Sequence[str]) -> dict[str, JobCost]:
    """What each of the jobs was said to cost and has cost; jobs without lines are left out."""
    found = session.scalars(select(LedgerEntry).where(LedgerEntry.job_id.in_(job_ids)))
    by_job: dict[str, dict[str, LedgerEntry]] = {}
    for entry in found:
        by_job.setdefault(str(entry.job_id), {})[entry.kind] = entry
    return {job_id: job_cost(lines) for job_id, lines in by_job.items()}


def job_cost(lines: Mapping[str, LedgerEntry]) -> JobCost:
    """The cost that the lines of one job, by kind, add up to."""
    total = sum(line.amount_micro for line in lines.values())
    has_ended = "settle" in lines or "refund" in lines
    estimate = lines.get("estimate")
    return JobCost(
        estimate_micro=None if estimate is None else int(estimate.details["price_micro"]),
        reserved_micro=0 if has_ended else total,
        settled_micro=total if has_ended else None,
        currency=next(iter(lines.values())).currency,
    )


def _total(session: Session, account_id: str) -> int:
    """What the account owes of all months together."""
    query = select(func.coalesce(func.sum(LedgerEntry.amount_micro), 0))
    return int(session.execute(query.where(LedgerEntry.account_id == account_id)).scalar_one())


def _sums_by_kind(session: Session, account_id: str, month: str) -> dict[str, int]:
    """Amounts by kind; a refund of a job that had been settled counts as "refund_settled"."""
    here = (LedgerEntry.account_id == account_id, LedgerEntry.month == month)
    settled = select(LedgerEntry.job_id).where(*here, LedgerEntry.kind == "settle")
    after = (LedgerEntry.kind == "refund") & LedgerEntry.job_id.in_(settled)
    query = select(LedgerEntry.kind, after, func.sum(LedgerEntry.amount_micro)).where(*here)
    rows = session.execute(query.group_by(LedgerEntry.kind, after))
    return {"refund_settled" if is_after else kind: int(total) for kind, is_after, total in rows}


def view_line(entry: LedgerEntry) -> Line:
    """What leaves this room."""
    return Line(
        id=entry.id,
        job_id=entry.job_id,
        kind=entry.kind,
        amount_micro=entry.amount_micro,
        tokens=entry.tokens,
        rows=entry.rows,
        free_rows=entry.free_rows,
        rate_micro=entry.rate_micro,
        currency=entry.currency,
        month=entry.month,
        details=dict(entry.details),
        created_at=entry.created_at,
    )
