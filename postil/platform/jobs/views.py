"""What others see of a job: where it stands, how far it is, what it costs, and why it ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, func, or_, select
from sqlalchemy.orm import Session

from postil.advice.estimate import Grade
from postil.advice.recommend import said_again
from postil.errors import MissingInputError
from postil.language import has_sentence, say
from postil.platform.ids import is_id
from postil.platform.jobs.bill_of_run import costs_told
from postil.platform.service import Service
from postil.platform.store.tables import Adapter, Job

# Asked by everybody who watches a job, every other second: composed once, at half the time of a question.
_OWN_JOB = select(Job).where(Job.id == bindparam("job_id"), Job.account_id == bindparam("account_id"))


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, or what keeps it waiting, in the current language.

    Args:
        problems: of the data, the first hundred.
    """

    code: str
    message: str
    hint: str
    problems: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class JobView:
    """One job.

    Args:
        state: of `jobs.STATES`.
        wish: "" or what was asked for and is being done: "pause" or "cancel".
        ahead: jobs that wait before it in the queue, whoever's they are; None where it does not wait.
        progress: phase, percent, seconds_left_low and _high, step, steps, loss, smoothed_loss, heldout_loss,
            tokens_per_second, curve and samples (learning_curve.py); a part of it, or {} before the first event.
        cost_micro: so far, or in the end.
        estimate, actual: said before, seen afterwards.
        adapter_id: the result.
    """

    id: str
    account_id: str
    name: str
    state: str
    wish: str
    attempt: int
    priority: int
    dataset_id: str | None
    dataset_version: int
    base: str
    spec: Mapping[str, Any]
    progress: Mapping[str, Any]
    estimate: Mapping[str, Any] | None
    actual: Mapping[str, Any] | None
    error: JobError | None
    cost_micro: int
    currency: str
    ahead: int | None
    adapter_id: str | None
    created_at: datetime
    queued_at: datetime | None
    not_before: datetime | None
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def has_ended(self) -> bool:
        """True where nothing changes any more."""
        return self.ended_at is not None


def get_job(service: Service, account_id: str, job_id: str) -> JobView:
    """One job of the account, with its place in the queue.

    Raises:
        MissingInputError: the account has none of this identifier.
    """
    with service.database.reading() as session:
        asked = {"job_id": job_id, "account_id": account_id}
        job = session.scalar(_OWN_JOB, asked) if is_id(job_id, "job") else None
        if job is None:
            raise MissingInputError("platform.jobs.no_such", id=job_id[:40])
        return view_of(session, service, job)


def list_jobs(
    service: Service, account_id: str, *, state: str | None = None, limit: int = 50, after: str | None = None
) -> tuple[JobView, ...]:
    """The account's jobs, newest first.

    Args:
        after: the job that ended the page before.

    Raises:
        MissingInputError: `after` is no job of the account.
    """
    query = select(Job).where(Job.account_id == account_id).order_by(Job.created_at.desc(), Job.id.desc())
    if state is not None:
        query = query.where(Job.state == state)
    with service.database.reading() as session:
        if after is not None:
            last = session.scalar(select(Job).where(Job.id == after, Job.account_id == account_id))
            if last is None:
                raise MissingInputError("platform.jobs.no_such", id=after[:40])
            query = query.where(
                or_(Job.created_at < last.created_at, and_(Job.created_at == last.created_at, Job.id < last.id))
            )
        rows = session.scalars(query.limit(limit)).all()
        adapters, costs = _adapters_of(session, rows), costs_told(session, rows)
        return tuple(_view(service, row, None, adapters.get(row.id), costs[row.id]) for row in rows)


def view_of(session: Session, service: Service, job: Job) -> JobView:
    """A job with its place in the queue and its adapter."""
    ahead = _num_ahead(session, job) if job.state == "queued" else None
    return _view(service, job, ahead, _adapters_of(session, [job]).get(job.id), costs_told(session, [job])[job.id])


def _num_ahead(session: Session, job: Job) -> int:
    before = or_(Job.priority > job.priority, and_(Job.priority == job.priority, Job.queued_at < job.queued_at))
    query = select(func.count()).select_from(Job).where(Job.state == "queued", before)
    return int(session.execute(query).scalar_one())


def _adapters_of(session: Session, jobs: Sequence[Job]) -> dict[str, str]:
    ended = [job.id for job in jobs if job.state == "succeeded"]
    if not ended:
        return {}
    found = session.execute(select(Adapter.job_id, Adapter.id).where(Adapter.job_id.in_(ended)))
    return {str(job_id): adapter_id for job_id, adapter_id in found}


def _view(service: Service, job: Job, ahead: int | None, adapter_id: str | None, cost_micro: int) -> JobView:
    return JobView(
        id=job.id,
        account_id=job.account_id,
        name=job.name,
        state=job.state,
        wish=job.wish,
        attempt=job.attempt,
        priority=job.priority,
        dataset_id=job.dataset_id,
        dataset_version=job.dataset_version,
        base=job.base,
        spec=_spec_in_words(job.spec),
        progress=dict(job.progress),
        estimate=None if job.estimate is None else dict(job.estimate),
        actual=None if job.actual is None else _actual_in_words(job.actual),
        error=error_view(job.error),
        cost_micro=cost_micro,
        currency=service.settings.currency,
        ahead=ahead,
        adapter_id=adapter_id,
        created_at=job.created_at,
        queued_at=job.queued_at,
        not_before=job.not_before,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )


def _spec_in_words(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Advice was kept in the language of whoever submitted; it is told in that of whoever reads."""
    return {**spec, "advice": said_again(spec["advice"])} if spec.get("advice") else dict(spec)


def _actual_in_words(actual: Mapping[str, Any]) -> dict[str, Any]:
    return {**actual, "grade": Grade.from_dict(actual["grade"]).as_dict()} if actual.get("grade") else dict(actual)


def error_view(stored: Mapping[str, Any] | None) -> JobError | None:
    """An error as it was kept, told in the current language; in the run's own words where the sentence is not known."""
    if not stored:
        return None
    key, values = str(stored["key"]), dict(stored.get("values") or {})
    known = has_sentence(key)
    hint = say(f"{key}.hint", **values) if known and has_sentence(f"{key}.hint") else str(stored.get("hint", ""))
    return JobError(
        code=key,
        message=say(key, **values) if known else str(stored.get("message", "")),
        hint=hint,
        problems=tuple(stored.get("problems") or ()),
    )
