"""A run says how long it will take, and afterwards whether that was right."""

import json
import time
from pathlib import Path

import pytest

from postil.advice.estimate import Actual
from postil.advice.facts import BaseFacts
from postil.advice.rates import Range
from postil.config import RunConfig
from postil.events import Advised, AnyEvent, Forecast, Pace, StepDone, TrainingPlanned
from postil.models.catalog import STARTER_ENTRY
from postil.recipes.defaults import resolve_config
from postil.recipes.estimating import NAME, estimated, find_estimate, find_grade, report_advice
from tests.advice.facts import data_of
from tests.advice.logs import Job

STARTER = BaseFacts.of_entry(STARTER_ENTRY)
CONFIG = resolve_config(RunConfig(), data_of(80), STARTER)


def hear(folder: Path, events: list[AnyEvent]) -> list[AnyEvent]:
    """What comes out of the report when a run's events go in."""
    heard: list[AnyEvent] = []
    report = estimated(folder, heard.append, data_of(80), STARTER, CONFIG, time.monotonic())
    for event in events:
        report(event)
    return heard


def forecasts(heard: list[AnyEvent]) -> list[Forecast]:
    """What was said of the time."""
    return [event for event in heard if isinstance(event, Forecast)]


def test_the_first_steps_make_an_estimate_and_events_pass_by_unchanged(tmp_path: Path) -> None:
    job = Job(heldout=8)
    events = job.log()
    heard = hear(tmp_path, events)
    said = find_estimate(tmp_path)
    assert said is not None
    (forecast,) = forecasts(heard)
    assert (forecast.seconds_low, forecast.seconds_high) == (said.seconds.low, said.seconds.high)
    assert [event for event in heard if event is not forecast] == events
    assert (said.steps, said.made_after_steps) == (140, 5)
    assert said.seconds.times(1 / 1.3).low < job.seconds(events) < said.seconds.times(1.3).high
    assert said.memory_bytes is not None


def test_an_estimate_that_is_there_stays_and_is_graded(tmp_path: Path) -> None:
    hear(tmp_path, Job().log())
    values = json.loads((tmp_path / NAME).read_text("utf-8"))
    values |= {"seconds": {"low": 50, "high": 70}, "price_micro": 2_000_000}
    (tmp_path / NAME).write_text(json.dumps(values), "utf-8")
    heard = hear(tmp_path, Job(pace=9).log())
    (forecast,) = forecasts(heard)
    assert (forecast.seconds_low, forecast.seconds_high) == (50, 70)
    assert isinstance(heard[heard.index(forecast) - 1], TrainingPlanned)  # said before the first step
    graded = find_grade(tmp_path, Actual(60, price_micro=1_900_000))
    assert graded is not None and graded.is_within and graded.said_seconds == Range(50, 70)
    assert "2.00" in graded.text and "1.90" in graded.text


def test_a_run_that_was_taken_up_again_makes_none(tmp_path: Path) -> None:
    assert not forecasts(hear(tmp_path, Job().log(first_step=70)))
    assert find_estimate(tmp_path) is None
    hear(tmp_path, Job().log())
    assert not forecasts(hear(tmp_path, Job().log(first_step=70)))  # what was said was of the whole


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"seconds": 3}'])
def test_an_estimate_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text, "utf-8")
    assert find_estimate(tmp_path) is None and find_grade(tmp_path, Actual(1)) is None


def test_what_was_chosen_is_told_and_what_the_user_set_is_not() -> None:
    told: list[AnyEvent] = []
    config = RunConfig().replace({"training.learning_rate": 2e-4, "data.kind": "role", "data.file": "f.csv"})
    report_advice(config, data_of(80, "role", found_kind="fact_qa"), STARTER, told.append)
    (event,) = told
    assert isinstance(event, Advised)
    assert (event.kind, event.found_kind, event.file) == ("role", "fact_qa", "f.csv")
    assert "training.epochs" in event.settings and "training.learning_rate" not in event.settings


def test_paces_and_steps_tell_all_of_the_time_between_them() -> None:
    """What the log of a run is read by: no step's time is told twice or left out."""
    steps = [e for e in Job(noise=0).log() if isinstance(e, StepDone | Pace)]
    assert sum(e.seconds for e in steps) == pytest.approx(140 * 0.28 + 0.7)
