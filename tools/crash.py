"""Kills what it can at random while jobs train, and proves that nothing was lost: `python -m tools.crash --kills 500`.

Real components only: the web process, through which jobs are submitted all the while, a supervisor, its zygote, and
runs that train LoRA adapters on a tiny random model. After the last kill there must be as many jobs as were submitted,
every one succeeded, with one adapter and one settled bill, and its weights must be, bit for bit, those of a run that
nobody disturbed. Prints what it did; exits 1 when anything is wrong.
"""

import argparse
import hashlib
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from postil.client import Client
from postil.config import RunConfig
from postil.errors import TryAgainError
from postil.platform.accounts.accounts import register
from postil.platform.accounts.api_keys import make_key
from postil.platform.administration import HEARTBEAT
from postil.platform.datasets.uploads import start_upload
from postil.platform.jobs.jobs import AT_WORK, ENDED, run_folder
from postil.platform.jobs.run_specs import submitted_settings
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
MOST_TRIES = 60
WEIGHTS = {"run": 6, "supervisor": 2, "zygote": 1, "web": 2}
"""How many of each a pack holds; after the death of the others seconds pass until something can be killed again."""
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
    """A data folder with a supervisor and a web process that are started again whenever they die, as `postil web` does.

    Args:
        has_web: jobs are to be submitted over HTTP.
    """

    def __init__(self, folder: Path, base: Path, *, has_web: bool = False) -> None:
        changes = {"cpu_slots": 2, "threads": 1, "poll_seconds": 0.1, "run_nice": 0, "max_queued_jobs": 1000}
        folder.mkdir(parents=True)
        (folder / "settings.yaml").write_text("".join(f"{k}: {v}\n" for k, v in changes.items()), "utf-8")
        self.service: Service = open_service(load_settings(folder))
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.web: subprocess.Popen[bytes] | None = None
        # the port is ours: while no web process lives clients wait, and are not refused
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=256) if has_web else None
        self.account = register(self.service, "mei@shop.example", "a long enough pass phrase").id
        self._allow(base)

    def client(self) -> Client:
        """Somebody who submits jobs over HTTP."""
        assert self.listening is not None
        key = make_key(self.service, self.account, "crash", ["read", "train"])[1]
        return Client(f"http://127.0.0.1:{self.listening.getsockname()[1]}", api_key=key)

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
        """Starts what should run and does not."""
        if self.process is None or self.process.poll() is not None:
            self.process = self._start("postil.platform.supervisor")
        if self.listening is not None and (self.web is None or self.web.poll() is not None):
            descriptor = self.listening.fileno()
            self.web = self._start("postil.web", "--fd", str(descriptor), inherit=[descriptor])

    def _start(self, module: str, *arguments: str, inherit: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        logs = self.folder / "logs"
        logs.mkdir(exist_ok=True)
        with (logs / f"{module}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", module, "--data", str(self.folder), *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=tuple(inherit),
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
        if kind == "web":
            return self.web.pid if self.web and self.web.poll() is None else None
        if kind == "zygote":
            return _zygote_of(self.folder)
        alive = [job for job in self.jobs() if job.state in AT_WORK]
        pids = [find_pid(run_folder(self.service, job.id), job.attempt) for job in alive]
        return random.choice(found) if (found := [pid for pid in pids if pid]) else None

    def close(self) -> None:
        """Ends the processes, then what still runs."""
        for process in (self.web, self.process):
            if process is not None:
                process.terminate()
                process.wait(30)
        if self.listening is not None:
            self.listening.close()
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
    house = House(folder / "data", make_tiny_model(folder / "tiny", "qwen3"), has_web=True)
    try:
        dataset = house.upload()
        with submitting(house, dataset, outcome):
            _kill_at_random(house, kills, started + limit_seconds / 2, outcome)
        done = house.wait_for(lambda: all(job.state in ENDED for job in house.jobs()), limit_seconds / 2)
        if not done:
            outcome.problems.append("not all jobs have ended in time")
        _look_at_results(house, folder, outcome)
    finally:
        house.close()
    outcome.seconds = time.monotonic() - started
    return outcome


@contextmanager
def submitting(house: House, dataset: str, outcome: Outcome) -> Iterator[None]:
    """Keeps JOBS_AT_ONCE jobs open over HTTP within it; what breaks is sent again under the same token."""
    stop = threading.Event()

    def submit() -> None:
        with house.client() as client:
            while not stop.is_set():
                if sum(job.state not in ENDED for job in house.jobs()) < JOBS_AT_ONCE:
                    _submit_once(client, dataset, SEEDS[outcome.jobs % len(SEEDS)], outcome)
                time.sleep(0.1)

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        while thread.is_alive():
            house.tend()
            thread.join(0.2)


def _submit_once(client: Client, dataset: str, seed: int, outcome: Outcome) -> None:
    token = secrets.token_hex(8)
    for _ in range(MOST_TRIES):
        try:
            client.train(dataset, base="tiny", settings=SETTINGS, seed=seed, client_token=token)
        except TryAgainError:
            time.sleep(0.5)
        else:
            outcome.jobs += 1
            return
    outcome.problems.append(f"a job could not be submitted in {MOST_TRIES} tries")


def _kill_at_random(house: House, kills: int, until: float, outcome: Outcome) -> None:
    """Kills in an order drawn from shuffled packs, so that however slow the machine is, each kind has its share."""
    pack: list[str] = []
    while outcome.kills.total() < kills and time.monotonic() < until:
        house.tend()
        if not pack:
            pack = random.sample(list(WEIGHTS), sum(WEIGHTS.values()), counts=list(WEIGHTS.values()))
        is_warm = house.find_target("run") is not None or random.random() < COLD_SHARE
        pid = house.find_target(pack[-1]) if is_warm else None
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                outcome.kills[pack.pop()] += 1
        time.sleep(random.uniform(0.05, 1.0))


def _look_at_results(house: House, folder: Path, outcome: Outcome) -> None:
    expected: dict[int, str] = {}
    if (found := len(house.jobs())) != outcome.jobs:
        outcome.problems.append(f"{outcome.jobs} jobs were submitted, there are {found}")
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
