"""How runs end: the cause is found, the job moves on, the bill is written, the adapter published. Each step may be
repeated: a supervisor that is killed in the middle leaves what the next one goes on with.
"""

import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from postil.advice.estimate import Actual, Estimate, grade
from postil.errors import DataError, MissingInputError, PostilError
from postil.platform.adapters import adapters
from postil.platform.jobs.bill_of_run import cost_so_far, settle_or_refund
from postil.platform.jobs.claiming import note_use
from postil.platform.jobs.jobs import ENDED, change_state
from postil.platform.jobs.progress_reading import RunReader
from postil.platform.jobs.retrying import Decision, EndCause, Ending, Tally, decide
from postil.platform.jobs.run_specs import smaller_packs
from postil.platform.money import ledger
from postil.platform.service import Service
from postil.platform.store.tables import Attempt, Job
from postil.platform.stored_errors import StoredError
from postil.recipes.launch import RunError, attempt_folder, find_exit
from postil.recipes.row_tokens import find_row_tokens

OOM_COUNT = "oom_kills"
_CRASH = b"Fatal Python error"
_TAIL_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class WorkingJob:
    """A job at work, as a transaction saw it."""

    id: str
    account_id: str
    state: str
    attempt: int
    wish: str
    slot: str
    pid: int | None
    estimate: Estimate | None


def count_oom_kills() -> int:
    """Processes that this machine has killed for want of memory since it started; 0 where nothing says so."""
    try:
        lines = Path("/proc/vmstat").read_text("ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def note_oom_kills(folder: Path, attempt: int) -> None:
    """Keeps the count with an attempt that begins: when it is killed and the count has risen, that was why."""
    place = attempt_folder(folder, attempt)
    place.mkdir(parents=True, exist_ok=True)
    (place / OOM_COUNT).write_text(str(count_oom_kills()), "ascii")


def find_ending(folder: Path, attempt: int, reader: RunReader) -> Ending:
    """How an attempt ended that does not live any more."""
    reader.read()
    checkpoint = reader.checkpoint_step
    if not folder.is_dir():
        return Ending("lost", error=RunError(key="platform.jobs.folder_lost"))
    ended = find_exit(folder, attempt)
    if ended is not None:
        return Ending(ended.cause, ended.step, checkpoint, ended.error)
    step = reader.last_step
    if _was_crash(folder, attempt):
        return Ending("own", step, checkpoint, RunError(key="platform.jobs.crashed"))
    cause: EndCause = "killed_for_memory" if _was_memory(folder, attempt) else "killed"
    return Ending(cause, step, checkpoint, RunError(key=f"platform.jobs.{cause}"))


def _was_crash(folder: Path, attempt: int) -> bool:
    """True where Python's own last words are in the output: a library crashed."""
    try:
        with (attempt_folder(folder, attempt) / "stderr").open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            return _CRASH in file.read()
    except OSError:
        return False


def _was_memory(folder: Path, attempt: int) -> bool:
    try:
        before = int((attempt_folder(folder, attempt) / OOM_COUNT).read_text("ascii"))
    except (OSError, ValueError):
        return False
    return count_oom_kills() > before


def end_attempt(
    service: Service, working: WorkingJob, folder: Path, ending: Ending, reader: RunReader
) -> Decision | None:
    """Moves a job on whose run has ended; None where somebody else has done so."""
    with service.database.writing() as session:
        job = session.get(Job, working.id, with_for_update=True)
        if job is None or job.state != working.state or job.attempt != working.attempt:
            return None
        tally = Tally(
            failures=job.failures,
            retries=job.retries,
            failed_step=job.failed_step,
            last_checkpoint_step=job.last_checkpoint_step,
            is_smaller="max_pack_tokens" in job.spec,
        )
        decision = decide(ending, tally, job.wish, service.settings)
        _close_attempt(session, service, job, ending, reader)
        _apply(session, service, job, folder, decision, reader)
        return decision


def fail_start(
    service: Service, working: WorkingJob, folder: Path, error: PostilError, reader: RunReader
) -> Decision | None:
    """Moves a job on whose run could not be started.

    Args:
        error: the data, the base or the settings are wrong or gone (the job fails), or it may go better later.
    """
    told = StoredError.of(error).as_dict()
    kept = RunError(key=told["key"], values=told["values"], message=error.message, hint=error.hint)
    cause: EndCause = "user" if 64 <= error.exit_code <= 70 else "killed" if error.exit_code == 75 else "not_started"
    return end_attempt(service, working, folder, Ending(cause, error=kept), reader)


def _close_attempt(session: Session, service: Service, job: Job, ending: Ending, reader: RunReader) -> None:
    attempt = session.get(Attempt, (job.id, job.attempt))
    if attempt is not None and attempt.ended_at is None:
        attempt.ended_at, attempt.cause = service.now(), ending.cause
    note_use(session, job.account_id, reader.take_seconds(), service.now())
    session.flush()


def _apply(session: Session, service: Service, job: Job, folder: Path, decision: Decision, reader: RunReader) -> None:
    now, tally = service.now(), decision.tally
    progress = job.progress | reader.progress(now)
    progress["cost_micro"] = cost_so_far(session, service, job, int(progress.get("step") or 0)).amount_micro
    values: dict[str, Any] = {
        "failures": tally.failures,
        "retries": tally.retries,
        "failed_step": tally.failed_step,
        "last_checkpoint_step": tally.last_checkpoint_step,
        "progress": progress,
        "error": decision.error,
    }
    if tally.is_smaller and "max_pack_tokens" not in job.spec:
        values["spec"] = dict(job.spec) | {"max_pack_tokens": smaller_packs(folder)}
    if decision.to == "queued":
        values["not_before"] = now + timedelta(seconds=decision.wait_seconds) if decision.wait_seconds else None
    if decision.to == "paused":
        values["wish"] = ""
    if decision.to == "cancelled":
        job.progress = progress
        settle_or_refund(session, service, job, "cancelled")
    if decision.to == "failed":
        ledger.refund(session, service, job, "failed")
    session.flush()
    change_state(session, job.id, [job.state], decision.to, job.attempt, now=now, **values)  # type: ignore[list-item]


def publish_job(service: Service, working: WorkingJob, folder: Path, reader: RunReader) -> str:
    """Ends a job whose run is done: its adapter in the library, its bill written, all in one transaction.

    Returns:
        The state that the job has now.

    Raises:
        CannotWriteError: the disk is full or read-only; the job stays as it is.
    """
    adapter = folder / "adapter"
    has_adapter = not working.slot.startswith("fake")
    try:
        stored = adapters.store(service, working.id, adapter) if has_adapter and working.wish != "cancel" else None
    except (DataError, MissingInputError) as error:
        return _train_again(service, working, folder, error, reader)
    with service.database.writing() as session:
        job = session.get(Job, working.id, with_for_update=True)
        if job is None or job.state != "publishing":
            return job.state if job else "deleted"
        if job.wish == "cancel":
            settle_or_refund(session, service, job, "cancelled")
            change_state(session, job.id, ["publishing"], "cancelled", job.attempt, now=service.now())
            state = "cancelled"
        else:
            if has_adapter:
                adapters.publish(session, service, job, adapter, stored)
            price = _settle(session, service, job, folder)
            values: dict[str, Any] = {
                "actual": _actual(working, reader, price),
                "error": None,
                "progress": reader.progress(service.now()),
            }
            change_state(session, job.id, ["publishing"], "succeeded", job.attempt, now=service.now(), **values)
            state = "succeeded"
    if state == "cancelled":
        service.storage.delete(adapters.storage_key(adapters.adapter_id_of(working.id)))
    return state


def _settle(session: Session, service: Service, job: Job, folder: Path) -> int:
    found = find_row_tokens(folder)
    step = int(job.progress.get("step") or 0)
    if found is None:
        return ledger.settle(session, service, job, [], 0)
    return ledger.settle(session, service, job, found.row_tokens, found.passes(step))


def _train_again(service: Service, working: WorkingJob, folder: Path, error: PostilError, reader: RunReader) -> str:
    """What the run has left is not whole, so that nothing can be published: it is as if the run had been lost."""
    shutil.rmtree(folder / "adapter", ignore_errors=True)
    (folder / "result.json").unlink(missing_ok=True)
    kept = RunError(
        key=error.key, values=StoredError.of(error).as_dict()["values"], message=error.message, hint=error.hint
    )
    decision = end_attempt(service, working, folder, Ending("lost", error=kept), reader)
    return decision.to if decision else "publishing"


def _actual(working: WorkingJob, reader: RunReader, price_micro: int) -> dict[str, Any]:
    seconds = reader.total_seconds
    found: dict[str, Any] = {"seconds": round(seconds, 1), "price_micro": price_micro}
    if working.estimate is not None:
        took = Actual(seconds, reader.peak_memory_bytes, price_micro)
        found["grade"] = grade(working.estimate, took).as_dict()
    return found


def tidy(service: Service, job_id: str, folder: Path) -> None:
    """Frees what an ended job needs no more; events, reports and output stay."""
    with service.database.reading() as session:
        job = session.get(Job, job_id)
        if job is None or job.state not in ENDED:
            return
    for name in ("checkpoints", "scratch", "adapter"):
        shutil.rmtree(folder / name, ignore_errors=True)
