"""How fast a base trains, measures and answers on this device, from a few real steps."""

import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, pstdev

import torch
from torch import nn

from postil.advice.rates import Range, Rates
from postil.config import RunConfig
from postil.data.examples import Example
from postil.models.adapter import has_dropout
from postil.models.devices import peak_memory_bytes
from postil.models.fused_lora import fused_lora
from postil.models.generation import Sampling, generate_answers
from postil.models.loading import Base
from postil.models.packed import packed_attention, shares_beginnings
from postil.models.scoring import heldout_losses
from postil.recipes.prepare import TokenizedFile
from postil.training.batches import StepBatch, make_batches
from postil.training.state import TrainingState, forward_backward, make_state, optim_step, save_state

MOST_STEPS = 8
READ_ROWS = 32
ANSWERED_TOKENS = 16
FEW_ANSWERS, MANY_ANSWERS = 3, 16
"""Answers at once: of a measurement's samples, and of the comparison at the end."""


def measure_rates(model: nn.Module, base: Base, made: TokenizedFile, config: RunConfig, seconds: float) -> Rates:
    """Takes a few steps with a new adapter, then measures and answers; the adapter is as good as untouched.

    Args:
        config: resolved.
        seconds: for the steps.

    Returns:
        Rates without what happened before: `startup_seconds` and `launch_seconds` are 0.
    """
    state = make_state(model, config.training)
    with packed_attention(model), fused_lora(model):
        first, paces = _step_paces(state, made.train.examples, config, seconds)
    usual = fmean(paces)
    spread = pstdev(paces) / usual if len(paces) > 1 else 0.0
    # the mean of a few steps is known to within spread / sqrt(their number)
    margin = min(0.3, spread / len(paces) ** 0.5)
    rate = Range(1 / (usual * (1 + margin)), 1 / (usual * (1 - margin)))
    reading = _reading_rate(model, made.heldout.examples or made.train.examples)
    few, many = (_decode_seconds(model, base, made, number) for number in (FEW_ANSWERS, MANY_ANSWERS))
    return Rates(
        hardware=_hardware(base),
        launch_seconds=0.0,
        startup_seconds=0.0,
        step_tokens_per_second=rate,
        first_step_seconds=first,
        reading_tokens_per_second=Range(reading * 0.9, reading * 1.1),
        decode_seconds=Range(min(few, many), max(few, many)),
        save_seconds=_save_seconds(state),
        peak_memory_bytes=peak_memory_bytes(base.device),
        spread=spread / len(paces) ** 0.5,
    )


def _step_paces(
    state: TrainingState, examples: Sequence[Example], config: RunConfig, seconds: float
) -> tuple[float, list[float]]:
    """What the first step took longer than it should, and the seconds a token of the steps after it."""
    rows = (config.training.batch_rows or 1) * config.training.accumulation
    pack = config.training.max_tokens_per_pack or 1
    longest = sorted(examples, key=lambda e: -len(e.input_ids))[:rows]
    shares = not has_dropout(state.model) and shares_beginnings(state.model, len(longest[0].input_ids))
    sizes = {"batch_rows": rows, "max_tokens_per_pack": pack}
    warm_up = next(make_batches(longest, **sizes, seed=0, steps=1, shares=shares))
    began = time.perf_counter()
    first_pace = _timed_step(state, warm_up)
    paces: list[float] = []
    for batch in make_batches(examples, **sizes, seed=0, steps=MOST_STEPS + 1, shares=shares):
        paces.append(_timed_step(state, batch))
        if len(paces) > 1 and time.perf_counter() - began > seconds:
            break
    paces = paces[1:]  # the first of usual size warms up as well
    return max(0.0, (first_pace - fmean(paces)) * warm_up.num_tokens), paces


def _timed_step(state: TrainingState, batch: StepBatch) -> float:
    """Seconds a token of one whole step; at the least rate, so that nothing can diverge."""
    started = time.perf_counter()
    forward_backward(state, batch)
    optim_step(state, 1e-9)
    _wait_for_device()
    return (time.perf_counter() - started) / batch.num_tokens


def _reading_rate(model: nn.Module, examples: Sequence[Example]) -> float:
    """Tokens a second of rows that are only measured."""
    some = examples[:READ_ROWS]
    heldout_losses(model, some[:1])
    started = time.perf_counter()
    heldout_losses(model, some)
    return sum(len(e.input_ids) for e in some) / (time.perf_counter() - started)


def _decode_seconds(model: nn.Module, base: Base, made: TokenizedFile, number: int) -> float:
    """Seconds of one more token for `number` answers at once, reading the prompts included."""
    asked = (made.heldout.conversations or made.train.conversations)[:number]
    started = time.perf_counter()
    answers = generate_answers(
        model,
        base.chat_format,
        [c.prompt for c in asked],
        Sampling(max_new_tokens=ANSWERED_TOKENS),
        tools=[c.tools for c in asked],
    )
    return (time.perf_counter() - started) / max(1, *(a.num_tokens for a in answers))


def _save_seconds(state: TrainingState) -> float:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        save_state(state, Path(folder))
        return time.perf_counter() - started


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _hardware(base: Base) -> str:
    if base.device == "cuda":
        return torch.cuda.get_device_name()
    return f"{platform.machine()} {base.device}, {torch.get_num_threads()} threads"
