"""The supervisor: compares what should run with what runs, five times a second, and does what is missing.

    python -m postil.platform.supervisor --data DIR

It is no broker and keeps nothing that it cannot read again: jobs stand in the database, runs in their folders, and
whether a run lives says its lock. So it may be killed at any moment; the next one takes up the runs that live. There is
one for a data folder (`supervisor.lock`). When it is asked to end, runs go on.
"""

import argparse
import logging
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import FrameType

from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from postil.advice.estimate import Estimate
from postil.errors import CannotWriteError, DataError, MissingInputError, PostilError, TryAgainError
from postil.models.manifest import write_text_atomically
from postil.platform import ledger
from postil.platform.backends import Backend, LocalBackend
from postil.platform.bill_of_run import trained_steps
from postil.platform.claiming import Claim, claim_next
from postil.platform.dataset_checks import tend_checks
from postil.platform.datasets import training_source
from postil.platform.endings import (
    WorkingJob,
    end_attempt,
    fail_start,
    find_ending,
    note_oom_kills,
    publish_job,
    tidy,
)
from postil.platform.jobs import AT_WORK, change_state, delete_run_folder, run_folder
from postil.platform.progress_reading import RunReader
from postil.platform.run_specs import make_spec
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.platform.slots import Slot, find_busy_gpus, find_slots, free_slots
from postil.platform.stored_errors import StoredError
from postil.platform.tables import Attempt, Job, Machine
from postil.recipes.row_tokens import find_row_tokens
from postil.recipes.run_lock import is_alive, take_lock

HEARTBEAT = "supervisor"
HEARTBEAT_SECONDS = 5.0
PROGRESS_SECONDS = 0.8
SWEEP_SECONDS = 10.0
CHECK_SECONDS = 1.0
AFTER_ERROR_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Supervisor:
    """One process's view of all runs. Everything here is worked out anew after a restart.

    Args:
        backend: starts, stops and watches runs.
        slots: where runs can be put; found on this machine where not given.
    """

    def __init__(self, service: Service, backend: Backend, slots: tuple[Slot, ...] | None = None) -> None:
        self.service, self.backend = service, backend
        self.slots = find_slots(service.settings) if slots is None else slots
        self._readers: dict[str, RunReader] = {}
        self._kill_at: dict[tuple[str, int], float] = {}
        self._told_at: dict[str, float] = {}
        self._publish_at: dict[str, tuple[float, int]] = {}
        self._due: dict[str, float] = {}
        self._started_at = service.now()

    def tick(self) -> None:
        """One comparison of what should be with what is.

        Raises:
            DBAPIError: the database does not answer; nothing is lost by trying again.
        """
        is_ready = self.backend.tend()
        if self._is_due(HEARTBEAT, HEARTBEAT_SECONDS):
            self._beat(is_ready)
        for working in self._jobs_at_work():
            try:
                self._look_after(working)
            except (PostilError, OSError):  # one job's trouble must not keep others from being looked after
                _log.exception("job %s", working.id)
        tend_checks(self.service)
        if self._is_due("checked", CHECK_SECONDS):
            self._queue_checked()
        if is_ready:
            self._fill_slots()
        if self._is_due("sweep", SWEEP_SECONDS):
            self._sweep()

    def _is_due(self, name: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due.get(name, 0.0):
            return False
        self._due[name] = now + seconds
        return True

    def _beat(self, is_ready: bool) -> None:
        now = self.service.now()
        value = {
            "pid": os.getpid(),
            "started_at": self._started_at.isoformat(),
            "is_ready": is_ready,
            "slots": [slot.name for slot in self.slots],
        }
        with self.service.database.writing() as session:
            session.merge(Machine(key=HEARTBEAT, value=value, updated_at=now))

    def _jobs_at_work(self) -> list[WorkingJob]:
        query = select(Job, Attempt.pid).outerjoin(
            Attempt, (Attempt.job_id == Job.id) & (Attempt.number == Job.attempt)
        )
        with self.service.database.reading() as session:
            return [_working(job, pid) for job, pid in session.execute(query.where(Job.state.in_(AT_WORK)))]

    def _look_after(self, working: WorkingJob) -> None:
        folder = run_folder(self.service, working.id)
        reader = self._reader(working, folder)
        if working.state == "publishing":
            self._publish(working, folder, reader)
            return
        status = self.backend.status(folder)
        if status == "alive":
            self._watch(working, folder, reader)
            return
        if status == "lost":  # its folder was deleted under it: what is left of it trains for nobody
            self.backend.stop(folder, working.attempt, working.pid, at_once=True)
        ending = find_ending(folder, working.attempt, reader)
        decision = end_attempt(self.service, working, folder, ending, reader)
        self._forget(working)
        if decision is not None:
            _log.info("job %s attempt %d: %s -> %s", working.id, working.attempt, ending.cause, decision.to)
            if decision.to in ("failed", "cancelled"):
                tidy(self.service, working.id, folder)

    def _reader(self, working: WorkingJob, folder: Path) -> RunReader:
        if working.id not in self._readers:
            self._readers[working.id] = RunReader(folder, working.estimate)
        return self._readers[working.id]

    def _forget(self, working: WorkingJob) -> None:
        self._readers.pop(working.id, None)
        self._told_at.pop(working.id, None)
        self._kill_at.pop((working.id, working.attempt), None)

    def _watch(self, working: WorkingJob, folder: Path, reader: RunReader) -> None:
        """A run that lives: its progress is told, and what is wished is asked of it."""
        is_new = reader.read()
        now = time.monotonic()
        is_time = now - self._told_at.get(working.id, -PROGRESS_SECONDS) >= PROGRESS_SECONDS
        if working.state == "starting" or (is_new and is_time):
            self._told_at[working.id] = now
            self._tell(working, reader)
        if working.wish:
            self._stop(working, folder)

    def _tell(self, working: WorkingJob, reader: RunReader) -> None:
        now = self.service.now()
        with self.service.database.writing() as session:
            progress = reader.progress(now)
            if working.state == "starting":
                change_state(
                    session,
                    working.id,
                    ["starting"],
                    "running",
                    working.attempt,
                    now=now,
                    progress=progress,
                    error=None,
                )
                return
            session.execute(
                update(Job)
                .where(Job.id == working.id, Job.state == "running", Job.attempt == working.attempt)
                .values(progress=progress)
            )
            self._hold_over_cap(working, session)

    def _hold_over_cap(self, working: WorkingJob, session) -> None:  # type: ignore[no-untyped-def]
        """A job that has reached its cap, or its account's, is held at a checkpoint."""
        job = session.get(Job, working.id, populate_existing=True)
        found = find_row_tokens(run_folder(self.service, working.id))
        if job is None or found is None or job.wish:
            return
        cost = ledger.cost_so_far(session, self.service, job, found.row_tokens, found.passes(trained_steps(job)))
        if cost.is_over:
            job.wish, job.error = "pause", {"key": "platform.jobs.cap_reached", "values": {}}

    def _stop(self, working: WorkingJob, folder: Path) -> None:
        key = (working.id, working.attempt)
        if key not in self._kill_at:
            if self.backend.stop(folder, working.attempt, working.pid, at_once=False):
                self._kill_at[key] = time.monotonic() + self.service.settings.kill_after_seconds
        elif time.monotonic() >= self._kill_at[key]:
            self.backend.stop(folder, working.attempt, working.pid, at_once=True)

    def _publish(self, working: WorkingJob, folder: Path, reader: RunReader) -> None:
        at, tries = self._publish_at.get(working.id, (0.0, 0))
        if time.monotonic() < at and working.wish != "cancel":
            return
        reader.read()
        try:
            state = publish_job(self.service, working, folder, reader)
        except CannotWriteError as error:
            waits = self.service.settings.retry_seconds or (60.0,)
            self._publish_at[working.id] = (time.monotonic() + waits[min(tries, len(waits) - 1)], tries + 1)
            self._tell_waiting(working, error)
            return
        self._publish_at.pop(working.id, None)
        self._forget(working)
        tidy(self.service, working.id, folder)
        _log.info("job %s: %s", working.id, state)

    def _tell_waiting(self, working: WorkingJob, error: PostilError) -> None:
        _log.warning("job %s cannot be published yet: %s", working.id, error.message)
        with self.service.database.writing() as session:
            where = (Job.id == working.id, Job.attempt == working.attempt)
            session.execute(update(Job).where(*where).values(error=StoredError.of(error).as_dict()))

    def _queue_checked(self) -> None:
        """Jobs that waited for their data set to be checked may start, or have to fail."""
        with self.service.database.reading() as session:
            waiting = session.scalars(select(Job.id).where(Job.state == "validating_files")).all()
        for job_id in waiting:
            with self.service.database.writing() as session:
                job = session.get(Job, job_id)
                if job is None or job.state != "validating_files":
                    continue
                now = self.service.now()
                try:
                    training_source(session, self.service, job.account_id, str(job.dataset_id), job.dataset_version)
                except TryAgainError:
                    continue
                except (DataError, MissingInputError) as error:
                    told = StoredError.of(error).as_dict()
                    ledger.refund(session, self.service, job, "failed")
                    change_state(session, job_id, ["validating_files"], "failed", job.attempt, now=now, error=told)
                    continue
                change_state(session, job_id, ["validating_files"], "queued", job.attempt, now=now)

    def _fill_slots(self) -> None:
        with self.service.database.reading() as session:
            taken = set(session.scalars(select(Job.slot).where(Job.state.in_(AT_WORK))))
            any_queued = session.scalar(select(Job.id).where(Job.state == "queued").limit(1)) is not None
        if not any_queued:
            return
        free = free_slots(self.slots, {name for name in taken if name})
        busy = find_busy_gpus() if any(slot.gpu for slot in free) else frozenset()
        for slot in free_slots(free, (), busy):
            with self.service.database.writing() as session:
                claim = claim_next(session, self.service, slot.name)
            if claim is None:
                return
            self._start(claim, slot)

    def _start(self, claim: Claim, slot: Slot) -> None:
        folder = run_folder(self.service, claim.job_id)
        working = WorkingJob(claim.job_id, claim.account_id, "starting", claim.attempt, "", slot.name, None, None)
        try:
            with self.service.database.reading() as session:
                spec = make_spec(session, self.service, session.get_one(Job, claim.job_id), slot, folder)
            note_oom_kills(folder, claim.attempt)
            pid = self.backend.submit(folder, spec)
        except OSError as error:
            reason = error.strerror or str(error)
            self._could_not_start(working, folder, CannotWriteError("recipes.cannot_write", path=folder, reason=reason))
        except PostilError as error:
            self._could_not_start(working, folder, error)
        else:
            with self.service.database.writing() as session:
                where = (Attempt.job_id == claim.job_id, Attempt.number == claim.attempt)
                session.execute(update(Attempt).where(*where).values(pid=pid))
            _log.info("job %s attempt %d started in %s as process %d", claim.job_id, claim.attempt, slot.name, pid)

    def _could_not_start(self, working: WorkingJob, folder: Path, error: PostilError) -> None:
        _log.warning("job %s could not be started: %s", working.id, error.message)
        fail_start(self.service, working, folder, error, RunReader(folder))
        tidy(self.service, working.id, folder)

    def _sweep(self) -> None:
        """Ends runs that nobody wants any more (their account was deleted, say) and frees their folders."""
        folders = {folder.name: folder for folder in (self.service.settings.data_dir / "runs").glob("job_*")}
        if not folders or not self._is_database_of_folders():
            return
        with self.service.database.reading() as session:
            query = select(Job.id, Job.state).where(Job.id.in_(folders))
            states = {row.id: row.state for row in session.execute(query)}
        for job_id, folder in folders.items():
            if states.get(job_id) in AT_WORK:
                continue
            if is_alive(folder):
                for attempt in sorted(int(p.name) for p in (folder / "attempts").glob("[0-9]*"))[::-1]:
                    if self.backend.stop(folder, attempt, None, at_once=True):
                        break
            elif job_id not in states:
                delete_run_folder(folder)

    def _is_database_of_folders(self) -> bool:
        """False where the database was replaced by another one: that it knows no job is no reason to delete any."""
        mark = self.service.settings.data_dir / "runs" / ".database"
        with self.service.database.writing() as session:
            row = session.get(Machine, "database")
            if row is None:
                row = Machine(key="database", value={"id": secrets.token_hex(8)}, updated_at=self.service.now())
                session.add(row)
            known = str(row.value["id"])
        if not mark.exists():
            write_text_atomically(mark, known)
        if mark.read_text("utf-8") == known:
            return True
        _log.error("the folders in %s belong to another database and are left alone", mark.parent)
        return False


def _working(job: Job, pid: int | None) -> WorkingJob:
    try:
        names = {field.name for field in fields(Estimate)}
        said = {name: value for name, value in (job.estimate or {}).items() if name in names}
        estimate = Estimate.from_dict(said) if said.get("phases") else None
    except (KeyError, TypeError, AttributeError):  # of another version
        estimate = None
    return WorkingJob(job.id, job.account_id, job.state, job.attempt, job.wish, job.slot or "", pid, estimate)


def supervise(service: Service, should_stop: Callable[[], bool], backend: Backend | None = None) -> None:
    """Ticks until it is told to stop; runs go on then.

    Raises:
        TryAgainError: another supervisor looks after this data folder.
        CannotWriteError: the data folder cannot be written.
    """
    data_dir = service.settings.data_dir
    lock = take_lock(data_dir / "supervisor.lock", "platform.jobs.second_supervisor")
    slots = find_slots(service.settings)
    made = backend or LocalBackend(data_dir, needs_zygote=any(slot.kind == "cpu" for slot in slots))
    try:
        with closing(made):
            supervisor = Supervisor(service, made, slots)
            while not should_stop():
                time.sleep(service.settings.poll_seconds if _tick(supervisor) else AFTER_ERROR_SECONDS)
    finally:
        os.close(lock)


def _tick(supervisor: Supervisor) -> bool:
    try:
        supervisor.tick()
    except DBAPIError as error:
        _log.warning("the database does not answer: %s", error.orig)
        return False
    except PostilError as error:
        _log.warning("%s %s", error.message, error.hint)
        return False
    except Exception:  # a bug of ours in one place is no reason to leave all runs alone
        _log.exception("unexpected")
        return False
    return True


def last_heartbeat(service: Service) -> datetime | None:
    """When the supervisor last said that it lives; None before the first time."""
    with service.database.reading() as session:
        row = session.get(Machine, HEARTBEAT)
        return row.updated_at if row else None


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="python -m postil.platform.supervisor")
    parser.add_argument("--data", type=Path, required=True)
    data_dir: Path = parser.parse_args().data
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    try:
        supervise(open_service(load_settings(data_dir)), stop.is_set)
    except PostilError as error:
        sys.stderr.write(f"{error.message} {error.hint}\n")
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
