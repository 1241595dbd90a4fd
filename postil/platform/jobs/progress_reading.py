"""What the events of a run say about its job: read as they come, kept small however long the run is."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from postil.advice.estimate import Estimate
from postil.advice.progress import progress_of
from postil.events import (
    AnyEvent,
    CheckpointSaved,
    HeldoutMeasured,
    ModelLoaded,
    Pace,
    PhaseStarted,
    RunFinished,
    StepDone,
    TrainingPlanned,
    Warned,
)
from postil.platform.jobs.learning_curve import LearningCurve, follow_samples
from postil.recipes.launch import read_events

RECENT_STEP_EVENTS = 120
"""Events of steps that the time left is worked out from; older ones are forgotten."""
SMOOTHING = 0.8
NUM_WARNINGS = 20


@dataclass(slots=True)
class RunReader:
    """Follows the log of one job's runs.

    Args:
        offset: bytes read so far.
        checkpoint_step: the furthest checkpoint.
        peak_memory_bytes: the most that an attempt has told of; None where none has.
        total_seconds: from each event to the next, by a clock that nobody can set; pauses between attempts not counted.
    """

    folder: Path
    estimate: Estimate | None = None
    offset: int = 0
    checkpoint_step: int = 0
    last_step: int = 0
    peak_memory_bytes: int | None = None
    total_seconds: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    curve: LearningCurve = field(default_factory=LearningCurve)
    _kept: list[AnyEvent] = field(default_factory=list)
    _heard_seconds: float = 0.0
    _asked_seconds: float = 0.0
    _told: dict[str, Any] = field(default_factory=dict)
    _is_starting_anew: bool = False

    def read(self) -> bool:
        """Takes up what has been written since; True when there was something."""
        any_new = False
        while True:
            events, offset = read_events(self.folder, self.offset)
            if offset == self.offset:
                return any_new
            any_new, self.offset = True, offset
            for event in events:
                self._take(event)
            self._thin()

    def progress(self, now: datetime) -> dict[str, Any]:
        """The numbers of `JobView.progress`, with the curve of the loss."""
        told = progress_of(self._kept, now, self.estimate).as_dict()
        if self._is_starting_anew and self._told:  # until its plan is told, it stands where it stood
            told |= {name: self._told[name] for name in ("percent", "step", "steps")}
            told |= {"seconds_left_low": None, "seconds_left_high": None}
        self._told = told
        return told | self.facts | {"curve": self.curve.as_dict()}

    def take_seconds(self) -> float:
        """Seconds that the runs have taken since this was asked the last time."""
        seconds, self._asked_seconds = self.total_seconds - self._asked_seconds, self.total_seconds
        return seconds

    def _count_time(self, event: AnyEvent) -> None:
        starts_anew = isinstance(event, PhaseStarted) and event.phase in ("read", "load")
        passed = event.monotonic_seconds - self._heard_seconds
        if self._heard_seconds and not starts_anew and passed > 0:
            self.total_seconds += passed
        self._heard_seconds = event.monotonic_seconds

    def _note_memory(self, event: AnyEvent) -> None:
        told = event.peak_memory_bytes if isinstance(event, CheckpointSaved | RunFinished) else None
        if told is not None:
            self.peak_memory_bytes = max(self.peak_memory_bytes or 0, told)

    def _take(self, event: AnyEvent) -> None:
        self._count_time(event)
        self._note_memory(event)
        facts = self.facts
        match event:
            case StepDone():
                before = facts.get("smoothed_loss")
                smoothed = event.loss if before is None else SMOOTHING * before + (1 - SMOOTHING) * event.loss
                facts |= {"loss": event.loss, "smoothed_loss": smoothed, "tokens_per_second": event.tokens_per_second}
                self.last_step = event.step
                self.curve.add_step(event.step, event.loss, smoothed)
            case TrainingPlanned():
                self.curve.go_back(event.first_step)
                self._is_starting_anew = False
            case PhaseStarted() if event.phase == "read":
                self._is_starting_anew = self.last_step > 0
            case Pace():
                self.last_step = event.step
            case HeldoutMeasured():
                facts["heldout_loss"] = event.loss
                facts["samples"] = follow_samples(facts.get("samples", []), event)
                self.curve.add_measurement(event.step, event.loss)
            case CheckpointSaved():
                self.checkpoint_step = max(self.checkpoint_step, event.step)
                facts["checkpoint_step"] = self.checkpoint_step
            case ModelLoaded():
                facts |= {"device": event.device, "trainable_parameters": event.trainable_parameters}
            case Warned():
                told = facts.setdefault("warnings", [])
                told.append({"key": event.key, "values": event.values, "message": event.message})
                del told[:-NUM_WARNINGS]
        self._kept.append(event)

    def _thin(self) -> None:
        """Forgets old steps but the first after each plan, which is warm-up."""
        steps = [event for event in self._kept if isinstance(event, StepDone | Pace)]
        if len(steps) <= 2 * RECENT_STEP_EVENTS:
            return
        recent = set(map(id, steps[-RECENT_STEP_EVENTS:]))
        kept: list[AnyEvent] = []
        is_first = False
        for event in self._kept:
            if not isinstance(event, StepDone | Pace):
                kept.append(event)
                is_first = isinstance(event, TrainingPlanned)
            elif is_first or id(event) in recent:
                kept.append(event)
                is_first = False
        self._kept = kept
