"""Compares what should run with what runs, and does what is missing: starts, watches, stops, ends.

    queued      a slot is free: claimed (claiming.py), described (run_specs.py), started (backends.py)
    at work     its lock is held: progress is told, a wish is passed on;  its lock is free: ended (endings.py)
    publishing  the adapter goes into the library, the bill is written (endings.py)

Nothing here is lost when the process is killed: jobs stand in the database, runs in their folders.
"""

import logging
import os
import time
from dataclasses import fields
from pathlib import Path

from sqlalchemy import select, update

from postil.advice.estimate import Estimate
from postil.errors import CannotWriteError, PostilError
from postil.operating_system import os_reason
from postil.platform.administration import HEARTBEAT
from postil.platform.jobs.backends import Backend
from postil.platform.jobs.bill_of_run import cost_so_far
from postil.platform.jobs.claiming import Claim, claim_next
from postil.platform.jobs.endings import (
    WorkingJob,
    end_attempt,
    fail_start,
    find_ending,
    note_oom_kills,
    publish_job,
    tidy,
)
from postil.platform.jobs.jobs import AT_WORK, change_state, run_folder
from postil.platform.jobs.progress_reading import RunReader
from postil.platform.jobs.rate_learning import learn_from_run
from postil.platform.jobs.run_specs import make_spec
from postil.platform.jobs.slots import Slot, find_busy_gpus, find_slots, free_slots
from postil.platform.service import Service
from postil.platform.store.tables import Attempt, Job, Machine
from postil.platform.stored_errors import StoredError

HEARTBEAT_SECONDS = 5.0
PROGRESS_SECONDS = 0.8
_log = logging.getLogger(__name__)


class Reconciler:
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
        self._was_ready = False
        self._started_at = service.now()

    def tick(self) -> None:
        """One comparison of what should be with what is.

        Raises:
            DBAPIError: the database does not answer; nothing is lost by trying again.
        """
        is_ready = self.backend.tend()
        if self._is_due(HEARTBEAT, HEARTBEAT_SECONDS) or is_ready != self._was_ready:
            self._beat(is_ready)
            self._was_ready = is_ready
        for working in self._jobs_at_work():
            try:
                self._look_after(working)
            except (PostilError, OSError):  # one job's trouble must not keep others from being looked after
                _log.exception("job %s", working.id)
        if is_ready:
            self._fill_slots()

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
            job = session.get_one(Job, working.id)
            cost = cost_so_far(session, self.service, job, int(progress.get("step") or 0))
            progress["cost_micro"] = cost.amount_micro
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
            if cost.is_over and not job.wish:  # held at a checkpoint
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
        if state == "succeeded":
            learn_from_run(self.service, working.id, folder)
        _log.info("job %s: %s", working.id, state)

    def _tell_waiting(self, working: WorkingJob, error: PostilError) -> None:
        _log.warning("job %s cannot be published yet: %s", working.id, error.message)
        with self.service.database.writing() as session:
            where = (Job.id == working.id, Job.attempt == working.attempt)
            session.execute(update(Job).where(*where).values(error=StoredError.of(error).as_dict()))

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
            full = CannotWriteError("recipes.cannot_write", path=folder, reason=os_reason(error))
            self._could_not_start(working, folder, full)
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


def _working(job: Job, pid: int | None) -> WorkingJob:
    try:
        names = {field.name for field in fields(Estimate)}
        said = {name: value for name, value in (job.estimate or {}).items() if name in names}
        estimate = Estimate.from_dict(said) if said.get("phases") else None
    except (KeyError, TypeError, AttributeError):  # of another version
        estimate = None
    return WorkingJob(job.id, job.account_id, job.state, job.attempt, job.wish, job.slot or "", pid, estimate)
