"""What an admin sees of the whole service and changes in it: limits of accounts, the queue, the machine.

An admin sees who waits for what and where it runs; not anybody's data, names of jobs, or answers.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from postil.errors import MissingInputError, PostilError
from postil.platform.accounts.accounts import AccountView, account_row, view_account
from postil.platform.ids import is_id
from postil.platform.jobs.jobs import ENDED, request_cancel
from postil.platform.jobs.views import JobView
from postil.platform.service import Service
from postil.platform.store.tables import Account, Job, Machine

HEARTBEAT = "supervisor"
ALIVE_FOR = timedelta(seconds=30)
"""A supervisor that has not said that it lives for so long is not there."""
LEAST_FREE_BYTES = 50 << 20


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A job that waits or runs, without what it is about.

    Args:
        slot: where it runs; None while it waits.
    """

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


@dataclass(frozen=True, slots=True)
class MachineView:
    """The machine.

    Args:
        slots: where runs can be put, as the supervisor sees them; empty before it has started.
        supervisor_seen_at: its last heartbeat.
    """

    slots: tuple[str, ...]
    supervisor_seen_at: datetime | None
    disk_free_bytes: int
    disk_bytes: int
    num_accounts: int
    jobs: dict[str, int]
    database: str


def set_limits(
    service: Service,
    account_id: str,
    *,
    monthly_cap_micro: int | None,
    job_cap_micro: int | None,
    balance_limit_micro: int | None,
    hold_reason: str,
) -> AccountView:
    """Sets what an account may spend, and whether its jobs may start.

    Args:
        hold_reason: shown to the account; "" lets its jobs start.

    Raises:
        MissingInputError: there is no such account.
    """
    with service.database.writing() as session:
        account = account_row(session, account_id)
        account.monthly_cap_micro, account.job_cap_micro = monthly_cap_micro, job_cap_micro
        account.balance_limit_micro, account.hold_reason = balance_limit_micro, hold_reason
        return view_account(account)


def list_queue(service: Service, *, limit: int = 200) -> Sequence[QueueEntry]:
    """Everybody's jobs that wait or run: those at work first, then by priority and age."""
    query = (
        select(Job, Account.name)
        .join(Account, Account.id == Job.account_id)
        .where(Job.state.not_in(ENDED))
        .order_by(Job.slot.is_(None), Job.priority.desc(), Job.queued_at, Job.id)
        .limit(limit)
    )
    with service.database.reading() as session:
        return [_entry(job, name) for job, name in session.execute(query)]


def get_queue_entry(service: Service, job_id: str) -> QueueEntry:
    """One job that waits or runs, whosever it is.

    Raises:
        MissingInputError: there is none; it may have ended.
    """
    query = select(Job, Account.name).join(Account, Account.id == Job.account_id)
    with service.database.reading() as session:
        found = session.execute(query.where(Job.id == job_id, Job.state.not_in(ENDED))).one_or_none()
        if found is None:
            raise MissingInputError("platform.jobs.no_such", id=job_id[:40])
        return _entry(*found)


def cancel_any(service: Service, job_id: str) -> JobView:
    """Ends a job of whatever account.

    Raises:
        MissingInputError: there is no such job.
    """
    with service.database.reading() as session:
        owner = session.scalar(select(Job.account_id).where(Job.id == job_id)) if is_id(job_id, "job") else None
    if owner is None:
        raise MissingInputError("platform.jobs.no_such", id=job_id[:40])
    return request_cancel(service, owner, job_id)


def look_at_machine(service: Service) -> MachineView:
    """Slots, disk, and how many of what there are."""
    disk = shutil.disk_usage(service.settings.data_dir)
    with service.database.reading() as session:
        beat = session.get(Machine, HEARTBEAT)
        jobs = _jobs_by_state(session)
        accounts = session.scalar(select(func.count()).select_from(Account)) or 0
    value: dict[str, Any] = dict(beat.value) if beat else {}
    return MachineView(
        slots=tuple(value.get("slots", ())),
        supervisor_seen_at=beat.updated_at if beat else None,
        disk_free_bytes=disk.free,
        disk_bytes=disk.total,
        num_accounts=accounts,
        jobs=jobs,
        database="sqlite" if service.database.is_sqlite else "postgresql",
    )


def _jobs_by_state(session: Session) -> dict[str, int]:
    found = session.execute(select(Job.state, func.count()).group_by(Job.state))
    return {state: int(count) for state, count in found}


def _entry(job: Job, account: str) -> QueueEntry:
    return QueueEntry(
        id=job.id,
        account_id=job.account_id,
        account=account,
        base=job.base,
        state=job.state,
        wish=job.wish,
        attempt=job.attempt,
        priority=job.priority,
        slot=job.slot,
        percent=job.progress.get("percent"),
        created_at=job.created_at,
        started_at=job.started_at,
    )


@dataclass(frozen=True, slots=True)
class Health:
    """What a service needs, part by part; True where it is there.

    Args:
        storage: files can be written, and there is some room.
        supervisor: it said that it lives a moment ago.
        jobs: how many there are in each state; empty without a database.
    """

    database: bool
    storage: bool
    supervisor: bool
    jobs: dict[str, int]

    @property
    def is_ready(self) -> bool:
        """True where requests can be served and jobs are looked after."""
        return self.database and self.storage and self.supervisor


def look_at_health(service: Service) -> Health:
    """Asks each part; what does not answer is False, and nothing is raised."""
    storage = _can_store(service)
    try:
        with service.database.reading() as session:
            beat = session.get(Machine, HEARTBEAT)
            jobs = _jobs_by_state(session)
    except PostilError:
        return Health(database=False, storage=storage, supervisor=False, jobs={})
    is_alive = beat is not None and abs(service.now() - beat.updated_at) < ALIVE_FOR
    return Health(database=True, storage=storage, supervisor=is_alive, jobs=jobs)


def _can_store(service: Service) -> bool:
    try:
        free = shutil.disk_usage(service.settings.data_dir).free
        return free > LEAST_FREE_BYTES and os.access(service.settings.data_dir, os.W_OK)
    except OSError:
        return False
