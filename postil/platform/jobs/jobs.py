"""Jobs: what an account wants trained, from the wish to the adapter. Every change of state goes through `change_state`.

                                           ┌───────── a machine's failure, a kill, SIGTERM without a wish ──────┐
                                           v                                                                    │
    validating_files ──> queued ──> starting ──> running ──> publishing ──> succeeded                           │
            │             ^  │          │           │  └────────────────────────────────────────────────────────┤
            │             │  v          v           v                                                           │
            │            paused <── (wish "pause", at a checkpoint) ────────────────────────────────────────────┘
            v                v          v           v             v
         failed          cancelled   failed      cancelled     failed or cancelled

    who moves it     web: request_pause, request_resume, request_cancel; everything else the supervisor
    wish             what was asked for while a process is at work: "pause" or "cancel"; the supervisor carries it out
    attempt          counts the runs that were started; an old run's end changes nothing, since its number is old

A state ends in succeeded, failed or cancelled and never leaves them. Holding, cancelling and going on may be asked for
any number of times and in any state; what is already so stays so.
"""

import shutil
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import CursorResult, select, update
from sqlalchemy.orm import Session

from postil.errors import ConflictError, MissingInputError
from postil.platform.ids import is_id, new_id
from postil.platform.jobs.bill_of_run import settle_or_refund
from postil.platform.jobs.views import JobView, view_of
from postil.platform.service import Service
from postil.platform.store.tables import Job

State = Literal[
    "validating_files",
    "queued",
    "starting",
    "running",
    "publishing",
    "paused",
    "succeeded",
    "failed",
    "cancelled",
]
STATES: tuple[State, ...] = (
    *("validating_files", "queued", "starting", "running", "publishing"),
    *("paused", "succeeded", "failed", "cancelled"),
)
ENDED: frozenset[State] = frozenset({"succeeded", "failed", "cancelled"})
AT_WORK: frozenset[State] = frozenset({"starting", "running", "publishing"})
"""States in which a process may be at work and a slot is taken."""
WAITING: frozenset[State] = frozenset({"validating_files", "queued", "paused"})

MOVES: Mapping[State, frozenset[State]] = {
    "validating_files": frozenset({"queued", "failed", "cancelled"}),
    "queued": frozenset({"starting", "paused", "failed", "cancelled"}),
    "starting": frozenset({"running", "publishing", "queued", "paused", "failed", "cancelled"}),
    "running": frozenset({"publishing", "queued", "paused", "failed", "cancelled"}),
    "publishing": frozenset({"succeeded", "queued", "failed", "cancelled"}),
    "paused": frozenset({"queued", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}
"""The drawing above, as a table."""


def insert_job(
    session: Session,
    *,
    account_id: str,
    name: str,
    dataset_id: str | None,
    dataset_version: int,
    base: str,
    spec: Mapping[str, Any],
    now: datetime,
    estimate: Mapping[str, Any] | None = None,
    priority: int = 0,
    is_checked: bool = True,
) -> Job:
    """Adds a job, in the transaction of whoever submits it.

    Args:
        spec: {"settings": dotted settings, "preset": name, "kind": of data, "seed": number}, as submitted.
        is_checked: the data set has been checked; else the job waits for that first.
    """
    job = Job(
        id=new_id("job"),
        account_id=account_id,
        name=name,
        dataset_id=dataset_id,
        dataset_version=dataset_version,
        base=base,
        spec=dict(spec),
        state="queued" if is_checked else "validating_files",
        priority=priority,
        progress={},
        estimate=None if estimate is None else dict(estimate),
        created_at=now,
        queued_at=now,
        updated_at=now,
    )
    session.add(job)
    session.flush()
    return job


def change_state(
    session: Session,
    job_id: str,
    from_states: Collection[State],
    to: State,
    attempt: int,
    *,
    now: datetime,
    begins_attempt: bool = False,
    **values: Any,
) -> bool:
    """Moves a job, if it still is where the caller saw it.

    Args:
        attempt: the job's number of attempts that the caller saw.
        begins_attempt: counts one more.
        values: further columns that change with it.

    Returns:
        False where the job has moved on, or another attempt has begun: nothing has changed then.
    """
    assert all(to in MOVES[state] for state in from_states), (from_states, to)
    if begins_attempt:
        values["attempt"] = attempt + 1
    if to in ENDED:
        values |= {"ended_at": now, "wish": "", "slot": None, "not_before": None}
    elif to in WAITING:
        values |= {"slot": None}
    changed: CursorResult[Any] = session.execute(  # type: ignore[assignment]
        update(Job)
        .where(Job.id == job_id, Job.state.in_(from_states), Job.attempt == attempt)
        .values(state=to, updated_at=now, **values)
        .execution_options(synchronize_session=False)
    )
    session.expire_all()
    return changed.rowcount == 1


def own_job(session: Session, account_id: str, job_id: str, *, for_update: bool = False) -> Job:
    """The account's job of this identifier.

    Raises:
        MissingInputError: there is none, or it is somebody else's.
    """
    query = select(Job).where(Job.id == job_id, Job.account_id == account_id)
    job = session.scalar(query.with_for_update() if for_update else query) if is_id(job_id, "job") else None
    if job is None:
        raise MissingInputError("platform.jobs.no_such", id=job_id[:40])
    return job


def request_cancel(service: Service, account_id: str, job_id: str) -> JobView:
    """Ends a job: at once where no process works for it, else as soon as that has stopped. What has ended stays ended.

    Raises:
        MissingInputError: the account has no such job.
    """
    with service.database.writing() as session:
        job = own_job(session, account_id, job_id, for_update=True)
        if job.state in AT_WORK:
            job.wish, job.updated_at = "cancel", service.now()
        elif job.state in WAITING:
            settle_or_refund(session, service, job, "cancelled")
            change_state(session, job.id, [job.state], "cancelled", job.attempt, now=service.now())
        session.flush()
        return view_of(session, service, own_job(session, account_id, job_id))


def request_pause(service: Service, account_id: str, job_id: str) -> JobView:
    """Holds a job: at once where it waits, else at a checkpoint. It keeps its place and its priority.

    Raises:
        MissingInputError: the account has no such job.
        ConflictError: it has ended or is about to, or its file is still being checked.
    """
    with service.database.writing() as session:
        job = own_job(session, account_id, job_id, for_update=True)
        if job.state in ENDED or job.state in ("publishing", "validating_files") or job.wish == "cancel":
            raise ConflictError("platform.jobs.cannot_pause", name=job.name)
        if job.state in AT_WORK:
            job.wish, job.updated_at = "pause", service.now()
        elif job.state == "queued":
            change_state(session, job.id, ["queued"], "paused", job.attempt, now=service.now(), not_before=None)
        session.flush()
        return view_of(session, service, own_job(session, account_id, job_id))


def request_resume(service: Service, account_id: str, job_id: str) -> JobView:
    """Lets a held job go on, with the place in the queue that its age gives it.

    Raises:
        MissingInputError: the account has no such job.
        ConflictError: it has ended, or is being cancelled.
    """
    with service.database.writing() as session:
        job = own_job(session, account_id, job_id, for_update=True)
        if job.state in ENDED or job.wish == "cancel":
            raise ConflictError("platform.jobs.cannot_resume", name=job.name)
        if job.state == "paused":
            change_state(session, job.id, ["paused"], "queued", job.attempt, now=service.now())
        elif job.wish == "pause":
            job.wish, job.updated_at = "", service.now()
        session.flush()
        return view_of(session, service, own_job(session, account_id, job_id))


def delete_job(service: Service, account_id: str, job_id: str) -> int:
    """Deletes a job that has ended, with the folder of its run; its adapter and the bill stay.

    Returns:
        Bytes freed.

    Raises:
        MissingInputError: the account has no such job.
        ConflictError: it has not ended.
    """
    with service.database.writing() as session:
        job = own_job(session, account_id, job_id, for_update=True)
        if job.state not in ENDED:
            raise ConflictError("platform.jobs.not_ended", name=job.name)
        session.delete(job)
    return delete_run_folder(run_folder(service, job_id))


def delete_run_folder(folder: Path) -> int:
    """Deletes what a run has left; returns the bytes freed."""
    freed = sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file())
    shutil.rmtree(folder, ignore_errors=True)
    return freed


def run_folder(service: Service, job_id: str) -> Path:
    """Where the runs of a job work: all attempts in one folder."""
    return service.settings.data_dir / "runs" / job_id
