"""A run without training: a cheap process that keeps the same contract, for tests of everything around runs.

It takes `training.max_steps` steps of `training.learning_rate` seconds (0.05 where nothing is set), saves a checkpoint
every `training.save_every` steps, goes on from the last one, and obeys SIGTERM. What it leaves says how it came about:
`result.json` holds every step that was done, once each, over all attempts. It makes no adapter.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from postil.events import AnyEvent, CheckpointSaved, PhaseStarted, RunFinished, StepDone, TrainingPlanned
from postil.models.manifest import write_text_atomically
from postil.recipes.launch import RunExit, attempt_folder, read_spec, write_exit
from postil.recipes.run_folder import RunFolder, recorded

STEP_SECONDS = 0.05


def main() -> None:
    """The fresh process: its folder, and the number of the descriptor that holds the lock."""
    folder, lock = Path(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(lock, False)
    spec = read_spec(folder)
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    signal.signal(signal.SIGTERM, ask)
    write_text_atomically(attempt_folder(folder, spec.attempt) / "pid", f"{os.getpid()}\n")
    ended = _take_steps(folder, spec.config["training"], asked)
    write_exit(folder, spec.attempt, ended)
    os._exit(ended.code)


def _take_steps(folder: Path, training: dict[str, object], asked: list[int]) -> RunExit:
    steps = int(training["max_steps"] or 10)  # type: ignore[call-overload]
    seconds = float(training["learning_rate"] or STEP_SECONDS)  # type: ignore[arg-type]
    save_every = int(training["save_every"])  # type: ignore[call-overload]
    done = _load(folder)
    with recorded(RunFolder(folder), lambda event: None, resume=True, is_locked=True) as report:
        report(PhaseStarted(phase="train"))
        report(TrainingPlanned(steps=steps, first_step=len(done), epochs=1, batch_rows=1, learning_rate=1e-4))
        while len(done) < steps:
            time.sleep(seconds)
            done.append(len(done) + 1)
            report(_step(len(done), steps, seconds))
            if asked or len(done) % save_every == 0 or len(done) == steps:
                _save(folder, done)
                report(CheckpointSaved(step=len(done), path=""))
            if asked and len(done) < steps:
                return RunExit(code=143, cause="stopped", step=len(done))
        write_text_atomically(folder / "result.json", json.dumps({"steps": done}))
        report(RunFinished(run_dir=str(folder), verdict="cannot_tell"))
    return RunExit(code=0, cause="finished", step=len(done))


def _load(folder: Path) -> list[int]:
    try:
        found: list[int] = json.loads((folder / "checkpoints" / "steps.json").read_text("ascii"))
    except (OSError, ValueError):
        return []
    return found


def _save(folder: Path, done: list[int]) -> None:
    (folder / "checkpoints").mkdir(exist_ok=True)
    write_text_atomically(folder / "checkpoints" / "steps.json", json.dumps(done))


def _step(step: int, steps: int, seconds: float) -> AnyEvent:
    return StepDone(
        step=step,
        steps=steps,
        loss=1 / step,
        learning_rate=1e-4,
        grad_norm=1.0,
        tokens=1,
        trained_tokens=1,
        tokens_per_second=1 / seconds,
        seconds_left=(steps - step) * seconds,
        seconds=seconds,
    )


if __name__ == "__main__":
    main()
