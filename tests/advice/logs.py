"""Logs of invented runs: the events that a run would have sent, each with the time at which it was sent.

Times have the shape of real runs of the starter: a slow first step, steps whose length varies with their rows,
measurements and checkpoints now and then, a comparison at the end.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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

BEGIN = datetime(2026, 1, 31, 12, tzinfo=UTC)


@dataclass
class Job:
    """What a run takes, in seconds.

    Args:
        noise: a step's standard deviation, as a share of its mean.
        measurement, answering: of the held-out rows, and the part of it that answering takes.
        final: the comparison at the end.
    """

    steps: int = 140
    start: float = 2.0
    warm_up: float = 0.7
    pace: float = 0.28
    noise: float = 0.2
    measurement: float = 1.0
    answering: float = 0.8
    evaluate_every: int = 35
    checkpoint: float = 0.05
    save_every: int = 100
    final: float = 4.0
    heldout: int = 19
    log_every: int = 10
    seed: int = 0

    def log(self, first_step: int = 0, begin: datetime = BEGIN) -> list[AnyEvent]:
        """The events of one attempt."""
        return list(_Run(self, first_step, begin).events())

    def seconds(self, events: list[AnyEvent]) -> float:
        """How long an attempt took."""
        return (events[-1].at - events[0].at).total_seconds()


@dataclass
class _Run:
    job: Job
    first_step: int
    now: datetime

    def events(self) -> Iterator[AnyEvent]:
        job = self.job
        yield PhaseStarted(phase="read", at=self.now)
        yield PhaseStarted(phase="load", at=self.after(job.start * 0.1))
        yield PhaseStarted(phase="tokenize", at=self.after(job.start * 0.7))
        split = {"train": 4 * job.heldout, "heldout": job.heldout, "heldout_questions": job.heldout}
        yield DataSplit(at=self.after(job.start * 0.2), **split)
        yield PhaseStarted(phase="train", at=self.now)
        yield self.plan()
        yield from self.training()
        yield PhaseStarted(phase="save", at=self.now)
        yield PhaseStarted(phase="evaluate", at=self.after(0.05))
        yield RunFinished(run_dir="r", verdict="better", at=self.after(job.final))

    def after(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now

    def plan(self) -> TrainingPlanned:
        job = self.job
        numbers = {"steps": job.steps, "first_step": self.first_step, "epochs": 14.0, "batch_rows": 8}
        every = job.evaluate_every if job.heldout else 0
        return TrainingPlanned(
            at=self.now, learning_rate=1e-3, evaluate_every=every, save_every=job.save_every, **numbers
        )

    def training(self) -> Iterator[AnyEvent]:
        job, draw = self.job, random.Random(self.job.seed)
        untold, told_at = 0.0, self.now
        for step in range(self.first_step + 1, job.steps + 1):
            took = job.pace * max(0.3, draw.gauss(1, job.noise)) + (job.warm_up if step == self.first_step + 1 else 0)
            untold += took
            self.after(took)
            done = step - self.first_step
            if step % job.log_every == 0 or done == 1 or step == job.steps:
                yield self.step_done(step, untold)
                untold, told_at = 0.0, self.now
            elif done <= 5 or (self.now - told_at).total_seconds() >= 1:
                yield Pace(step=step, steps=job.steps, seconds=untold, at=self.now)
                untold, told_at = 0.0, self.now
            yield from self.between(step)

    def between(self, step: int) -> Iterator[AnyEvent]:
        """A measurement and a checkpoint where they are due."""
        job = self.job
        if job.heldout and (step % job.evaluate_every == 0 or step == job.steps):
            at = self.after(job.measurement)
            times = {"seconds": job.measurement, "answer_seconds": job.answering}
            yield HeldoutMeasured(step=step, loss=1.0, samples=[], at=at, **times)
        if step % job.save_every == 0 or step == job.steps:
            at = self.after(job.checkpoint)
            yield CheckpointSaved(step=step, path="r/checkpoints/step-1", seconds=job.checkpoint, at=at)

    def step_done(self, step: int, seconds: float) -> StepDone:
        numbers = {
            "loss": 1.0,
            "learning_rate": 1e-3,
            "grad_norm": 1.0,
            "tokens_per_second": 900.0,
            "seconds_left": 1.0,
        }
        counts = {"tokens": 250, "trained_tokens": 130, "step": step, "steps": self.job.steps}
        return StepDone(at=self.now, seconds=seconds, **numbers, **counts)  # type: ignore[arg-type]
