"""Kills training again and again, where it hurts: `python -m tools.crash_training --kills 500`.

A run of real steps on a tiny random model is killed by SIGKILL in the middle of a step, while a checkpoint is written,
or while it is being taken up again, and started anew, until it is through. Then its weights and its losses must be, bit
for bit, those of a run that nobody disturbed, and no checkpoint may ever have been found half written under its name.

Each attempt is a fork of this process, which has imported torch, and neither computes nor starts a thread itself.
"""

import argparse
import hashlib
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from postil.config import AdapterConfig, TrainingConfig
from postil.data.examples import IGNORED, Example
from postil.events import AnyEvent, StepDone, never
from postil.models.adapter import add_adapter
from postil.models.tokenizer import quiet_transformers
from postil.problems import Place
from postil.testing.tiny import make_tiny_model
from postil.training.checkpoint import FOLDER, find_checkpoint
from postil.training.loop import train_adapter

STEPS, SAVE_EVERY, EVALUATE_EVERY = 40, 2, 5
AIMS = ("step", "write", "resume")
DROPOUTS = (0.0, 0.2)
"""Of the runs in turn: without, rows share their beginnings; with it, what is dropped must come back too."""
LONGEST_STEP, LONGEST_WRITE = 0.02, 0.02  # seconds within which a blow falls
PATIENCE = 60.0


@dataclass
class Outcome:
    """What happened; `problems` is empty when all is well."""

    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


def make_rows() -> list[Example]:
    """Twelve rows, nine of which begin with the same twenty tokens."""
    source = random.Random(5)
    prompt = [source.randrange(3, 1000) for _ in range(20)]
    rows = []
    for number in range(12):
        start = prompt if number % 4 else []
        rest = [source.randrange(3, 1000) for _ in range(source.randrange(6, 20))]
        labels = (*[IGNORED] * len(start), *rest)
        rows.append(Example(Place("rows", number + 1), (*start, *rest), labels))
    return rows


def train(base: Path, run_dir: Path, dropout: float, wire: int) -> None:
    """One attempt: goes on from whatever lies in the folder; writes a byte for each step that is done."""
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(1)

    def tell(event: AnyEvent) -> None:
        if isinstance(event, StepDone):
            os.write(wire, b"s")

    with quiet_transformers():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).requires_grad_(False).eval()
    adapted = add_adapter(model, AdapterConfig(rank=4, alpha=8, dropout=dropout), seed=1)
    train_adapter(
        adapted,
        make_rows(),
        config=TrainingConfig(
            max_steps=STEPS,
            batch_rows=4,
            learning_rate=1e-2,
            warmup_steps=2,
            max_tokens_per_pack=200,
            log_every=1,
            save_every=SAVE_EVERY,
        ),
        run_dir=run_dir,
        data_hash="data",
        config_hash="config",
        report=tell,
        should_stop=never,
        evaluate=lambda step: float(torch.rand(())) + step,  # as a measurement that samples
        evaluate_every=EVALUATE_EVERY,
        resume=True,
    )


class Attempt:
    """A fork that works, and what it has told so far.

    Args:
        work: gets the end of a pipe, and writes a byte there for each step that is done.
    """

    def __init__(self, work: Callable[[int], None]) -> None:
        self._wire, theirs = os.pipe()
        self.started = time.perf_counter()
        self.steps = 0
        self.code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                work(theirs)
                code = 0
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(theirs)

    def listen(self, seconds: float) -> bool:
        """Waits for news; False once the attempt has ended."""
        if select.select([self._wire], [], [], seconds)[0]:
            told = os.read(self._wire, 64)
            self.steps += len(told)
            return bool(told)
        return True

    def end(self, *, kill: bool) -> bool:
        """Waits for the end.

        Returns:
            True where the blow hit something that was alive.
        """
        deadline = time.perf_counter() + PATIENCE
        while not kill and self.listen(1.0):
            kill = time.perf_counter() > deadline  # it hangs
        if kill:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self._wire)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code == -signal.SIGKILL


def strike(attempt: Attempt, checkpoints: Path, aim: str, source: random.Random, resume_seconds: float) -> str:
    """Kills the attempt where it is aimed at.

    Returns:
        What was hit: "step", "write" or "resume"; "" where the attempt was through before.
    """
    if aim == "resume":
        time.sleep(source.uniform(0, resume_seconds))
    else:
        wanted, deadline = source.randint(1, 2 * SAVE_EVERY), time.perf_counter() + PATIENCE
        while attempt.steps < wanted and time.perf_counter() < deadline:
            if not attempt.listen(0.5):
                break
        if aim == "write":
            while attempt.listen(0.0) and not is_writing(checkpoints) and time.perf_counter() < deadline:
                pass
        time.sleep(source.uniform(0, LONGEST_WRITE if aim == "write" else LONGEST_STEP))
    if not attempt.end(kill=True):
        return ""
    if is_writing(checkpoints):
        return "write"
    return "step" if attempt.steps else "resume"


def is_writing(checkpoints: Path) -> bool:
    """True while a checkpoint is made, exchanged for another or deleted."""
    return checkpoints.is_dir() and any(name.startswith(".") for name in os.listdir(checkpoints))


def fingerprint(run_dir: Path) -> str:
    """Of the last checkpoint's weights, moments and losses; time is left out."""
    last = run_dir / FOLDER / f"step-{STEPS}"
    digest = hashlib.sha256()
    for name in ("adapter.safetensors", "optimizer.safetensors"):
        digest.update((last / name).read_bytes())
    state = (last / "state.json").read_text("utf-8")
    digest.update(state[: state.index('"seconds"')].encode())
    return digest.hexdigest()


def crash(kills: int, seed: int, folder: Path, *, say: bool = False) -> Outcome:
    """Kills that many attempts.

    Args:
        seed: of aims and moments.
        folder: empty.
    """
    began, source, found = time.perf_counter(), random.Random(seed), Outcome()
    base = folder / "base"
    Attempt(lambda _: make_tiny_model(base, "qwen3")).end(kill=False)
    expected, resume_seconds = {}, 0.0
    for dropout in DROPOUTS:
        run_dir = folder / f"undisturbed-{dropout}"
        run_dir.mkdir()
        attempt = Attempt(partial(train, base, run_dir, dropout))
        while attempt.steps == 0 and attempt.listen(PATIENCE):
            pass
        resume_seconds = time.perf_counter() - attempt.started
        attempt.end(kill=False)
        expected[dropout] = fingerprint(run_dir)
    while found.kills.total() < kills and not found.problems:
        dropout = DROPOUTS[found.runs % len(DROPOUTS)]
        run_dir = folder / f"run-{found.runs}"
        run_dir.mkdir()
        _carry_through(base, run_dir, dropout, kills, source, resume_seconds, found)
        found.runs += 1
        if not found.problems and fingerprint(run_dir) != expected[dropout]:
            found.problems.append(f"run {found.runs}, dropout {dropout}: other weights or losses than undisturbed")
        if say:
            print(f"{found.runs} runs, {found.kills.total()} kills: {dict(found.kills)}", flush=True)
    found.seconds = time.perf_counter() - began
    return found


def _carry_through(
    base: Path, run_dir: Path, dropout: float, kills: int, source: random.Random, resume_seconds: float, found: Outcome
) -> None:
    """One run to its end, killed as often as kills are left."""
    damaged: list[AnyEvent] = []
    while True:
        attempt = Attempt(partial(train, base, run_dir, dropout))
        if found.kills.total() >= kills:
            attempt.end(kill=False)
        elif hit := strike(attempt, run_dir / FOLDER, source.choice(AIMS), source, resume_seconds):
            found.kills[hit] += 1
            find_checkpoint(run_dir, damaged.append)
            if damaged:
                found.problems.append(f"{run_dir.name}: {damaged[0]}")
                return
            continue
        if attempt.code:
            found.problems.append(f"{run_dir.name}: an attempt failed with {attempt.code}")
        return


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        found = crash(given.kills, given.seed, Path(folder), say=True)
    print(f"{found.kills.total()} kills ({dict(found.kills)}) in {found.runs} runs, {found.seconds:.0f} s")
    print("\n".join(found.problems) or "Every run ended with the weights and losses of an undisturbed one.")
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
