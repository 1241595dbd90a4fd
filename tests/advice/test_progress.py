"""How long a run goes on, from its log: replayed with the clock given in."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from postil.advice.estimate import Estimate
from postil.advice.progress import Progress, progress_of
from postil.advice.rates import Range
from postil.events import AnyEvent, PhaseStarted, RunFinished, StepDone
from tests.advice.logs import BEGIN, Job

JOBS = {
    "a minute on the starter": Job(),
    "short rows, nothing held out": Job(steps=800, pace=0.05, heldout=0, final=0.1, start=1),
    "five minutes of uneven steps": Job(steps=500, pace=0.5, noise=0.5, evaluate_every=125, measurement=2, final=7),
    "an hour": Job(
        steps=2000,
        pace=1.8,
        warm_up=8,
        start=30,
        measurement=20,
        answering=8,
        evaluate_every=500,
        final=95,
        heldout=200,
    ),
    "slow steps on a large base": Job(
        steps=225,
        pace=20,
        warm_up=30,
        start=60,
        measurement=120,
        answering=40,
        evaluate_every=57,
        final=530,
        heldout=100,
    ),
}


def error_at(events: list[AnyEvent], end: datetime, now: datetime) -> float:
    """(said - true) / true for the time left, with what had been heard by then."""
    heard = [e for e in events if e.at <= now]
    left = progress_of(heard, now).seconds_left
    assert left is not None
    true = (end - now).total_seconds()
    return (left.middle - true) / true


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", JOBS)
def test_time_left_is_right_within_a_fifth_after_a_twentieth_of_the_job(name: str, seed: int) -> None:
    """E1. Of a job under a minute the first twentieth is over before its first step; after 90 % seconds are left."""
    job = JOBS[name]
    job.seed = seed
    events = job.log()
    end, whole = events[-1].at, job.seconds(events)
    moments = [BEGIN + timedelta(seconds=whole * share / 20) for share in range(2 if whole < 60 else 1, 19)]
    errors = {f"{(m - BEGIN).total_seconds() / whole:.0%}": error_at(events, end, m) for m in moments}
    assert {at: round(error, 2) for at, error in errors.items() if abs(error) > 0.2} == {}


@pytest.mark.parametrize("name", JOBS)
def test_right_after_a_resume_the_pace_of_the_new_attempt_counts(name: str) -> None:
    """The first attempt was on a machine twice as fast and was killed; a day passed."""
    job = JOBS[name]
    fast = Job(**{**vars(job), "pace": job.pace / 2})
    first = [e for e in fast.log() if not isinstance(e, RunFinished)][:-8]
    second = job.log(first_step=job.steps // 2, begin=first[-1].at + timedelta(days=1))
    moment = max(second[8].at, second[0].at + timedelta(seconds=job.seconds(second) / 20))
    assert abs(error_at([*first, *second], second[-1].at, moment)) < 0.2


def test_the_range_holds_the_truth_most_of_the_time() -> None:
    inside = total = 0
    for seed in range(5):
        job = Job(steps=300, evaluate_every=75, seed=seed)
        events = job.log()
        for event in events[20:-3]:
            left = progress_of([e for e in events if e.at <= event.at], event.at).seconds_left
            assert left is not None
            total += 1
            inside += left.low - 1 <= (events[-1].at - event.at).total_seconds() <= left.high + 1
    assert inside / total > 0.7


def test_percent_grows_to_a_hundred_and_phases_follow() -> None:
    job = Job()
    events = job.log()
    told: list[Progress] = [progress_of(events[: i + 1], e.at) for i, e in enumerate(events)]
    assert [p.phase for p in told if p.phase != "train"] == [
        "read", "load", "tokenize", "tokenize", "save", "evaluate", "finished",
    ]  # fmt: skip
    percents = [p.percent for p in told]
    assert percents[0] == 0 and percents[-1] == 100 and max(percents[:-1]) < 100
    half = progress_of([e for e in events if not isinstance(e, StepDone) or e.step <= 70][:40], events[39].at)
    assert 0 < half.percent < 100
    assert all(later >= earlier - 6 for earlier, later in pairwise(percents))


def test_a_clock_that_jumps_changes_little() -> None:
    """F6: paces are told by another clock; set forward a day a moment's silence is taken off, never all."""
    events = Job().log()[:45]
    now = events[-1].at
    left = progress_of(events, now).seconds_left
    assert left is not None
    for jump in (timedelta(days=1), timedelta(days=-1)):
        moved = progress_of(events, now + jump).seconds_left
        assert moved is not None and abs(moved.middle - left.middle) < 4


def test_with_an_estimate_time_left_is_told_from_the_first_moment() -> None:
    job = Job()
    events = job.log()
    phases = {
        "start": Range(1.8, 2.2),
        "train": Range(38, 42),
        "measure": Range(3.6, 4.4),
        "save": Range(0.1, 0.2),
        "evaluate": Range(3, 5),
    }
    seconds = Range(sum(p.low for p in phases.values()), sum(p.high for p in phases.values()))
    said = Estimate("a test", job.steps, 1000, 4, seconds, phases, None, True)
    whole = job.seconds(events)
    for share in (0.0, 0.02, 0.05, 0.1, 0.5, 0.9):
        now = BEGIN + timedelta(seconds=whole * share)
        told = progress_of([e for e in events if e.at <= now], now, said)
        assert told.seconds_left is not None and told.steps == job.steps
        assert told.seconds_left.middle == pytest.approx((events[-1].at - now).total_seconds(), rel=0.2)
        assert told.percent == pytest.approx(100 * share, abs=8)


def test_before_anything_is_known_nothing_is_claimed() -> None:
    assert progress_of([], BEGIN).seconds_left is None
    begun = progress_of([PhaseStarted(phase="read", at=BEGIN)], BEGIN)
    assert (begun.phase, begun.percent, begun.seconds_left) == ("read", 0.0, None)
    assert begun.as_dict()["seconds_left_low"] is None
