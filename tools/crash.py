"""Kills what it can at random while jobs train, and proves that nothing was lost: `python -m tools.crash --kills 500`.

Real components only: a supervisor, its zygote, and runs that train LoRA adapters on a tiny random model. After the last
kill every job must have succeeded, with one adapter and one settled bill, and its weights must be, bit for bit, those
of a run that nobody disturbed. Prints what it did; exits 1 when anything is wrong.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from postil.config import RunConfig
from postil.platform.accounts.accounts import register
from postil.platform.administration import HEARTBEAT
from postil.platform.datasets.uploads import start_upload
from postil.platform.jobs.jobs import AT_WORK, ENDED, run_folder
from postil.platform.jobs.requests import JobRequest
from postil.platform.jobs.run_specs import submitted_settings
from postil.platform.jobs.submitting import submit_job
from postil.platform.money.audit import recompute
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.platform.store.tables import Adapter, BaseModelEntry, Dataset, Job, LedgerEntry, Machine
from postil.recipes.launch import RunSpec, find_exit, find_pid, start_run
from postil.recipes.run_lock import is_alive
from postil.testing.tiny import make_tiny_model

SETTINGS = {
    "training.max_steps": 60,
    "training.save_every": 4,
    "training.batch_rows": 4,
    "training.learning_rate": 1e-3,
    "training.warmup_steps": 2,
    "adapter.rank": 4,
    "adapter.dropout": 0.1,
    "evaluation.max_answers": 0,
}
SEEDS = (0, 1)
JOBS_AT_ONCE = 4
WEIGHTS = {"run": 6, "supervisor": 2, "zygote": 1}
"""How often each is chosen; after the death of the others seconds pass until something can be killed again."""
COLD_SHARE = 0.03
"""Of the moments at which no run is at work: most kills are to hit something that works."""
ROWS = "question,answer\n" + "".join(f"What is item {n}?,It is the number {n} of our shop.\n" for n in range(24))


@dataclass
class Outcome:
    """What happened; `problems` is empty when all is well."""

    kills: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    attempts: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


class House:
    """A data folder with a supervisor that is started again whenever it dies, as `postil web` does."""

    def __init__(self, folder: Path, base: Path) -> None:
        changes = {"cpu_slots": 2, "threads": 1, "poll_seconds": 0.1, "run_nice": 0, "max_queued_jobs": 1000}
        folder.mkdir(parents=True)
        (folder / "settings.yaml").write_text("".join(f"{k}: {v}\n" for k, v in changes.items()), "utf-8")
        self.service: Service = open_service(load_settings(folder))
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.account = register(self.service, "mei@shop.example", "a long enough pass phrase").id
        self._allow(base)

    def _allow(self, base: Path) -> None:
        now = self.service.now()
        with self.service.database.writing() as session:
            session.add(
                BaseModelEntry(
                    id="base_0000000000000000",
                    name="tiny",
                    source="folder",
                    path=str(base),
                    state="ready",
                    is_allowed=True,
                    facts={"family": "qwen3", "hidden_size": 64, "num_parameters": 1_500_000},
                    created_at=now,
                    updated_at=now,
                )
            )

    def tend(self) -> None:
        """Starts the supervisor where there is none."""
        if self.process is None or self.process.poll() is not None:
            logs = self.folder / "logs"
            logs.mkdir(exist_ok=True)
            with (logs / "supervisor.log").open("ab") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "postil.platform.supervisor", "--data", str(self.folder)],
                    stdout=log,
                    stderr=log,
                )

    def upload(self) -> str:
        """A checked data set."""
        dataset = start_upload(self.service, self.account, "shop.csv", [ROWS.encode()])
        self.wait_for(lambda: self._state(dataset.id) == "ready", 120)
        return dataset.id

    def _state(self, dataset_id: str) -> str:
        with self.service.database.reading() as session:
            return str(session.scalar(select(Dataset.state).where(Dataset.id == dataset_id)))

    def wait_for(self, is_so: Callable[[], bool], seconds: float) -> bool:
        """Tends until something is so, or the time is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.tend()
            if is_so():
                return True
            time.sleep(0.1)
        return False

    def jobs(self) -> list[Job]:
        """All of them."""
        with self.service.database.reading() as session:
            return list(session.scalars(select(Job).order_by(Job.created_at)))

    def find_target(self, kind: str) -> int | None:
        """A process of this kind, None where there is none just now."""
        if kind == "supervisor":
            return self.process.pid if self.process and self.process.poll() is None else None
        if kind == "zygote":
            return _zygote_of(self.folder)
        alive = [job for job in self.jobs() if job.state in AT_WORK]
        pids = [find_pid(run_folder(self.service, job.id), job.attempt) for job in alive]
        return random.choice(found) if (found := [pid for pid in pids if pid]) else None

    def close(self) -> None:
        """Ends the supervisor, then what still runs."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
        for job in self.jobs():
            if pid := find_pid(run_folder(self.service, job.id), job.attempt):
                os.kill(pid, signal.SIGKILL)


def _zygote_of(folder: Path) -> int | None:
    wanted = os.fsencode(folder / "zygote.sock")
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if wanted in words and b"postil.recipes.zygote" in words and _is_first(entry):
                return int(entry.name)
    return None


def _is_first(entry: Path) -> bool:
    """Forks have the zygote's command line; its own standard input is the supervisor's pipe."""
    return os.readlink(entry / "fd" / "0").startswith("pipe:")


def run_crashes(folder: Path, kills: int, seed: int, limit_seconds: float) -> Outcome:
    """Kills so many times, then waits for all jobs and looks at what they have left.

    Args:
        limit_seconds: after this long nothing more is killed, and what is not done then counts as lost.
    """
    random.seed(seed)
    started = time.monotonic()
    outcome = Outcome()
    house = House(folder / "data", make_tiny_model(folder / "tiny", "qwen3"))
    try:
        dataset = house.upload()
        _kill_at_random(house, dataset, kills, started + limit_seconds / 2, outcome)
        done = house.wait_for(lambda: all(job.state in ENDED for job in house.jobs()), limit_seconds / 2)
        if not done:
            outcome.problems.append("not all jobs have ended in time")
        _look_at_results(house, folder, outcome)
    finally:
        house.close()
    outcome.seconds = time.monotonic() - started
    return outcome


def _kill_at_random(house: House, dataset: str, kills: int, until: float, outcome: Outcome) -> None:
    while outcome.kills.total() < kills and time.monotonic() < until:
        house.tend()
        open_jobs = [job for job in house.jobs() if job.state not in ENDED]
        for number in range(len(open_jobs), JOBS_AT_ONCE):
            request = JobRequest(
                dataset_id=dataset, base="tiny", settings=SETTINGS, seed=SEEDS[(outcome.jobs + number) % len(SEEDS)]
            )
            submit_job(house.service, house.account, request)
            outcome.jobs += 1
        kind = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        is_warm = house.find_target("run") is not None or random.random() < COLD_SHARE
        pid = house.find_target(kind) if is_warm else None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                outcome.kills[kind] += 1
        time.sleep(random.uniform(0.05, 1.0))


def _look_at_results(house: House, folder: Path, outcome: Outcome) -> None:
    expected: dict[int, str] = {}
    with house.service.database.reading() as session:
        for job in house.jobs():
            outcome.attempts += job.attempt
            if job.state != "succeeded":
                outcome.problems.append(f"{job.id} is {job.state}: {job.error}")
                continue
            adapters = list(session.scalars(select(Adapter).where(Adapter.job_id == job.id)))
            lines = Counter(session.scalars(select(LedgerEntry.kind).where(LedgerEntry.job_id == job.id)))
            if len(adapters) != 1 or lines != Counter(("estimate", "reserve", "settle", "release")):
                outcome.problems.append(f"{job.id}: {len(adapters)} adapters, lines {dict(lines)}")
                continue
            seed = int(job.spec["seed"])
            if seed not in expected:
                expected[seed] = _undisturbed(house, job, folder / f"undisturbed-{seed}")
            with house.service.storage.local_path(adapters[0].storage_key) as path:
                if _digest(path) != expected[seed]:
                    outcome.problems.append(f"{job.id}: other weights than undisturbed, after {job.attempt} attempts")
    recompute(house.service, house.account)


def _undisturbed(house: House, job: Job, folder: Path) -> str:
    """The weights of the same run in a fresh process that nobody kills."""
    data = folder.with_suffix(".csv")
    data.write_text(ROWS, "utf-8")
    base = str(folder.parent / "tiny")
    changes = {"data.file": str(data), "data.drop_bad": True, "model.base": base, "model.device": "cpu"}
    config = RunConfig().replace({**changes, **submitted_settings(job)})
    spec = RunSpec(job_id=job.id, attempt=1, config=config.model_dump(mode="json"), is_confined=False)
    start_run(folder, spec)
    while is_alive(folder):
        time.sleep(0.1)
    ended = find_exit(folder, 1)
    assert ended is not None and ended.code == 0, ended
    return _digest(folder / "adapter")


def _digest(adapter: Path) -> str:
    return hashlib.sha256((adapter / "adapter_model.safetensors").read_bytes()).hexdigest()


def is_ready(service: Service) -> bool:
    """True when the supervisor has said that it can start runs."""
    with service.database.reading() as session:
        row = session.get(Machine, HEARTBEAT)
        return row is not None and bool(row.value["is_ready"])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tools.crash")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="postil-crash-") as folder:
        outcome = run_crashes(Path(folder), asked.kills, asked.seed, asked.minutes * 60)
    print(f"{outcome.kills.total()} kills {dict(outcome.kills)} in {outcome.seconds:.0f} s")
    print(f"{outcome.jobs} jobs, {outcome.attempts} attempts, {len(outcome.problems)} problems")
    print("\n".join(outcome.problems))
    raise SystemExit(1 if outcome.problems else 0)


if __name__ == "__main__":
    main()
