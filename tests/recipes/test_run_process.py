"""Real runs forked by a real zygote, on a tiny model: whole, killed, out of memory, with data that cannot train."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from postil.config import RunConfig
from postil.errors import CannotWriteError, DataError, MissingInputError, Stopped, TryAgainError, UnavailableError
from postil.events import CheckpointSaved, RunFinished, TrainingPlanned
from postil.recipes.launch import (
    RunExit,
    RunSpec,
    attempt_folder,
    find_exit,
    find_pid,
    read_events,
    signal_run,
    start_run,
)
from postil.recipes.row_tokens import find_row_tokens
from postil.recipes.run_lock import is_alive
from postil.recipes.run_process import cause_of
from postil.recipes.zygote_door import is_ready, start_forked_run, start_zygote
from postil.testing.tiny import make_tiny_model

ROWS = "question,answer\n" + "".join(f"What is item {n}?,It is the number {n} of our shop.\n" for n in range(20))


@dataclass(frozen=True)
class Hatchery:
    """A zygote's socket, a tiny base and a file."""

    socket: Path
    base: Path
    data: Path

    def spec(self, folder: Path, attempt: int = 1, memory_bytes: int | None = 6 << 30, **settings: object) -> RunSpec:
        config = RunConfig().replace(
            {
                "data.file": str(self.data),
                "model.base": str(self.base),
                "model.device": "cpu",
                "training.max_steps": 30,
                "training.batch_rows": 4,
                "training.save_every": 3,
                "training.learning_rate": 1e-3,
                "adapter.rank": 4,
                "adapter.dropout": 0.1,
                "evaluation.max_answers": 0,
                **settings,
            }
        )
        return RunSpec(
            job_id=folder.name,
            attempt=attempt,
            config=config.model_dump(mode="json"),
            memory_bytes=memory_bytes,
            readable=(str(self.base), str(config.data.file)),
        )

    def start(self, folder: Path, attempt: int = 1, memory_bytes: int | None = 6 << 30, **settings: object) -> int:
        return start_forked_run(self.socket, folder, self.spec(folder, attempt, memory_bytes, **settings))


@pytest.fixture(scope="module")
def hatchery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hatchery]:
    folder = tmp_path_factory.mktemp("hatchery") / ("deep" * 20)  # longer than a socket's name may be
    folder.mkdir()
    base = make_tiny_model(folder / "base", "qwen3")
    (folder / "shop.csv").write_text(ROWS, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "canary")
        zygote = start_zygote(folder / "zygote.sock", folder / "zygote.log")
    until = time.monotonic() + 120
    while not is_ready(folder / "zygote.sock"):
        assert time.monotonic() < until and zygote.poll() is None, (folder / "zygote.log").read_text()
        time.sleep(0.05)
    assert os.listdir(f"/proc/{zygote.pid}/task") == [str(zygote.pid)], "a thread would not survive the fork"
    yield Hatchery(folder / "zygote.sock", base, folder / "shop.csv")
    assert zygote.stdin is not None
    zygote.stdin.close()
    assert zygote.wait(30) == 0


def wait_for_end(folder: Path, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while is_alive(folder):
        assert time.monotonic() < until
        time.sleep(0.02)


def wait_for_step(folder: Path, step: int) -> None:
    until = time.monotonic() + 120
    while not any(isinstance(e, CheckpointSaved) and e.step >= step for e in read_events(folder)[0]):
        assert time.monotonic() < until
        time.sleep(0.01)


def weights(folder: Path) -> str:
    return hashlib.sha256((folder / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()


def test_killed_forks_end_as_a_fresh_process_that_nobody_disturbed(hatchery: Hatchery, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    start_run(whole, hatchery.spec(whole))
    folder = tmp_path / "job"
    for attempt in (1, 2, 3):
        pid = hatchery.start(folder, attempt)
        wait_for_step(folder, 6 * attempt)
        assert pid == find_pid(folder, attempt) and os.getsid(pid) != os.getsid(0)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(folder)
        assert find_exit(folder, attempt) is None
    hatchery.start(folder, 4)
    wait_for_end(folder)
    wait_for_end(whole)
    assert find_exit(folder, 4) == find_exit(whole, 1) == RunExit(code=0, cause="finished", step=30)
    assert weights(folder) == weights(whole)
    first_steps = [e.first_step for e in read_events(folder)[0] if isinstance(e, TrainingPlanned)]
    assert first_steps[0] == 0 and all(n >= 6 * (i + 1) for i, n in enumerate(first_steps[1:])), first_steps
    peaks = [e.peak_memory_bytes or 0 for e in read_events(folder)[0] if isinstance(e, CheckpointSaved | RunFinished)]
    assert len(peaks) > 10 and all(100e6 < peak < 4e9 for peak in peaks), peaks
    tokens = find_row_tokens(folder)
    assert tokens is not None and len(tokens.row_tokens) == 20 and tokens.steps_per_pass == 5


def test_a_kill_before_anything_was_saved_begins_anew(hatchery: Hatchery, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    for attempt, seconds in ((1, 0.0), (2, 0.3), (3, 0.6)):
        pid = hatchery.start(folder, attempt, **{"training.save_every": 1000})
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
        wait_for_end(folder)
    hatchery.start(folder, 4, **{"training.save_every": 1000})
    wait_for_end(folder)
    assert find_exit(folder, 4) == RunExit(code=0, cause="finished", step=30)


def test_sigterm_saves(hatchery: Hatchery, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    pid = hatchery.start(folder, **{"training.max_steps": 3000})
    wait_for_step(folder, 3)
    assert signal_run(pid, folder, signal.SIGTERM)
    wait_for_end(folder)
    ended = find_exit(folder, 1)
    assert ended is not None and (ended.code, ended.cause) == (143, "stopped")
    saved = [e.step for e in read_events(folder)[0] if isinstance(e, CheckpointSaved)]
    assert saved[-1] == ended.step


def test_too_little_memory_has_a_name_and_smaller_packs_go_on(hatchery: Hatchery, tmp_path: Path) -> None:
    """F7: the limit is the run's own, so that nothing else on the machine is hurt."""
    folder = tmp_path / "job"
    hatchery.start(folder, memory_bytes=20 << 20)
    wait_for_end(folder)
    ended = find_exit(folder, 1)
    assert ended is not None and ended.cause == "memory" and ended.code == 69, ended
    assert ended.error is not None and ended.error.key == "recipes.out_of_memory" and ended.error.hint
    spec = hatchery.spec(folder, 2)
    start_forked_run(hatchery.socket, folder, _smaller(spec))
    wait_for_end(folder)
    assert find_exit(folder, 2) == RunExit(code=0, cause="finished", step=30)
    assert "max_tokens_per_pack: 64" in (folder / "run.yaml").read_text("utf-8")


def _smaller(spec: RunSpec) -> RunSpec:
    return msgspec.structs.replace(spec, max_pack_tokens=64)


def test_smaller_packs_take_up_a_checkpoint_of_larger_ones(hatchery: Hatchery, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    os.kill(_started_up_to(hatchery, folder, 6), signal.SIGKILL)
    wait_for_end(folder)
    start_forked_run(hatchery.socket, folder, _smaller(hatchery.spec(folder, 2)))
    wait_for_end(folder)
    assert find_exit(folder, 2) == RunExit(code=0, cause="finished", step=30)


def _started_up_to(hatchery: Hatchery, folder: Path, step: int) -> int:
    pid = hatchery.start(folder)
    wait_for_step(folder, step)
    return pid


def test_data_that_cannot_train_are_the_users_to_mend(hatchery: Hatchery, tmp_path: Path) -> None:
    data = tmp_path / "bad.csv"
    data.write_text("question,answer\nWhere?,\nWhen?,\n", "utf-8")
    folder = tmp_path / "job"
    hatchery.start(folder, **{"data.file": str(data)})
    wait_for_end(folder)
    ended = find_exit(folder, 1)
    assert ended is not None and (ended.code, ended.cause) == (65, "user")
    assert ended.error is not None and ended.error.message and len(ended.error.problems) >= 2
    assert folder.is_dir() and (attempt_folder(folder, 1) / "exit.json").exists()


def test_a_base_that_vanished_is_named(hatchery: Hatchery, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    hatchery.start(folder, **{"model.base": str(tmp_path / "gone")})
    wait_for_end(folder)
    ended = find_exit(folder, 1)
    assert ended is not None and ended.cause == "user" and ended.error is not None and "gone" in ended.error.message


def test_a_run_is_confined_niced_and_has_only_its_own_files(hatchery: Hatchery, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    pid = _started_up_to(hatchery, folder, 3)
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
    )
    assert status["NoNewPrivs"] == "1"  # Landlock asks for it
    links = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    assert not any("zygote.sock" in link or link.startswith("socket:") for link in links), links
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"canary" not in environment and b"HF_HUB_OFFLINE=1" in environment
    os.kill(pid, signal.SIGKILL)


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (DataError("data.binary", path="x"), "user"),
        (MissingInputError("data.no_file", path="x"), "user"),
        (UnavailableError("recipes.gpu_failed", reason="x"), "user"),
        (TryAgainError("recipes.run_is_alive", path="x"), "again"),
        (CannotWriteError("recipes.cannot_write", path="x", reason="y"), "disk"),
        (Stopped("training.stopped", by_signal=2, step=1, steps=2), "stopped"),
        (KeyboardInterrupt(), "stopped"),
        (MemoryError(), "memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (OSError(12, "Cannot allocate memory"), "memory"),
        (OSError(28, "No space left on device"), "disk"),
        (RuntimeError("CUDA error: unspecified launch failure"), "cuda"),
        (ValueError("a bug"), "own"),
        (caused(DataError("data.binary", path="x"), MemoryError()), "memory"),
        (
            UnavailableError(
                "models.does_not_fit", base="b", dtype="fp32", device="cpu", needed="9", available="1", fitting="c"
            ),
            "memory",
        ),
    ],
)
def test_causes(error: BaseException, cause: str) -> None:
    assert cause_of(error) == cause
