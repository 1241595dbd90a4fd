"""Which job comes next: the highest priority, then the account with the fewest running jobs, then the one that has used
least lately, then the oldest job. Priorities rise with age, so that nobody waits for ever.

The choice is a pure function of one row per account and priority; ten thousand queued jobs make few of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Float, Integer, String, bindparam, func, or_, select, text, update
from sqlalchemy.orm import Session

from postil.platform.jobs.jobs import change_state
from postil.platform.service import Service
from postil.platform.store.tables import Account, Attempt, Job, UtcTime

AGEING_SECONDS = 3600.0
"""A job that has waited this long counts as one priority higher."""
HALF_LIFE_SECONDS = 6 * 3600.0
"""After this time what an account has used counts half."""
LONGEST_WAIT = timedelta(days=1)
"""No retry waits longer: a time further ahead comes from a clock that was set back."""


# The oldest job of each account and priority that may start now. It hops from one to the next in the index
# ix_jobs_queue instead of reading all that wait, on SQLite and PostgreSQL alike.
_OLDEST = (
    text("""
    WITH RECURSIVE queues(account_id, priority) AS (
        SELECT * FROM (
            SELECT account_id, priority FROM jobs WHERE state = 'queued' ORDER BY account_id, priority LIMIT 1
        ) AS first_queue
        UNION ALL
        SELECT
            (SELECT account_id FROM jobs
             WHERE state = 'queued' AND (account_id, priority) > (queues.account_id, queues.priority)
             ORDER BY account_id, priority LIMIT 1),
            (SELECT priority FROM jobs
             WHERE state = 'queued' AND (account_id, priority) > (queues.account_id, queues.priority)
             ORDER BY account_id, priority LIMIT 1)
        FROM queues WHERE queues.account_id IS NOT NULL
    )
    SELECT queues.account_id, queues.priority, accounts.recent_use_seconds, accounts.recent_use_at,
        (SELECT queued_at FROM jobs
         WHERE state = 'queued' AND account_id = queues.account_id AND priority = queues.priority
         AND (not_before IS NULL OR not_before <= :now OR not_before > :beyond)
         ORDER BY queued_at LIMIT 1) AS queued_at,
        (SELECT count(*) FROM jobs
         WHERE state IN ('starting', 'running', 'publishing') AND account_id = queues.account_id) AS running
    FROM queues JOIN accounts ON accounts.id = queues.account_id
    WHERE accounts.disabled_at IS NULL AND accounts.hold_reason = ''
    """)
    .bindparams(bindparam("now", type_=UtcTime()), bindparam("beyond", type_=UtcTime()))
    .columns(
        account_id=String(),
        priority=Integer(),
        recent_use_seconds=Float(),
        recent_use_at=UtcTime(),
        queued_at=UtcTime(),
        running=Integer(),
    )
)


@dataclass(frozen=True, slots=True)
class Queue:
    """The jobs of one account and priority that may start.

    Args:
        waited_seconds: of the oldest.
        running: jobs of the account that are at work.
        used_seconds: what the account's runs have taken lately.
    """

    account_id: str
    priority: int
    waited_seconds: float
    running: int
    used_seconds: float


@dataclass(frozen=True, slots=True)
class Claim:
    """A job that is to start now, in a slot.

    Args:
        attempt: the number of the run.
    """

    job_id: str
    account_id: str
    attempt: int
    slot: str


def choose_queue(queues: Iterable[Queue]) -> Queue | None:
    """The queue whose oldest job comes next; None where there is none."""
    return min(queues, key=_rank, default=None)


def _rank(queue: Queue) -> tuple[int, int, float, float, str]:
    aged = queue.priority + int(max(0.0, queue.waited_seconds) // AGEING_SECONDS)
    return -aged, queue.running, queue.used_seconds, -queue.waited_seconds, queue.account_id


def decayed(used_seconds: float, since_seconds: float) -> float:
    """What use counts after some time; a clock that was set back takes nothing away."""
    return float(used_seconds * 0.5 ** (max(0.0, since_seconds) / HALF_LIFE_SECONDS))


def claim_next(session: Session, service: Service, slot: str) -> Claim | None:
    """Takes the next job for a free slot: it is `starting` when the transaction ends.

    On SQLite a writing transaction is alone; on PostgreSQL rows that another transaction holds are passed over.
    """
    now = service.now()
    queue = choose_queue(_queues(session, now))
    if queue is None:
        return None
    query = (
        select(Job.id, Job.attempt)
        .where(Job.state == "queued", Job.account_id == queue.account_id, Job.priority == queue.priority, _is_due(now))
        .order_by(Job.queued_at, Job.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    found = session.execute(query).first()
    if found is None:
        return None
    job_id, attempt = found
    values = {"slot": slot, "not_before": None, "started_at": func.coalesce(Job.started_at, now)}
    if not change_state(session, job_id, ["queued"], "starting", attempt, now=now, begins_attempt=True, **values):
        return None
    session.add(Attempt(job_id=job_id, number=attempt + 1, slot=slot, started_at=now))
    session.flush()
    return Claim(job_id, queue.account_id, attempt + 1, slot)


def _is_due(now: datetime) -> ColumnElement[bool]:
    return or_(Job.not_before.is_(None), Job.not_before <= now, Job.not_before > now + LONGEST_WAIT)


def _queues(session: Session, now: datetime) -> Sequence[Queue]:
    """Of accounts that nothing holds."""
    found = []
    for row in session.execute(_OLDEST, {"now": now, "beyond": now + LONGEST_WAIT}):
        if row.queued_at is not None:
            since = (now - row.recent_use_at).total_seconds() if row.recent_use_at else 0.0
            used = decayed(row.recent_use_seconds, since)
            waited = (now - row.queued_at).total_seconds()
            found.append(Queue(row.account_id, row.priority, waited, row.running, used))
    return found


def note_use(session: Session, account_id: str, seconds: float, now: datetime) -> None:
    """Adds what a run has taken to its account's recent use."""
    account = session.get(Account, account_id)
    if account is None:
        return
    since = (now - account.recent_use_at).total_seconds() if account.recent_use_at else 0.0
    used = decayed(account.recent_use_seconds, since) + max(0.0, seconds)
    session.execute(update(Account).where(Account.id == account_id).values(recent_use_seconds=used, recent_use_at=now))
