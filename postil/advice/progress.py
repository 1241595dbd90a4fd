"""How far a run is and how long it will go on, told from its events alone: a pure function, with the clock given in.

    whole job = start + steps x pace + measurements + checkpoints + final answers
    percent   = 1 - left / whole job

Paces come from what the events say that their parts took, by a clock that nobody can set; the first step after a start
or a resume is warm-up and does not count. What has not happened yet is taken from an estimate where one was made, else
from rough shares of a step. The wall clock only counts how long nothing was heard, and never by more than is due.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from postil.advice.estimate import Estimate
from postil.advice.rates import Range
from postil.events import (
    AnyEvent,
    CheckpointSaved,
    DataSplit,
    HeldoutMeasured,
    Pace,
    PhaseStarted,
    RunFinished,
    StepDone,
    TrainingPlanned,
)

ProgressPhase = Literal["start", "read", "load", "tokenize", "train", "evaluate", "save", "finished"]
RECENT_STEPS = 50
"""Steps whose pace counts: a machine may become busier or quieter."""
FEW_STEPS_SPREAD, SPREAD = 0.2, 0.1
STEPS_FOR_SPREAD = 20
# Without an estimate: held-out tokens are only read, at about this share of a trained token's time; an answer's token
# takes about this share of a step; the answers of the end are a few times those of a measurement.
READING_SHARE, DECODE_SHARE, SAVE_SHARE = 0.4, 0.03, 0.3
WARM_UP_SHARE = Range(0.3, 1.0)
"""Of the first step's time, what the others may take."""
FINAL_ANSWER_SHARE = Range(0.8, 1.6)
"""More answers at once take longer; tuned answers end sooner than those of a base that knows no end."""
SAMPLE_STEPS, FINAL_BATCH, FINAL_QUESTIONS, SIDES = 60, 16, 50, 2
PACE_SECONDS = 1.0
"""How often steps tell of themselves at least; as `training/loop.py`."""
_AFTER_TRAINING = ("save", "evaluate")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Args:
        percent: of the time of the whole job, 0 to 100; 100 only when it is finished.
        seconds_left: None where nothing can be said yet.
        step, steps: 0 before the plan is known.
    """

    phase: ProgressPhase
    percent: float
    seconds_left: Range | None
    step: int
    steps: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        left = self.seconds_left
        return {
            "phase": self.phase,
            "percent": round(self.percent, 1),
            "seconds_left_low": None if left is None else round(left.low, 1),
            "seconds_left_high": None if left is None else round(left.high, 1),
            "step": self.step,
            "steps": self.steps,
        }


@dataclass(slots=True)
class _Seen:
    """What the events have said so far."""

    phase: ProgressPhase = "start"
    plan: TrainingPlanned | None = None
    started_at: datetime | None = None
    planned_at: datetime | None = None
    trained_at: datetime | None = None
    last_at: datetime | None = None
    step: int = 0
    paces: list[tuple[int, float]] = field(default_factory=list)
    warm_up: float = 0.0
    reading: list[float] = field(default_factory=list)
    answering: list[float] = field(default_factory=list)
    measured_steps: set[int] = field(default_factory=set)
    saved: list[float] = field(default_factory=list)
    heldout: int = 0
    questions: int = 0


def progress_of(events: Iterable[AnyEvent], now: datetime, estimate: Estimate | None = None) -> Progress:
    """Phase, share done and time left of a run.

    Args:
        events: of its log, in order, those of earlier attempts included.
        now: the time that it is.
        estimate: what was said before the start, where something was.
    """
    seen = _Seen()
    for event in events:
        _take(seen, event)
    if seen.phase == "finished":
        return Progress("finished", 100.0, Range(0, 0), seen.step, seen.step)
    parts = _parts(seen, estimate)
    if parts is None:
        return Progress(seen.phase, 0.0, None, 0, 0)
    left, whole = _left_and_whole(seen, parts, estimate, now)
    steps = seen.plan.steps if seen.plan else (estimate.steps if estimate else 0)
    percent = 100 * (1 - left.middle / whole.middle) if whole.high > 0 else 0.0
    return Progress(seen.phase, min(99.0, max(0.0, percent)), left, seen.step, steps)


def _take(seen: _Seen, event: AnyEvent) -> None:
    taker = _TAKERS.get(type(event))
    if taker is not None:
        taker(seen, event)
    seen.started_at = seen.started_at or event.at
    seen.last_at = event.at


def _take_phase(seen: _Seen, event: PhaseStarted) -> None:
    if event.phase in ("read", "load") and seen.phase in ("train", *_AFTER_TRAINING):
        seen.plan, seen.started_at = None, event.at  # a new attempt
    if event.phase == "save":
        seen.trained_at = event.at
    seen.phase = event.phase


def _take_plan(seen: _Seen, event: TrainingPlanned) -> None:
    seen.phase, seen.plan, seen.planned_at, seen.step = "train", event, event.at, event.first_step
    seen.paces = []


def _take_step(seen: _Seen, event: StepDone | Pace) -> None:
    before, seen.step = seen.step, event.step
    is_warm_up = seen.plan is None or before == seen.plan.first_step
    if is_warm_up:
        seen.warm_up = event.seconds
    elif event.step > before and event.seconds > 0:
        seen.paces.append((event.step - before, event.seconds))


def _take_measurement(seen: _Seen, event: HeldoutMeasured) -> None:
    seen.measured_steps.add(event.step)
    if event.seconds > 0:
        seen.reading.append(event.seconds - event.answer_seconds)
        seen.answering.append(event.answer_seconds)


def _take_checkpoint(seen: _Seen, event: CheckpointSaved) -> None:
    if event.seconds > 0:
        seen.saved.append(event.seconds)


def _take_split(seen: _Seen, event: DataSplit) -> None:
    seen.heldout, seen.questions = event.heldout, event.heldout_questions


def _take_end(seen: _Seen, event: RunFinished) -> None:
    seen.phase = "finished"


_TAKERS: dict[type, Callable[[_Seen, Any], None]] = {
    PhaseStarted: _take_phase,
    TrainingPlanned: _take_plan,
    StepDone: _take_step,
    Pace: _take_step,
    HeldoutMeasured: _take_measurement,
    CheckpointSaved: _take_checkpoint,
    DataSplit: _take_split,
    RunFinished: _take_end,
}


@dataclass(frozen=True, slots=True)
class _Parts:
    """Seconds of each part of the job, one of each."""

    start: Range
    pace: Range
    measurement: Range
    checkpoint: Range
    end: Range


def _parts(seen: _Seen, estimate: Estimate | None) -> _Parts | None:
    """What each part takes; None before anything is known."""
    pace = _pace(seen.paces)
    if pace is None and estimate is not None:
        pace = estimate.phases["train"].times(1 / max(1, estimate.steps))
    elif pace is None and seen.warm_up:
        pace = Range(seen.warm_up * WARM_UP_SHARE.low, seen.warm_up * WARM_UP_SHARE.high)
    if pace is None:
        return None
    start = estimate.phases["start"] if estimate else Range(0, 0)
    if seen.started_at and seen.planned_at and seen.plan:
        took = max(0.0, (seen.planned_at - seen.started_at).total_seconds())
        start = Range(took, took)
    checkpoint = _around(seen.saved) or pace.times(SAVE_SHARE)
    reading = _around(seen.reading) or pace.times(_reading_steps(seen) * READING_SHARE)
    answering = _around(seen.answering) or pace.times(SAMPLE_STEPS * DECODE_SHARE if seen.questions else 0)
    measurement, end = reading.plus(answering), _end(seen, reading, answering)
    if estimate is not None and not seen.reading:
        measurement = estimate.phases["measure"].times(1 / max(1, estimate.measurements))
        end = estimate.phases["evaluate"]
    return _Parts(start, pace, measurement, checkpoint, end.plus(checkpoint))


def _pace(paces: Sequence[tuple[int, float]]) -> Range | None:
    """Seconds a step, over the last fifty or so."""
    steps, seconds = 0, 0.0
    for count, took in reversed(paces):
        steps, seconds = steps + count, seconds + took
        if steps >= RECENT_STEPS:
            break
    if not steps:
        return None
    spread = SPREAD if steps >= STEPS_FOR_SPREAD else FEW_STEPS_SPREAD
    return Range(seconds / steps * (1 - spread / 2), seconds / steps * (1 + spread / 2))


def _around(seconds: Sequence[float]) -> Range | None:
    recent = seconds[-3:]
    return Range(min(recent), max(recent)) if recent else None


def _reading_steps(seen: _Seen) -> float:
    """The held-out rows, in steps of the run."""
    return seen.heldout / max(1, seen.plan.batch_rows) if seen.plan else 0.0


def _end(seen: _Seen, reading: Range, answering: Range) -> Range:
    """The final comparison: base and tuned both read all held-out rows, and answer more of them than a measurement."""
    batches = SIDES * math.ceil(min(seen.questions, FINAL_QUESTIONS) / FINAL_BATCH)
    answers = Range(answering.low * FINAL_ANSWER_SHARE.low, answering.high * FINAL_ANSWER_SHARE.high)
    return reading.times(SIDES).plus(answers.times(batches))


def _left_and_whole(seen: _Seen, parts: _Parts, estimate: Estimate | None, now: datetime) -> tuple[Range, Range]:
    """Seconds left, and seconds of the whole job had it run undisturbed."""
    plan = seen.plan
    if plan is None:
        if estimate is None:
            return Range(0, 0), Range(0, 0)
        return _less(estimate.seconds, _since(seen.started_at, now)), estimate.seconds
    measurements, checkpoints = _due(plan.steps, plan.evaluate_every), _due(plan.steps, plan.save_every)
    whole = parts.start.plus(_training(parts, plan.steps, len(measurements), len(checkpoints))).plus(parts.end)
    if seen.phase in _AFTER_TRAINING:
        return _less(parts.end, _since(seen.trained_at, now)), whole
    due = sum(step >= seen.step and step not in seen.measured_steps for step in measurements)
    left = _training(parts, plan.steps - seen.step, due, sum(step > seen.step for step in checkpoints))
    quiet = min(_since(seen.last_at, now), max(parts.pace.high, PACE_SECONDS) + parts.measurement.high)
    return _less(left, quiet).plus(parts.end), whole


def _training(parts: _Parts, steps: int, measurements: int, checkpoints: int) -> Range:
    steps_and_measurements = parts.pace.times(steps).plus(parts.measurement.times(measurements))
    return steps_and_measurements.plus(parts.checkpoint.times(checkpoints))


def _due(steps: int, every: int) -> list[int]:
    """The steps after which something is done that is done every so many steps, and after the last."""
    return sorted({*range(every, steps + 1, every), steps}) if every else []


def _less(seconds: Range, passed: float) -> Range:
    return Range(max(0.0, seconds.low - passed), max(0.0, seconds.high - passed))


def _since(then: datetime | None, now: datetime) -> float:
    """Seconds since then; a clock that was set back counts as standing still."""
    return max(0.0, (now - then).total_seconds()) if then else 0.0
