"""A month's bill as people read it: training by training, with the lines that each was made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.platform.money.bills import JobCost, Line, job_cost, view_line
from postil.platform.money.ledger import Kind
from postil.platform.service import Service
from postil.platform.store.tables import Job, LedgerEntry

_ORDER: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Statement:
    """The lines of one job.

    Args:
        name: as its owner called the job; "" where it was deleted since.
        lines: in the order in which they are written.
        cost: what they add up to.
        rows: that trained, or were to train.
        free_rows: that the job uses, or holds.
    """

    job_id: str
    name: str
    lines: tuple[Line, ...]
    cost: JobCost
    rows: int
    free_rows: int


def list_months(service: Service, account_id: str) -> tuple[str, ...]:
    """Months in which the account has lines, such as "2026-11", the newest first."""
    query = select(LedgerEntry.month).where(LedgerEntry.account_id == account_id).distinct()
    with service.database.reading() as session:
        return tuple(session.scalars(query.order_by(LedgerEntry.month.desc())))


def list_statements(service: Service, account_id: str, month: str | None = None) -> tuple[Statement, ...]:
    """Every job of a month with its lines, the newest first; nothing is left out, however many there are.

    Args:
        month: None takes all months.
    """
    query = select(LedgerEntry).where(LedgerEntry.account_id == account_id)
    if month is not None:
        query = query.where(LedgerEntry.month == month)
    with service.database.reading() as session:
        by_job: dict[str, list[LedgerEntry]] = {}
        for entry in session.scalars(query.order_by(LedgerEntry.created_at, LedgerEntry.id)):
            by_job.setdefault(str(entry.job_id), []).append(entry)
        names = _names(session, account_id)
        made = [_statement(job_id, names.get(job_id, ""), entries) for job_id, entries in by_job.items()]
    return tuple(reversed(made))


def _names(session: Session, account_id: str) -> dict[str, str]:
    found = session.execute(select(Job.id, Job.name).where(Job.account_id == account_id))
    return dict(found.all())


def _statement(job_id: str, name: str, entries: Sequence[LedgerEntry]) -> Statement:
    by_kind = {entry.kind: entry for entry in sorted(entries, key=lambda entry: _ORDER.index(entry.kind))}
    told = by_kind.get("settle") or by_kind.get("estimate") or entries[0]
    lines = tuple(view_line(entry) for entry in by_kind.values())
    return Statement(job_id, name, lines, job_cost(by_kind), told.rows, sum(line.free_rows for line in lines))
