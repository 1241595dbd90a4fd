"""A run that was stopped or killed goes on bit for bit as if it had not been."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from postil.config import AdapterConfig
from postil.data.examples import Example
from postil.errors import Stopped
from postil.events import Report, ShouldStop, ignore, never
from postil.models.adapter import add_adapter, trainable_parameters
from postil.testing.tiny import ARCHITECTURES
from postil.training.loop import TrainResult, train_adapter
from tests.invariants.rows import load_tiny, make_kindred_rows, make_rows, settings

RANDOM_ROWS = make_rows(12)
DROPOUT = AdapterConfig(rank=4, alpha=8, dropout=0.2)


def train(
    directory: Path,
    name: str,
    adapter: AdapterConfig = DROPOUT,
    *,
    report: Report = ignore,
    should_stop: ShouldStop = never,
    resume: bool = False,
    rows: Sequence[Example] = RANDOM_ROWS,
) -> tuple[TrainResult, dict[str, torch.Tensor]]:
    """Trains a tiny model for 6 steps, its base and adapter made anew; returns the result without its clock."""
    model = add_adapter(load_tiny(directory / "base", name, vocab_size=10240), adapter, seed=1)
    result = train_adapter(
        model,
        rows,
        config=settings(),
        run_dir=directory,
        data_hash="data",
        config_hash="config",
        report=report,
        should_stop=should_stop,
        evaluate=lambda step: draw(model, step),
        evaluate_every=3,
        resume=resume,
    )
    return replace(result, seconds=0.0), {n: p.detach().clone() for n, p in trainable_parameters(model).items()}


def draw(model: nn.Module, step: int) -> float:
    """A measurement that uses up random numbers, as sampling does."""
    return float(torch.rand(())) + step


def assert_same(
    one: tuple[TrainResult, dict[str, torch.Tensor]], other: tuple[TrainResult, dict[str, torch.Tensor]]
) -> None:
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])


@pytest.mark.parametrize(
    ("name", "adapter"),
    [(name, DROPOUT) for name in ARCHITECTURES] + [("qwen2", AdapterConfig(rank=4, alpha=8, init="pissa"))],
)
def test_stopped_and_resumed_equals_uninterrupted(tmp_path: Path, name: str, adapter: AdapterConfig) -> None:
    whole = train(tmp_path / "whole", name, adapter)
    asked = iter([False, False, True])  # stops after step 3, which is due for a measurement
    with pytest.raises(Stopped) as stop:
        train(tmp_path / "parts", name, adapter, should_stop=lambda: next(asked))
    assert stop.value.exit_code == 130 and stop.value.values == {"step": 3, "steps": 6}
    assert_same(train(tmp_path / "parts", name, adapter, resume=True), whole)
    assert whole[0].steps == 6 and list(whole[0].heldout_losses) == [3, 6]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_shared_beginnings_resume_bit_for_bit(tmp_path: Path, name: str) -> None:
    plain, rows = AdapterConfig(rank=4, alpha=8), [*make_kindred_rows(), *make_kindred_rows(seed=1)[:2]]
    whole = train(tmp_path / "whole", name, plain, rows=rows)
    asked = iter([False, True])
    with pytest.raises(Stopped):
        train(tmp_path / "parts", name, plain, rows=rows, should_stop=lambda: next(asked))
    assert_same(train(tmp_path / "parts", name, plain, rows=rows, resume=True), whole)


def killed_in_the_middle_of_a_checkpoint() -> None:
    """Runs in a process of its own: dies by SIGKILL while the checkpoint of step 4 is half written."""
    directory = Path(sys.argv[1])
    sync = os.fsync

    def die(descriptor: int) -> None:
        sync(descriptor)
        if (directory / "checkpoints" / ".writing-step-4" / "MANIFEST.json").exists():
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = die
    train(directory, "qwen3")


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is a POSIX signal")
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", "qwen3")
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    killed = subprocess.run(
        [sys.executable, "-m", "tests.invariants.test_resume", str(tmp_path / "killed")],
        cwd=Path(__file__).parents[2],
        env=environment,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    left = {path.name for path in (tmp_path / "killed" / "checkpoints").iterdir()}
    assert left == {"step-2", ".writing-step-4"}
    assert_same(train(tmp_path / "killed", "qwen3", resume=True), whole)


if __name__ == "__main__":
    killed_in_the_middle_of_a_checkpoint()
