"""What the supervisor does besides runs: data sets that wait for a check, bases to be fetched or measured, folders for
nobody.
"""

import logging
import secrets
import threading
import time

from sqlalchemy import select

from postil.errors import DataError, MissingInputError, TryAgainError
from postil.models.manifest import write_text_atomically
from postil.platform.accounts.deletion import finish_deletions
from postil.platform.bases.downloads import tend_downloads
from postil.platform.datasets.checks import tend_checks
from postil.platform.datasets.datasets import training_source
from postil.platform.jobs.backends import Backend
from postil.platform.jobs.jobs import AT_WORK, change_state, delete_run_folder
from postil.platform.jobs.measuring import Measuring
from postil.platform.money import ledger
from postil.platform.service import Service
from postil.platform.store.tables import Job, Machine
from postil.platform.stored_errors import StoredError
from postil.platform.upkeep import keep_up
from postil.recipes.run_lock import is_alive

CHECK_SECONDS, SWEEP_SECONDS, UPKEEP_SECONDS = 1.0, 10.0, 60.0
_log = logging.getLogger(__name__)


class Chores:
    """Each when it is due; what takes long has a thread of its own, so that runs are looked after meanwhile."""

    def __init__(self, service: Service, backend: Backend) -> None:
        self._service, self._backend = service, backend
        self._due: dict[str, float] = {}
        self._upkeep: threading.Thread | None = None
        self._measuring = Measuring(service)

    def tick(self) -> None:
        """Does what is due.

        Raises:
            TryAgainError: the database does not answer.
        """
        if self._is_due("checks", CHECK_SECONDS / 2):
            tend_checks(self._service)
            tend_downloads(self._service)
        if self._is_due("queue", CHECK_SECONDS):
            queue_checked(self._service)
            self._measuring.tick()
        if self._is_due("sweep", SWEEP_SECONDS):
            sweep_runs(self._service, self._backend)
        if self._is_due("upkeep", UPKEEP_SECONDS) and (self._upkeep is None or not self._upkeep.is_alive()):
            self._upkeep = threading.Thread(target=_keep_up, args=(self._service,), daemon=True)
            self._upkeep.start()

    def close(self) -> None:
        """Ends what should not outlive the supervisor."""
        self._measuring.close()

    def _is_due(self, name: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(name, 0.0):
            return False
        self._due[name] = now + seconds
        return True


def _keep_up(service: Service) -> None:
    try:
        finish_deletions(service)
        keep_up(service)
    except Exception:  # tried again in a minute
        _log.exception("upkeep")


def queue_checked(service: Service) -> None:
    """Jobs that waited for their data set to be checked may start, or have to fail."""
    with service.database.reading() as session:
        waiting = session.scalars(select(Job.id).where(Job.state == "validating_files")).all()
    for job_id in waiting:
        with service.database.writing() as session:
            job = session.get(Job, job_id)
            if job is None or job.state != "validating_files":
                continue
            now = service.now()
            try:
                training_source(session, service, job.account_id, str(job.dataset_id), job.dataset_version)
            except TryAgainError:
                continue
            except (DataError, MissingInputError) as error:
                told = StoredError.of(error).as_dict()
                ledger.refund(session, service, job, "failed")
                change_state(session, job_id, ["validating_files"], "failed", job.attempt, now=now, error=told)
                continue
            change_state(session, job_id, ["validating_files"], "queued", job.attempt, now=now)


def sweep_runs(service: Service, backend: Backend) -> None:
    """Ends runs that nobody wants any more (their account was deleted, say) and frees their folders."""
    folders = {folder.name: folder for folder in (service.settings.data_dir / "runs").glob("job_*")}
    if not folders or not _is_database_of_folders(service):
        return
    with service.database.reading() as session:
        query = select(Job.id, Job.state).where(Job.id.in_(folders))
        states = {row.id: row.state for row in session.execute(query)}
    for job_id, folder in folders.items():
        if states.get(job_id) in AT_WORK:
            continue
        if is_alive(folder):
            for attempt in sorted(int(p.name) for p in (folder / "attempts").glob("[0-9]*"))[::-1]:
                if backend.stop(folder, attempt, None, at_once=True):
                    break
        elif job_id not in states:
            delete_run_folder(folder)


def _is_database_of_folders(service: Service) -> bool:
    """False where the database was replaced by another one: that it knows no job is no reason to delete any."""
    mark = service.settings.data_dir / "runs" / ".database"
    with service.database.writing() as session:
        row = session.get(Machine, "database")
        if row is None:
            row = Machine(key="database", value={"id": secrets.token_hex(8)}, updated_at=service.now())
            session.add(row)
        known = str(row.value["id"])
    if not mark.exists():
        write_text_atomically(mark, known)
    if mark.read_text("utf-8") == known:
        return True
    _log.error("the folders in %s belong to another database and are left alone", mark.parent)
    return False
