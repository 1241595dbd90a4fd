"""What becomes of a job when its run has ended: one pure function, by cause.

finished                     published
asked to stop                held, cancelled, or back into the queue, as was wished
the user's data or settings  failed; trying again would change nothing
killed                       back at once, and counts as nothing: whoever killed it did not mean the job
memory                       once more with packs half as large; when those do not fit either: failed
disk, GPU, "try again"       after 10, 60 and 300 s; a checkpoint that went further renews this budget
a failure of the run's own   at once; the third time at the same step it is a crash loop, and failed
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from postil.platform.settings import ServiceSettings
from postil.recipes.launch import Cause, RunError

EndCause = Cause | Literal["killed", "killed_for_memory", "lost", "not_started"]
"""Besides what a run says of itself: it was killed; the system killed for want of memory; its folder was deleted; it
could not be started."""
_MACHINE: tuple[EndCause, ...] = ("disk", "cuda", "again", "lost", "not_started", "killed_for_memory")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended.

    Args:
        step: the last one that it did.
        checkpoint_step: of the furthest checkpoint; 0 where there is none.
    """

    cause: EndCause
    step: int = 0
    checkpoint_step: int = 0
    error: RunError | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """What was counted against a job so far: the columns of the same names."""

    failures: int = 0
    retries: int = 0
    failed_step: int | None = None
    last_checkpoint_step: int = 0
    is_smaller: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What happens next.

    Args:
        to: the state; "publishing" goes on to the end of the job by itself.
        wait_seconds: before the job may start again.
        is_smaller: the next run takes smaller packs.
    """

    to: Literal["publishing", "queued", "paused", "failed", "cancelled"]
    tally: Tally
    wait_seconds: float = 0.0
    error: Mapping[str, Any] | None = None


def decide(ending: Ending, tally: Tally, wish: str, settings: ServiceSettings) -> Decision:
    """What becomes of the job.

    Args:
        wish: "", "pause" or "cancel", as the user asked for meanwhile.
    """
    if ending.checkpoint_step > tally.last_checkpoint_step:
        tally = Tally(last_checkpoint_step=ending.checkpoint_step, is_smaller=tally.is_smaller)
    if wish == "cancel":
        return Decision("cancelled", tally)
    if ending.cause == "finished":
        return Decision("publishing", tally)
    if ending.cause == "user":
        return Decision("failed", tally, error=_as_dict(ending.error))
    if ending.cause in ("stopped", "killed"):
        return Decision("paused" if wish == "pause" else "queued", tally)
    decision = _after_failure(ending, tally, settings)
    if wish == "pause" and decision.to == "queued":
        return Decision("paused", decision.tally)
    return decision


def _after_failure(ending: Ending, tally: Tally, settings: ServiceSettings) -> Decision:
    error = _as_dict(ending.error)
    if ending.cause in ("memory", "killed_for_memory") and not tally.is_smaller:
        return Decision("queued", _changed(tally, is_smaller=True), _wait(settings, 0), error)
    if ending.cause in _MACHINE:
        if tally.retries >= len(settings.retry_seconds):
            return Decision("failed", tally, error=error)
        wait = _wait(settings, tally.retries)
        return Decision("queued", _changed(tally, retries=tally.retries + 1), wait, error)
    if ending.cause == "memory":
        return Decision("failed", tally, error=error)
    failures = tally.failures + 1 if tally.failed_step == ending.step else 1
    tally = _changed(tally, failures=failures, failed_step=ending.step)
    if failures >= settings.crash_loop_failures:
        reason = ending.error.message if ending.error else ""
        values = {"step": ending.step, "times": failures, "reason": reason}
        return Decision("failed", tally, error={"key": "platform.jobs.crash_loop", "values": values})
    return Decision("queued", tally, error=error)


def _wait(settings: ServiceSettings, number: int) -> float:
    return settings.retry_seconds[number] if number < len(settings.retry_seconds) else 0.0


def _changed(tally: Tally, **values: Any) -> Tally:
    now = {name: getattr(tally, name) for name in tally.__dataclass_fields__}
    return Tally(**now | values)


def _as_dict(error: RunError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    names = ("key", "values", "message", "hint", "problems")
    return {name: getattr(error, name) for name in names}
