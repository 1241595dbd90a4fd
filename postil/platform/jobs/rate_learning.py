"""What finished runs teach about this machine: the rates that the next estimate of the same base is worked out from.

pace of steps        the middle half of what the steps took, the first of each attempt left out
start                from the first event to the first plan, without measuring the base
measuring, answers   as before, times what they took against what was said
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import quantiles

from postil.advice.estimate import Estimate
from postil.advice.rates import Range, Rates
from postil.events import AnyEvent, HeldoutMeasured, PhaseStarted, RunFinished, StepDone, TrainingPlanned
from postil.platform.jobs.machine_rates import keep_rates
from postil.platform.service import Service
from postil.platform.store.tables import Job
from postil.recipes.launch import read_events

FEWEST_STEP_EVENTS = 2
WIDEST_CHANGE = (0.1, 10.0)
"""One odd run does not move measuring and answering further than this."""


def learn_from_run(service: Service, job_id: str, folder: Path) -> bool:
    """Keeps what a succeeded job's run has shown; False where it was too short, or its estimate was of another version.

    Args:
        folder: of its run.
    """
    with service.database.reading() as session:
        job = session.get(Job, job_id)
        said, base = (dict(job.estimate or {}), job.base) if job is not None else ({}, "")
    try:
        used = Rates.from_dict(said["rates"])
        names = Estimate.__dataclass_fields__
        estimate = Estimate.from_dict({name: value for name, value in said.items() if name in names})
    except (KeyError, TypeError, AttributeError):
        return False
    events: list[AnyEvent] = []
    offset = 0
    while True:
        found, end = read_events(folder, offset)
        if end == offset:
            break
        events, offset = events + found, end
    learned = rates_of_run(events, used, estimate)
    if learned is None:
        return False
    keep_rates(service, base, learned, str(said.get("device", "cpu")))
    return True


def rates_of_run(events: Sequence[AnyEvent], used: Rates, said: Estimate) -> Rates | None:
    """The rates that would have told this run's times.

    Args:
        events: of the whole run; of one that was taken up again, the last attempt's count.
        used: what the estimate was worked out from.

    Returns:
        None for a run of too few steps.
    """
    last = max((i for i, e in enumerate(events) if isinstance(e, PhaseStarted) and e.phase == "read"), default=0)
    events = events[last:]
    paces = [event.tokens_per_second for event in events if isinstance(event, StepDone)][1:]
    planned = next((e for e in events if isinstance(e, TrainingPlanned)), None)
    if len(paces) < FEWEST_STEP_EVENTS or planned is None or min(paces) <= 0:
        return None
    low, middle, high = quantiles(paces, n=4)
    factor = _measuring_factor(events, said)
    base_seconds = sum(event.seconds for event in events if isinstance(event, HeldoutMeasured) and event.step == 0)
    return replace(
        used,
        hardware=used.hardware,
        startup_seconds=max(0.1, planned.monotonic_seconds - events[0].monotonic_seconds - base_seconds),
        launch_seconds=used.launch_seconds if used.is_measured else 0.0,
        step_tokens_per_second=Range(min(low, middle * 0.97), max(high, middle * 1.03)),
        first_step_seconds=used.first_step_seconds if used.is_measured else 0.0,
        reading_tokens_per_second=used.reading_tokens_per_second.times(1 / factor),
        decode_seconds=used.decode_seconds.times(factor),
        spread=min(0.3, (high - low) / middle / 2),
        is_measured=True,
    )


def _measuring_factor(events: Sequence[AnyEvent], said: Estimate) -> float:
    """What comparing base and tuned at the end took, against what was said of it; 1 where it did neither."""
    began = next((e.monotonic_seconds for e in events if isinstance(e, PhaseStarted) and e.phase == "evaluate"), None)
    ended = next((e.monotonic_seconds for e in reversed(events) if isinstance(e, RunFinished)), None)
    expected = said.phases["evaluate"].middle
    if began is None or ended is None or ended <= began or expected <= 0:
        return 1.0
    return min(max((ended - began) / expected, WIDEST_CHANGE[0]), WIDEST_CHANGE[1])
