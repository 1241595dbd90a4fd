"""How fast a base trains here is measured while nobody wants the cores, and not while somebody does."""

import time
from collections.abc import Iterator

import pytest

from postil.platform.jobs import measuring
from postil.platform.jobs.machine_rates import find_rates
from postil.platform.jobs.measuring import Measuring
from postil.platform.service import Service
from postil.platform.store.tables import Job
from tests.platform.rows import add_account, new_job


@pytest.fixture
def idle(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Measuring]:
    """A measurement that thinks the machine has been idle for long."""
    monkeypatch.setattr(measuring, "IDLE_SECONDS", 0.0)
    made = Measuring(service)
    yield made
    made.close()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_a_base_without_figures_is_measured_once(service: Service, idle: Measuring) -> None:
    stop = time.monotonic() + 200
    rates = None
    while rates is None and time.monotonic() < stop:
        idle.tick()
        time.sleep(0.2)
        with service.database.reading() as session:
            rates = find_rates(session, service.settings, "starter")
    assert rates is not None and rates.is_measured
    assert rates.step_tokens_per_second.low > 10 and rates.startup_seconds > 0.1
    idle.tick()
    assert idle._child is None, "it was measured once"


def test_a_job_ends_the_measurement_and_its_turn_comes_again(service: Service, idle: Measuring) -> None:
    idle.tick()
    child = idle._child
    assert child is not None and child.poll() is None
    job = new_job(service, add_account(service))
    with service.database.writing() as session:
        session.add(job)
    idle.tick()
    assert idle._child is None and child.poll() is not None
    with service.database.writing() as session:
        session.get_one(Job, job.id).state = "succeeded"
    idle.tick()
    assert idle._child is not None


def test_a_base_that_cannot_be_measured_is_left(
    service: Service, idle: Measuring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "MEASURING_SECONDS", -1.0)  # refused by the child
    stop = time.monotonic() + 60
    idle.tick()
    while idle._child is not None and time.monotonic() < stop:
        time.sleep(0.1)
        idle.tick()
    idle.tick()
    assert idle._child is None
