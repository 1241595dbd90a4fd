"""F8: the states of jobs under any order of wishes, ends, kills, restarts and jumps of the clock."""

import contextlib
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select

from postil.errors import ConflictError
from postil.events import CheckpointSaved, StepDone, encode_event
from postil.platform.jobs.backends import Status
from postil.platform.jobs.jobs import (
    AT_WORK,
    ENDED,
    MOVES,
    insert_job,
    request_cancel,
    request_pause,
    request_resume,
    run_folder,
)
from postil.platform.jobs.reconciling import Reconciler
from postil.platform.jobs.slots import Slot
from postil.platform.jobs.views import get_job
from postil.platform.money import ledger
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.platform.store.tables import Adapter, Job
from postil.recipes.launch import Cause, RunError, RunExit, RunSpec, prepared_attempt, write_exit
from tests.platform.conftest import Clock
from tests.platform.rows import add_account

SLOTS = (Slot("fake-0", "fake"), Slot("fake-1", "fake"))
CAUSES: tuple[Cause, ...] = ("finished", "user", "memory", "disk", "cuda", "again", "own")


class Stage:
    """A backend whose runs are files and nothing else: they do what the rules say, and stop when they are asked to."""

    def __init__(self) -> None:
        self.alive: dict[Path, int] = {}
        self.deaf: set[Path] = set()
        self.steps: dict[Path, int] = {}

    def submit(self, folder: Path, spec: RunSpec) -> int:
        assert folder not in self.alive, "two runs in one folder"
        with prepared_attempt(folder, spec):
            self.alive[folder] = spec.attempt
        return 1

    def status(self, folder: Path) -> Status:
        return "alive" if folder in self.alive else "ended" if folder.is_dir() else "lost"

    def stop(self, folder: Path, attempt: int, pid: int | None, *, at_once: bool) -> bool:
        if self.alive.get(folder) != attempt:
            return False
        if at_once:
            self.kill(folder)
        elif folder not in self.deaf:
            self.end(folder, "stopped")
        return True

    def logs(self, folder: Path, attempt: int) -> str:
        return ""

    def tend(self) -> bool:
        return True

    def close(self) -> None:
        return

    def kill(self, folder: Path) -> None:
        self.alive.pop(folder, None)
        self.deaf.discard(folder)

    def end(self, folder: Path, cause: Cause) -> None:
        if folder.is_dir():
            error = (
                None if cause in ("finished", "stopped") else RunError(key="recipes.run_failed", values={"reason": "x"})
            )
            ended = RunExit(code=0, cause=cause, step=self.steps.get(folder, 0), error=error)
            write_exit(folder, self.alive[folder], ended)
        self.kill(folder)

    def step(self, folder: Path, saves: bool) -> None:
        self.steps[folder] = step = self.steps.get(folder, 0) + 1
        numbers = {"loss": 1.0, "learning_rate": 1.0, "grad_norm": 1.0, "tokens_per_second": 1.0, "seconds_left": 1.0}
        with contextlib.suppress(OSError), (folder / "events.jsonl").open("ab") as log:
            log.write(encode_event(StepDone(step=step, steps=99, tokens=1, trained_tokens=1, **numbers)))
            if saves:
                log.write(encode_event(CheckpointSaved(step=step, path="")))


class JobLives(RuleBasedStateMachine):
    """Jobs of one account, two slots, and everything that can happen to them."""

    jobs = Bundle("jobs")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postil-states-"))
        self.clock = Clock()
        made = open_service(load_settings(self.folder / "data", {"kill_after_seconds": 0.001}))
        self.service: Service = replace(made, now=self.clock)
        self.account = add_account(self.service)
        self.stage = Stage()
        self.seen: dict[str, tuple[str, int]] = {}
        self.restart()

    def teardown(self) -> None:
        if hasattr(self, "service"):
            self.service.database.engine.dispose()
            shutil.rmtree(self.folder, ignore_errors=True)

    @rule()
    def restart(self) -> None:
        """The supervisor was killed and another one started."""
        self.reconciler = Reconciler(self.service, self.stage, SLOTS)

    @rule(target=jobs)
    def submit(self) -> str:
        with self.service.database.writing() as session:
            job = insert_job(
                session,
                account_id=self.account,
                name="shop",
                dataset_id=None,
                dataset_version=1,
                base="starter",
                spec={},
                now=self.clock(),
            )
            ledger.reserve(session, self.service, job, [1000] * 1100, 2)
        return job.id

    @rule()
    def tick(self) -> None:
        self.clock.go(seconds=1)
        self.reconciler.tick()

    @rule(span=st.sampled_from([-86400, -3600, 20, 400, 86400]))
    def turn_clock(self, span: int) -> None:
        self.clock.go(seconds=span)

    @rule(job=jobs, wish=st.sampled_from([request_cancel, request_pause, request_resume]))
    def wish(self, job: str, wish: object) -> None:
        with contextlib.suppress(ConflictError):
            wish(self.service, self.account, job)  # type: ignore[operator]

    @rule(job=jobs, saves=st.booleans())
    def run_steps(self, job: str, saves: bool) -> None:
        if (folder := self._folder(job)) in self.stage.alive:
            self.stage.step(folder, saves)

    @rule(job=jobs, cause=st.sampled_from(CAUSES))
    def run_ends(self, job: str, cause: Cause) -> None:
        if (folder := self._folder(job)) in self.stage.alive:
            self.stage.end(folder, cause)

    @rule(job=jobs, what=st.sampled_from(["kill", "deaf", "delete"]))
    def trouble(self, job: str, what: Literal["kill", "deaf", "delete"]) -> None:
        folder = self._folder(job)
        if folder not in self.stage.alive:
            return
        if what == "kill":
            self.stage.kill(folder)
        elif what == "deaf":
            self.stage.deaf.add(folder)
        else:
            shutil.rmtree(folder)
            self.stage.kill(folder)

    def _folder(self, job: str) -> Path:
        return run_folder(self.service, job)

    @invariant()
    def states_are_as_drawn(self) -> None:
        if not hasattr(self, "service"):
            return
        with self.service.database.reading() as session:
            rows = list(session.scalars(select(Job)))
            lines = {row.id: ledger.lines_of(session, row.id) for row in rows}
            assert not session.scalars(select(Adapter)).all()  # fake runs make none, whatever happens
        slots = [row.slot for row in rows if row.state in AT_WORK]
        assert None not in slots and len(slots) == len(set(slots))
        for row in rows:
            before, attempt = self.seen.get(row.id, (row.state, row.attempt))
            assert row.attempt >= attempt and (before == row.state or _can_reach(before, row.state)), (
                before,
                row.state,
            )
            assert before not in ENDED or before == row.state
            self.seen[row.id] = (row.state, row.attempt)
            assert (row.ended_at is not None) == (row.state in ENDED)
            assert row.slot is None or row.state in AT_WORK
            held = sum(line.amount_micro for line in lines[row.id].values())
            assert ("settle" in lines[row.id] or "refund" in lines[row.id]) == (row.state in ENDED)
            assert held == 0 if row.state in ("failed", "cancelled") else held >= 0
            get_job(self.service, self.account, row.id)

    @rule(job=jobs)
    def cancel_is_always_obeyed(self, job: str) -> None:
        """From any state, whatever the run does, a few ticks end the job and free its slot."""
        request_cancel(self.service, self.account, job)
        for _ in range(5):
            self.reconciler.tick()
            self.clock.go(seconds=1)
        view = get_job(self.service, self.account, job)
        assert view.state in ENDED and self._folder(job) not in self.stage.alive


def _can_reach(before: str, after: str) -> bool:
    """A tick may take several steps of the drawing."""
    reached, new = {before}, {before}
    while new:
        new = {state for old in new for state in MOVES[old]} - reached  # type: ignore[index]
        reached |= new
    return after in reached


JobLives.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestJobLives = JobLives.TestCase
