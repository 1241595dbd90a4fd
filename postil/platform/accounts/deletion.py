"""Deleting an account, for good: its runs are stopped, then its files and rows go; the bill keeps amounts only.

It takes two steps, since a run needs a while to stop. First nobody can sign in any more and every job is cancelled; as
soon as no process works for the account, everything is deleted. A process that dies in between loses nothing: the
supervisor goes on with what has begun.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from postil.errors import MissingInputError, PostilError, TryAgainError
from postil.platform.accounts.accounts import account_row, end_sessions, refuse_last_admin
from postil.platform.adapters.adapters import delete_adapter
from postil.platform.datasets.datasets import delete_dataset, finish_deletion
from postil.platform.jobs.jobs import AT_WORK, ENDED, delete_job, request_cancel
from postil.platform.service import Service
from postil.platform.store.tables import Account, Adapter, ApiKey, Dataset, Job, OneTimeLink

# A run ends within `kill_after_seconds` of the asking; the supervisor needs a moment, too.
MORE_SECONDS = 10.0
_POLL_SECONDS = 0.2
_log = logging.getLogger(__name__)


def delete_account(service: Service, account_id: str, *, wait_seconds: float | None = None) -> int:
    """Deletes an account and everything that is its own.

    Args:
        wait_seconds: for runs to stop; None takes as long as they may need.

    Returns:
        Bytes freed on the disk.

    Raises:
        MissingInputError: there is no such account.
        ConflictError: it is the last admin.
        TryAgainError: a run has not stopped yet. Nobody can sign in any more, and the supervisor will go on.
    """
    with service.database.writing() as session:
        account = account_row(session, account_id)
        if account.disabled_at is None:
            refuse_last_admin(session, account)
            account.disabled_at = service.now()
        account.deleting_at = account.deleting_at or service.now()
        end_sessions(session, account_id)
        session.execute(delete(ApiKey).where(ApiKey.account_id == account_id))
        session.execute(delete(OneTimeLink).where(OneTimeLink.account_id == account_id))
    _cancel_jobs(service, account_id)
    patience = service.settings.kill_after_seconds + MORE_SECONDS if wait_seconds is None else wait_seconds
    give_up_at = time.monotonic() + patience
    while _is_at_work(service, account_id):
        if time.monotonic() >= give_up_at:
            raise TryAgainError("platform.deletion.stopping", retry_after_seconds=patience)
        time.sleep(_POLL_SECONDS)
    return _delete_everything(service, account_id)


def finish_deletions(service: Service) -> int:
    """Goes on with deletions that have begun and whose runs have stopped; comes back soon.

    Returns:
        Bytes freed.
    """
    with service.database.reading() as session:
        begun = session.scalars(select(Account.id).where(Account.deleting_at.is_not(None))).all()
    freed = 0
    for account_id in begun:
        try:
            _cancel_jobs(service, account_id)
            if not _is_at_work(service, account_id):
                freed += _delete_everything(service, account_id)
        except (PostilError, OSError):  # it is tried again
            _log.exception("the deletion of account %s", account_id)
    return freed


def _cancel_jobs(service: Service, account_id: str) -> None:
    with service.database.reading() as session:
        alive = session.scalars(select(Job.id).where(Job.account_id == account_id, Job.state.not_in(ENDED))).all()
    for job_id in alive:
        request_cancel(service, account_id, job_id)


def _is_at_work(service: Service, account_id: str) -> bool:
    with service.database.reading() as session:
        query = select(Job.id).where(Job.account_id == account_id, Job.state.in_(AT_WORK)).limit(1)
        return session.scalar(query) is not None


def _delete_everything(service: Service, account_id: str) -> int:
    """Files first, then rows, the account's own last: what a crash leaves is found and deleted by the next call."""
    with service.database.reading() as session:
        adapters, jobs, datasets = (_ids(session, kind, account_id) for kind in (Adapter, Job, Dataset))
    freed = 0
    for adapter_id in adapters:
        freed += _freed_by(partial(delete_adapter, service, account_id, adapter_id, force=True))
    for job_id in jobs:
        freed += _freed_by(partial(delete_job, service, account_id, job_id))
    for dataset_id in datasets:
        freed += _freed_by(partial(delete_dataset, service, account_id, dataset_id))
        freed += finish_deletion(service, dataset_id)  # of one whose deletion had begun before
    with service.database.writing() as session, contextlib.suppress(MissingInputError):
        session.delete(account_row(session, account_id))
    with contextlib.suppress(TryAgainError):  # somebody reads; upkeep does it later
        service.database.empty_log()
    return freed


def _freed_by(delete_it: Callable[[], int]) -> int:
    """What a deletion frees; nothing where another process was quicker."""
    try:
        return delete_it()
    except MissingInputError:
        return 0


def _ids(session: Session, kind: type[Adapter | Job | Dataset], account_id: str) -> list[str]:
    return list(session.scalars(select(kind.id).where(kind.account_id == account_id)))
