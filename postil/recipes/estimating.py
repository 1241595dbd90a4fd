"""The estimate of a run, kept in its folder, and its grade when the run is over.

Whoever starts a run may have put an `estimate.json` there, made by calibrating; else the run writes one of its own from
its first steps, which costs nothing.
"""

import json
import time
from pathlib import Path
from typing import Any

from postil.advice.estimate import Actual, Estimate, Grade, estimate_memory, grade
from postil.advice.facts import BaseFacts, DataFacts
from postil.advice.progress import progress_of
from postil.advice.rates import Range
from postil.config import RunConfig
from postil.events import Advised, AnyEvent, DataSplit, Forecast, Pace, Report, StepDone, TrainingPlanned
from postil.recipes.defaults import OPEN_SETTINGS, recommend_for
from postil.recipes.run_folder import write_json

NAME = "estimate.json"
STEPS_FIRST = 5
"""Steps that must be done before a run says how long it will take; the first is warm-up."""


def report_advice(config: RunConfig, data: DataFacts, base: BaseFacts, report: Report) -> None:
    """Says what was chosen for the user, and for which kind of data.

    Args:
        config: as the user left it.
    """
    recommended = recommend_for(config, data, base)
    chosen = {name: value for name, value in recommended.changes().items() if name in OPEN_SETTINGS}
    report(
        Advised(
            kind=data.kind,
            found_kind=data.found_kind,
            preset=config.training.preset,
            file=config.data.file or "",
            base=config.model.base,
            settings=chosen,
        )
    )


def estimated(
    folder: Path, report: Report, data: DataFacts, base: BaseFacts, config: RunConfig, started: float
) -> Report:
    """A report that also writes `estimate.json` after the first steps of a new run, and says it; one there stays.

    Args:
        config: resolved.
        started: `time.monotonic()` at the beginning of the run.
    """
    said = find_estimate(folder)
    heard: list[AnyEvent] = [
        DataSplit(train=data.rows, heldout=data.heldout_rows, heldout_questions=data.heldout_questions)
    ]
    planned_after = 0.0

    def record(event: AnyEvent) -> None:
        nonlocal planned_after
        report(event)
        if not heard:
            return
        heard.append(event)
        if isinstance(event, TrainingPlanned):
            planned_after = time.monotonic() - started
            if said is not None and not event.first_step:
                report(_forecast(said))
            if said is not None or event.first_step:  # an earlier attempt has done a part of it
                heard.clear()
        elif isinstance(event, StepDone | Pace) and event.step >= STEPS_FIRST:
            left = progress_of(heard, event.at).seconds_left
            if left is not None:
                passed = time.monotonic() - started
                estimate = _describe(left, passed, planned_after, event, data, base, config)
                write_json(folder / NAME, estimate.as_dict())
                report(_forecast(estimate))
            heard.clear()

    return record


def _forecast(estimate: Estimate) -> Forecast:
    return Forecast(seconds_low=estimate.seconds.low, seconds_high=estimate.seconds.high)


def _describe(
    left: Range,
    passed: float,
    planned_after: float,
    event: StepDone | Pace,
    data: DataFacts,
    base: BaseFacts,
    config: RunConfig,
) -> Estimate:
    seconds = Range(passed + left.low, passed + left.high)
    start = Range(planned_after, planned_after)
    return Estimate(
        hardware=base.device,
        steps=event.steps,
        tokens=round(data.tokens * (config.training.epochs or 1)),
        measurements=0,
        seconds=seconds,
        phases={"start": start, "train": Range(seconds.low - planned_after, seconds.high - planned_after)},
        memory_bytes=estimate_memory(base, config, data),
        is_measured=True,
        made_after_steps=event.step,
    )


def find_estimate(folder: Path) -> Estimate | None:
    """The estimate of a run; None where none was made, or where it cannot be read."""
    try:
        values: dict[str, Any] = json.loads((folder / NAME).read_text("utf-8"))
        return Estimate.from_dict(values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def find_grade(folder: Path, actual: Actual) -> Grade | None:
    """What was said of a run against what it took; None where nothing was said."""
    said = find_estimate(folder)
    return None if said is None else grade(said, actual)
