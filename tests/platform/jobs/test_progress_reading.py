"""A run's log as it is followed: what is told of it while it goes on, and while a new attempt begins."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from postil.events import (
    AnyEvent,
    CheckpointSaved,
    HeldoutMeasured,
    PhaseStarted,
    Sample,
    StepDone,
    TrainingPlanned,
    encode_event,
)
from postil.platform.jobs.progress_reading import RunReader

BEGAN = datetime(2026, 1, 30, 12, tzinfo=UTC)
NUM_STEPS = 100


class Log:
    """Writes events one second after the other."""

    def __init__(self, folder: Path) -> None:
        self.file, self.now = folder / "events.jsonl", BEGAN

    def write(self, *events: AnyEvent) -> None:
        with self.file.open("ab") as file:
            for event in events:
                self.now += timedelta(seconds=1)
                file.write(encode_event(msgspec.structs.replace(event, at=self.now)))

    def begin(self, first_step: int = 0) -> None:
        plan = TrainingPlanned(
            steps=NUM_STEPS, first_step=first_step, epochs=1, batch_rows=8, learning_rate=1e-3, save_every=50
        )
        self.write(PhaseStarted(phase="read"), PhaseStarted(phase="train"), plan)

    def step(self, number: int) -> None:
        step = StepDone(
            step=number,
            steps=NUM_STEPS,
            loss=4.0 / number,
            learning_rate=1e-3,
            grad_norm=1.0,
            tokens=90,
            trained_tokens=30,
            tokens_per_second=90.0,
            seconds_left=9.0,
            seconds=1.0,
        )
        self.write(step)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


def test_progress_carries_the_curve_and_the_answers(log: Log) -> None:
    reader = RunReader(log.file.parent)
    sample = Sample(question="Open?", expected="At nine.", answer="I am not sure.")
    log.write(HeldoutMeasured(step=0, loss=5.0, samples=[sample]))
    log.begin()
    for number in range(1, 51):
        log.step(number)
    assert reader.read()
    told = reader.progress(log.now)
    assert told["step"] == 50 and 40 < told["percent"] < 60
    assert told["curve"]["train"][-1][:2] == [50, 0.08] and told["curve"]["heldout"] == [[0, 5.0]]
    assert told["samples"][0]["base_answer"] == "I am not sure."


def test_while_a_new_attempt_begins_it_stands_where_it_stood(log: Log) -> None:
    reader = RunReader(log.file.parent)
    log.begin()
    for number in range(1, 61):
        log.step(number)
    log.write(CheckpointSaved(step=50, path="x", seconds=0.1))
    reader.read()
    before = reader.progress(log.now)
    log.write(PhaseStarted(phase="read"), PhaseStarted(phase="load"))
    reader.read()
    between = reader.progress(log.now)
    assert [between[name] for name in ("percent", "step", "steps")] == [before["percent"], 60, NUM_STEPS]
    assert between["seconds_left_low"] is None and between["phase"] == "load"
    log.begin(first_step=50)
    log.step(51)
    reader.read()
    after = reader.progress(log.now)
    assert after["step"] == 51 and 0 < after["percent"] < before["percent"] and after["seconds_left_low"] > 0
    assert [step for step, _, _ in after["curve"]["train"]][-2:] == [50, 51]
