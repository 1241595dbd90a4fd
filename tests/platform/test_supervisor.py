"""The supervisor's loop over real processes that keep the run's contract: started, watched, adopted, stopped, ended."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from postil.errors import TryAgainError
from postil.platform.administration import look_at_health
from postil.platform.jobs.backends import LocalBackend
from postil.platform.jobs.jobs import request_cancel, request_pause, request_resume, run_folder
from postil.platform.jobs.reconciling import Reconciler
from postil.platform.jobs.views import JobView, get_job
from postil.platform.service import Service, utc_now
from postil.platform.store.sqlite import driver as sqlite
from postil.platform.store.tables import Attempt, Job
from postil.platform.supervisor import supervise
from postil.recipes.launch import find_pid, holds_lock
from postil.recipes.run_lock import is_alive
from tests.platform.conftest import Clock, NewService
from tests.platform.rows import add_account, new_job


class House:
    """A service with fake slots, and a reconciler that can be exchanged as if its process had been killed."""

    def __init__(self, service: Service, clock: Clock) -> None:
        self.service, self.clock, self.account = service, clock, add_account(service)
        self.restart()

    def restart(self) -> None:
        """Another process's reconciler takes over."""
        self.reconciler = Reconciler(self.service, LocalBackend(self.service.settings.data_dir, needs_zygote=False))

    def submit(self, steps: int = 5, seconds: float = 0.02, **entries: object) -> str:
        spec = {"settings": {"training.max_steps": steps, "training.learning_rate": seconds, "training.save_every": 2}}
        job = new_job(self.service, self.account, spec=spec, queued_at=self.service.now(), **entries)
        with self.service.database.writing() as session:
            session.add(job)
        return job.id

    def view(self, job_id: str) -> JobView:
        return get_job(self.service, self.account, job_id)

    def folder(self, job_id: str) -> Path:
        return run_folder(self.service, job_id)

    def until(self, is_so: Callable[[], bool], seconds: float = 60) -> None:
        """Ticks until something is so."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, "waited too long"
            self.reconciler.tick()
            self.clock.go(seconds=0.03)
            time.sleep(0.02)

    def until_state(self, job_id: str, *states: str) -> JobView:
        self.until(lambda: self.view(job_id).state in states)
        return self.view(job_id)

    def until_step(self, job_id: str, step: int) -> int:
        """Waits for a step and returns the run's process."""
        self.until(lambda: int(self.view(job_id).progress.get("step") or 0) >= step)
        pid = find_pid(self.folder(job_id), self.view(job_id).attempt)
        assert pid is not None
        return pid

    def close(self) -> None:
        with self.service.database.reading() as session:
            for job_id, attempt in session.execute(select(Job.id, Job.attempt)):
                if pid := find_pid(self.folder(job_id), attempt):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def house(new_service: NewService, clock: Clock) -> Iterator[House]:
    made = House(new_service(cpu_slots=0, fake_slots=2, retry_seconds=(0.1, 0.1, 0.1), kill_after_seconds=1), clock)
    yield made
    made.close()


@pytest.fixture(params=["sqlite"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """What processes do does not depend on the database; the tests of the first life run on both."""
    return str(request.param)


both = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@both
def test_a_job_from_queue_to_end(house: House) -> None:
    job_id = house.submit()
    view = house.until_state(job_id, "succeeded", "failed")
    assert view.state == "succeeded" and view.attempt == 1 and view.progress["step"] == 5
    assert view.started_at is not None and view.ended_at is not None and view.actual is not None
    with house.service.database.reading() as session:
        attempt = session.get_one(Attempt, (job_id, 1))
        assert attempt.cause == "finished" and attempt.ended_at is not None and attempt.slot.startswith("fake-")


@both
def test_slots_are_never_shared(house: House) -> None:
    jobs = [house.submit(steps=3, seconds=0.1) for _ in range(5)]
    most = 0

    def all_done() -> bool:
        nonlocal most
        with house.service.database.reading() as session:
            taken = [slot for slot in session.scalars(select(Job.slot)) if slot]
        assert len(taken) == len(set(taken))
        most = max(most, len(taken))
        return all(house.view(job).has_ended for job in jobs)

    house.until(all_done)
    assert most == 2 and all(house.view(job).attempt == 1 for job in jobs)


def test_a_run_outlives_its_supervisor_and_is_taken_up(house: House) -> None:
    job_id = house.submit(steps=40, seconds=0.05)
    pid = house.until_step(job_id, 3)
    house.restart()
    house.until_step(job_id, 10)
    assert find_pid(house.folder(job_id), 1) == pid
    view = house.until_state(job_id, "succeeded", "failed")
    assert view.state == "succeeded" and view.attempt == 1


def test_a_killed_run_goes_on_where_its_checkpoint_was(house: House) -> None:
    job_id = house.submit(steps=40, seconds=0.05)
    os.kill(house.until_step(job_id, 10), signal.SIGKILL)
    view = house.until_state(job_id, "succeeded", "failed")
    assert view.state == "succeeded" and view.attempt == 2
    planned = [event["first_step"] for event in _events(house.folder(job_id)) if event["event"] == "training_planned"]
    assert planned[0] == 0 and planned[1] >= 8, planned
    with house.service.database.reading() as session:
        assert session.get_one(Attempt, (job_id, 1)).cause == "killed"
        assert session.get_one(Job, job_id).failures == 0


def _events(folder: Path) -> list[dict[str, int]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]


def test_sigterm_without_a_wish_puts_the_job_back(house: House) -> None:
    job_id = house.submit(steps=60, seconds=0.05)
    os.kill(house.until_step(job_id, 5), signal.SIGTERM)
    house.until(lambda: house.view(job_id).attempt == 2)
    assert house.until_state(job_id, "succeeded").progress["step"] == 60


def test_hold_and_go_on(house: House) -> None:
    job_id = house.submit(steps=60, seconds=0.05)
    house.until_step(job_id, 5)
    request_pause(house.service, house.account, job_id)
    held = house.until_state(job_id, "paused")
    assert not held.wish and held.progress["step"] >= 5 and not is_alive(house.folder(job_id))
    other = house.submit(steps=2)
    house.until_state(other, "succeeded")
    request_resume(house.service, house.account, job_id)
    assert house.until_state(job_id, "succeeded").attempt == 2


def test_cancelling_frees_the_slot_and_ends_what_does_not_listen(house: House) -> None:
    job_id = house.submit(steps=1000, seconds=0.05)
    pid = house.until_step(job_id, 2)
    os.kill(pid, signal.SIGSTOP)  # a run that hangs
    started = time.monotonic()
    request_cancel(house.service, house.account, job_id)
    view = house.until_state(job_id, "cancelled")
    assert 1.0 <= time.monotonic() - started < 35 and view.ended_at is not None
    assert not is_alive(house.folder(job_id))
    house.until_state(house.submit(steps=1), "succeeded")


def test_a_folder_that_was_deleted_under_its_run(house: House) -> None:
    job_id = house.submit(steps=40, seconds=0.05)
    pid = house.until_step(job_id, 4)
    while house.folder(job_id).exists():  # the run writes into it meanwhile
        shutil.rmtree(house.folder(job_id), ignore_errors=True)
    view = house.until_state(job_id, "succeeded", "failed")
    assert view.state == "succeeded" and view.attempt == 2
    with house.service.database.reading() as session:
        assert session.get_one(Attempt, (job_id, 1)).cause == "lost"
    assert not holds_lock(pid, house.folder(job_id))


def test_a_database_that_is_locked_keeps_no_run_from_going_on(house: House) -> None:
    """F5 in short; half a minute of it is among the slow tests."""
    _locked(house, 2)


@pytest.mark.slow
def test_a_database_that_is_locked_for_half_a_minute(house: House) -> None:
    _locked(house, 30)


def _locked(house: House, seconds: float) -> None:
    job_id = house.submit(steps=int(seconds * 15), seconds=0.05)
    house.until_step(job_id, 2)
    holder = sqlite.connect(house.service.settings.data_dir / "postil.db", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    before = (house.folder(job_id) / "events.jsonl").stat().st_size
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(TryAgainError):  # what it only reads it may get
            house.reconciler.tick()
    with pytest.raises(TryAgainError):
        house.submit(steps=1)
    assert (house.folder(job_id) / "events.jsonl").stat().st_size > before
    holder.execute("ROLLBACK")
    assert house.until_state(job_id, "succeeded").attempt == 1


def test_a_clock_set_back_a_day_stops_nothing(house: House, clock: Clock) -> None:
    """F6: the time of day decides no liveness, no wait and no end."""
    job_id = house.submit(steps=30, seconds=0.05)
    house.until_step(job_id, 2)
    clock.go(days=-1)
    house.until_step(job_id, 10)
    left = house.view(job_id).progress["seconds_left_high"]
    assert left is None or 0 <= left < 60
    clock.go(days=2)
    later = house.submit(steps=2)
    assert house.until_state(job_id, "succeeded").attempt == 1
    assert house.until_state(later, "succeeded").attempt == 1


def test_a_second_supervisor_is_refused(house: House) -> None:
    stop = threading.Event()
    backend = LocalBackend(house.service.settings.data_dir, needs_zygote=False)
    first = threading.Thread(target=supervise, args=(house.service, stop.is_set, backend))
    first.start()
    try:
        deadline = time.monotonic() + 20
        while not look_at_health(house.service).supervisor and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(TryAgainError, match="Another supervisor"):
            supervise(house.service, lambda: True, backend)
    finally:
        stop.set()
        first.join(20)
    supervise(house.service, lambda: True, backend)


def test_runs_go_on_when_the_supervisor_is_asked_to_end(house: House) -> None:
    job_id = house.submit(steps=60, seconds=0.05)
    pid = house.until_step(job_id, 2)
    house.reconciler.backend.close()
    assert find_pid(house.folder(job_id), 1) == pid
    house.restart()
    assert house.until_state(job_id, "succeeded").attempt == 1


def test_the_heartbeat_says_what_there_is(house: House) -> None:
    house.reconciler.tick()
    assert look_at_health(house.service).supervisor
    assert utc_now().tzinfo is not None
