"""What every arm does alike: keep freed memory, train from the same files, note each step, write down the figures.

An arm is a process of its own, in its own environment, so this imports nothing of Postil but one file by its path.
"""

import argparse
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_ALLOCATOR = Path(__file__).parents[2] / "postil" / "training" / "allocator.py"
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "trl", "llamafactory")


@dataclass(frozen=True)
class Task:
    """What an arm trains.

    Args:
        rows_file, model_dir, adapter_dir: see workload.py.
        out_dir: whatever an arm writes beside its figures.
        padded: tokens to which the plain recipe pads.
        dtype: "fp32" or "bf16", of the base.
    """

    arm: str
    rows_file: str
    model_dir: str
    adapter_dir: str
    out_dir: str
    num_steps: int
    batch_rows: int
    padded: int
    rank: int
    dtype: str
    device: str
    learning_rate: float
    seed: int


@dataclass
class Figures:
    """What came of it, an entry a step.

    Args:
        losses: mean over the step's trained tokens, in nats.
        norms: of the gradient before it is clipped, where the arm tells.
        tokens: that went through the model, padding included.
    """

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    peak_bytes: int = 0
    remarks: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)


def keep_freed_memory() -> bool:
    """The allocator's settings that Postil's own runs use."""
    spec = importlib.util.spec_from_file_location("allocator", _ALLOCATOR)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return bool(module.keep_freed_memory())


def run_arm(train: Callable[[Task, Figures], None]) -> int:
    """Called by the module of an arm: reads the task, trains, writes the figures beside it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", type=Path)
    parser.add_argument("figures", type=Path)
    arguments = parser.parse_args()
    task, figures = Task(**json.loads(arguments.task.read_text("utf-8"))), Figures()
    keep_freed_memory()
    train(task, figures)
    figures.peak_bytes = peak_bytes(task.device)
    figures.versions = _versions()
    arguments.figures.write_text(json.dumps(asdict(figures)), "utf-8")
    sys.stdout.flush()
    os._exit(0)  # what others still want to do at exit is of no interest


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def peak_bytes(device: str) -> int:
    """The most that this process has held on the device."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_reserved())
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def record_trainer(figures: Figures) -> Any:
    """A callback of transformers' Trainer that times the steps; losses are taken where they are computed, unrounded.

    The clock runs from the first micro-batch of a step to the end of its update: fetching rows is outside.
    """
    import torch
    from transformers import Trainer, TrainerCallback

    original = Trainer.training_step

    def training_step(self: Any, model: Any, inputs: Any, *others: Any, **named: Any) -> Any:
        figures.tokens[-1] += int(inputs["input_ids"].numel())
        loss = original(self, model, inputs, *others, **named)
        figures.losses[-1] += float(loss)
        return loss

    Trainer.training_step = training_step

    def now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            figures.losses.append(0.0)
            figures.tokens.append(0)
            self.started = now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            figures.seconds.append(now() - self.started)
            print(f"step {len(figures.seconds)}: {figures.losses[-1]:.6f}, {figures.seconds[-1]:.2f} s", flush=True)

        def on_log(self, *_: Any, logs: dict[str, Any] | None = None, **__: Any) -> None:
            if logs and "grad_norm" in logs:
                figures.norms.append(float(logs["grad_norm"]))

    return Clock()


def same_optimizer(task: Task) -> dict[str, Any]:
    """Settings of transformers' TrainingArguments that all arms share; all else is at each program's default."""
    return {
        "output_dir": task.out_dir,
        "max_steps": task.num_steps,
        "learning_rate": task.learning_rate,
        "lr_scheduler_type": "constant",
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": task.device == "cpu",
        "seed": task.seed,
    }
