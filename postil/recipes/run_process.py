"""A run in a process of its own: `python -m postil.recipes.run_process FOLDER LOCK`, or a fork of the zygote.

It reads `spec.json`, gives up what it does not need, trains with `train_lora`, and writes how it ended. Whether the
run is new or goes on is no question of the caller's: what lies in the folder says so.
"""

import errno
import faulthandler
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from postil.config import RunConfig, check_config, load_config
from postil.errors import CannotWriteError, DataError, PostilError, Stopped, TryAgainError, UnavailableError
from postil.events import AnyEvent, PhaseStarted, StepDone
from postil.events import Pace as PaceEvent
from postil.language import use_language
from postil.models.manifest import write_text_atomically
from postil.operating_system import is_out_of_memory
from postil.recipes.confinement import give_up_rights
from postil.recipes.launch import Cause, RunError, RunExit, RunSpec, attempt_folder, read_spec, write_exit
from postil.recipes.lora_sft import train_lora
from postil.recipes.run_folder import RunFolder

MAX_PROBLEMS = 100
_CUDA_WORDS = ("cuda error", "cudnn", "cublas", "nvml", "no cuda gpus", "cuda driver", "nccl")
_TOO_LARGE_NOW = ("models.does_not_fit", "recipes.does_not_fit")
"""What does not fit into the memory that is free at this moment may fit a little later."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def run_attempt(folder: Path) -> int:
    """Carries out the attempt that the folder's spec describes; this process has its lock.

    Returns:
        The exit code, which `exit.json` has too.
    """
    spec = read_spec(folder)
    use_language(spec.language)
    faulthandler.enable()
    _write_pid(folder, spec)
    steps = _StepCounter()
    ended = _carry_out(folder, spec, steps)
    with suppress(PostilError):  # a folder that is gone: the supervisor sees that
        write_exit(folder, spec.attempt, msgspec.structs.replace(ended, step=steps.done))
    return ended.code


def _write_pid(folder: Path, spec: RunSpec) -> None:
    with suppress(PostilError):
        write_text_atomically(attempt_folder(folder, spec.attempt) / "pid", f"{os.getpid()}\n")


class _StepCounter:
    """The report of a run: remembers the last step, and whether the training loop is at work."""

    def __init__(self) -> None:
        self.done, self.is_training = 0, False

    def report(self, event: AnyEvent) -> None:
        """Takes an event."""
        if isinstance(event, StepDone | PaceEvent):
            self.done = event.step
        if isinstance(event, PhaseStarted):
            self.is_training = event.phase == "train"


def _carry_out(folder: Path, spec: RunSpec, steps: _StepCounter) -> RunExit:
    try:
        with _stop_on_sigterm(steps) as asked:
            give_up_rights(folder, spec)
            _train(folder, spec, steps, asked)
    except BaseException as error:  # whatever it was, the next reader of the folder must learn it
        if not isinstance(error, PostilError):
            traceback.print_exc()
        return _ended_by(error, spec)
    return RunExit(code=0, cause="finished")


def _train(folder: Path, spec: RunSpec, steps: _StepCounter, asked: "_Asked") -> None:
    import torch

    torch.set_num_threads(spec.threads)
    config, resume = settings_for(folder, spec)
    if RunFolder(folder).result.exists():  # the attempt before was killed after it had finished
        return
    train_lora(config, steps.report, asked.is_set, resume=resume, is_locked=True, save_seconds=spec.save_seconds)


def settings_for(folder: Path, spec: RunSpec) -> tuple[RunConfig, bool]:
    """The settings to begin or to go on with, and whether the run goes on.

    Raises:
        UsageError: the spec's settings are wrong.
    """
    stored = folder / "run.yaml"
    limit = spec.max_pack_tokens
    if stored.exists():
        settings = load_config(stored)
        if limit is not None and (settings.training.max_tokens_per_pack or limit + 1) > limit:
            write_text_atomically(stored, settings.replace({"training.max_tokens_per_pack": limit}).to_yaml())
        return RunConfig().replace({"output.dir": str(folder)}), True
    changes: dict[str, Any] = {"output.dir": str(folder), "output.force": False, "output.trackers": ()}
    if limit is not None:
        changes["training.max_tokens_per_pack"] = limit
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # of a run whose settings were lost
    return check_config(spec.config, "spec.json").replace(changes), False


class _Asked:
    """Set by SIGTERM."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """It has come."""
        self._is_set = True

    def is_set(self) -> bool:
        """The run's `should_stop`."""
        return self._is_set


@contextmanager
def _stop_on_sigterm(steps: _StepCounter) -> Iterator[_Asked]:
    """SIGTERM lets a training loop finish its step and save; anywhere else nothing would be saved by waiting."""
    asked = _Asked()

    def handle(number: int, frame: FrameType | None) -> None:
        asked.set()
        if not steps.is_training:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended_by(error: BaseException, spec: RunSpec) -> RunExit:
    cause = cause_of(error)
    if cause == "stopped":
        return RunExit(code=143, cause="stopped")
    if cause == "memory" and not (isinstance(error, PostilError) and error.key in _TOO_LARGE_NOW):
        error = UnavailableError("recipes.out_of_memory", reason=_words(error), threads=spec.threads)
    elif cause == "cuda":
        error = UnavailableError("recipes.gpu_failed", reason=_words(error))
    elif not isinstance(error, PostilError):
        error = PostilError("recipes.run_failed", reason=f"{type(error).__name__}: {_words(error)}")
    return RunExit(code=error.exit_code, cause=cause, error=describe_error(error))


def cause_of(error: BaseException) -> Cause:
    """Why a run ended, from what it raised: what decides whether and when it is tried again."""
    text = str(error).casefold()
    if isinstance(error, Stopped | KeyboardInterrupt):
        return "stopped"
    if isinstance(error, PostilError):
        return _cause_of_ours(error)
    if is_out_of_memory(error):
        return "memory"
    if isinstance(error, RuntimeError) and any(word in text for word in _CUDA_WORDS):
        return "cuda"
    if isinstance(error, OSError) and error.errno in _FULL:
        return "disk"
    return "own"


def _cause_of_ours(error: PostilError) -> Cause:
    if error.key in _TOO_LARGE_NOW:
        return "memory"
    # weights that could not be read for want of memory, say, are no fault of the weights
    if error.__cause__ is not None and (behind := cause_of(error.__cause__)) in ("memory", "cuda", "disk"):
        return behind
    if isinstance(error, TryAgainError):
        return "again"
    if isinstance(error, CannotWriteError):
        return "disk"
    # 70 is a bug of ours: tried again, until it fails at the same step for the third time
    return "user" if 64 <= error.exit_code < 70 else "own"


def describe_error(error: PostilError) -> RunError:
    """An error as `exit.json` keeps it."""
    problems = error.problems[:MAX_PROBLEMS] if isinstance(error, DataError) else ()
    return RunError(
        key=error.key,
        values={
            name: value if isinstance(value, int | float | bool) else str(value) for name, value in error.values.items()
        },
        message=error.message,
        hint=error.hint,
        problems=[problem.as_dict() for problem in problems],
    )


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def main() -> None:
    """The fresh process: its folder, and the number of the descriptor that holds the lock."""
    folder, lock = Path(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(lock, False)
    code = run_attempt(folder)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without the interpreter's farewell, in which a library could still crash


if __name__ == "__main__":
    main()
