"""What this machine has shown of its speed: looked up by estimates, corrected by every run."""

from dataclasses import replace
from pathlib import Path

import pytest

from postil.advice.estimate import Estimate
from postil.advice.rates import Range, Rates
from postil.events import AnyEvent, PhaseStarted, RunFinished, StepDone, TrainingPlanned, encode_event
from postil.platform.jobs.machine_rates import find_rates, keep_rates
from postil.platform.jobs.rate_learning import learn_from_run, rates_of_run
from postil.platform.jobs.requests import JobRequest
from postil.platform.jobs.submitting import preview_job, submit_job
from postil.platform.service import Service
from postil.platform.store.tables import Job
from tests.platform.dataset_lives import new_account
from tests.platform.rows import add_dataset

ROUND = Range(1.0, 1.0)
RATES = Rates("cpu", 0.0, 2.0, Range(1000, 1100), 0.1, Range(4000, 4400), Range(0.01, 0.02), 0.05)


def steps(paces: list[float], start: float = 10.0, answers: float = 8.0) -> list[AnyEvent]:
    """The events of a run: two seconds to read, then steps of these tokens a second."""
    plan = TrainingPlanned(
        steps=9, first_step=0, epochs=1, batch_rows=4, learning_rate=1e-3, monotonic_seconds=start + 2
    )
    done = [
        StepDone(
            step=i,
            steps=len(paces),
            loss=1.0,
            learning_rate=1e-3,
            grad_norm=1.0,
            tokens=100,
            trained_tokens=50,
            tokens_per_second=pace,
            seconds_left=1,
        )
        for i, pace in enumerate(paces)
    ]
    evaluate = PhaseStarted(phase="evaluate", monotonic_seconds=start + 20)
    end = RunFinished(run_dir="", verdict="same", monotonic_seconds=start + 20 + answers)
    return [PhaseStarted(phase="read", monotonic_seconds=start), plan, *done, evaluate, end]


def said(evaluate: float = 4.0) -> Estimate:
    return Estimate("cpu", 9, 900, 1, ROUND, {"evaluate": Range(evaluate, evaluate)}, None, False)


def test_a_run_corrects_the_rates() -> None:
    learned = rates_of_run(steps([5, 500, 500, 510, 490, 500]), replace(RATES, is_measured=False), said())
    assert learned is not None and learned.is_measured
    assert 480 < learned.step_tokens_per_second.low < 500 < learned.step_tokens_per_second.high < 520
    assert learned.startup_seconds == pytest.approx(2.0)
    assert learned.decode_seconds == Range(0.02, 0.04), "answers took twice as long as was said"
    assert learned.reading_tokens_per_second == Range(2000, 2200)


def test_only_the_last_attempt_counts() -> None:
    broken = steps([1, 1, 1, 1, 1, 1])[:-2]
    learned = rates_of_run([*broken, *steps([5, 500, 500, 500, 500, 500], start=1000.0)], RATES, said())
    assert learned is not None and learned.step_tokens_per_second.holds(500)
    assert learned.startup_seconds == pytest.approx(2.0)


def test_too_few_steps_teach_nothing() -> None:
    assert rates_of_run(steps([500, 500]), RATES, said()) is None
    assert rates_of_run([], RATES, said()) is None


def test_the_next_estimate_knows_the_run_before(service: Service, tmp_path: Path) -> None:
    account = new_account(service)
    request = JobRequest(dataset_id=add_dataset(service, account), base="starter")
    before = preview_job(service, account, request).estimate
    job = submit_job(service, account, request)
    log = b"".join(encode_event(event) for event in steps([5, 77, 77, 77, 77, 77]))
    (tmp_path / "events.jsonl").write_bytes(log)
    assert learn_from_run(service, job.id, tmp_path)
    after = preview_job(service, account, request).estimate
    assert before is not None and not before.is_measured
    assert after is not None and after.is_measured
    assert after.phases["train"].low > after.tokens / 77 * 0.9
    assert not learn_from_run(service, "job_" + "a" * 16, tmp_path), "a job that is gone teaches nothing"


def test_an_estimate_of_another_version_teaches_nothing(service: Service, tmp_path: Path) -> None:
    account = new_account(service)
    job = submit_job(service, account, JobRequest(dataset_id=add_dataset(service, account), base="starter"))
    with service.database.writing() as session:
        row = session.get_one(Job, job.id)
        row.estimate = {"price_micro": (row.estimate or {})["price_micro"]}
    assert not learn_from_run(service, job.id, tmp_path)


def test_rates_are_kept_for_each_base_and_number_of_threads(service: Service) -> None:
    keep_rates(service, "starter", RATES)
    other = service.settings.model_copy(update={"threads": 7})
    with service.database.reading() as session:
        assert find_rates(session, service.settings, "starter") == RATES
        assert find_rates(session, service.settings, "other") is None
        assert find_rates(session, other, "starter") is None
    keep_rates(service, "starter", replace(RATES, save_seconds=9.0))
    with service.database.reading() as session:
        assert find_rates(session, service.settings, "starter") == replace(RATES, save_seconds=9.0)
