"""AdamW over the adapter's fp32 parameters, and the learning rate of each step."""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from postil.errors import DataError

Schedule = Literal["linear", "cosine", "constant"]


def make_optimizer(
    parameters: Mapping[str, nn.Parameter], *, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """AdamW in one fused pass over all parameters; the rate is set at each step.

    Args:
        parameters: by name, in the order in which their state is saved.
    """
    return torch.optim.AdamW(list(parameters.values()), lr=0.0, betas=betas, weight_decay=weight_decay, fused=True)


def learning_rate_at(step: int, steps: int, peak: float, warmup_steps: int, schedule: Schedule) -> float:
    """The rate of a step.

    It rises in equal parts to `peak` at step `warmup_steps`, starts down from `peak` at the step after, and would reach
    0 one step after the last ("constant" stays at the peak).

    Args:
        step: 1 ... steps.
        warmup_steps: 0 starts at the peak.
    """
    if step <= warmup_steps:
        return peak * step / warmup_steps
    done = (step - 1 - warmup_steps) / max(1, steps - warmup_steps)
    if schedule == "linear":
        return peak * (1 - done)
    if schedule == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * done))
    return peak


def clip_gradients(parameters: Mapping[str, nn.Parameter], max_norm: float) -> float:
    """Shortens the gradient of all parameters together to `max_norm`.

    Returns:
        Its length before.
    """
    return float(torch.nn.utils.clip_grad_norm_(parameters.values(), max_norm))


def optimizer_state(optimizer: torch.optim.AdamW, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """Moments and step counts as "<kind>:<parameter>"; empty before the first step."""
    return {
        f"{kind}:{name}": tensor
        for name, parameter in parameters.items()
        for kind, tensor in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_state(
    optimizer: torch.optim.AdamW, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Puts back what `optimizer_state` gave.

    Raises:
        DataError: moments of other parameters.
    """
    shapes = {f"exp_avg:{name}": p.shape for name, p in parameters.items()}
    found = {n: t.shape for n, t in tensors.items() if n.startswith("exp_avg:")}
    if not found.items() <= shapes.items():  # a parameter that has never had a gradient has none
        raise DataError("adapter.other_shape")
    optimizer.state.clear()
    for key, tensor in tensors.items():
        kind, _, name = key.partition(":")
        optimizer.state[parameters[name]][kind] = tensor.to(parameters[name].device)
