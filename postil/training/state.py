"""The four verbs of training, on one small state. The loop, and whatever else trains, is written on them.

    forward_backward(state, batch)   gradients of one step's loss
    optim_step(state, rate)          clip, AdamW
    save_state(state, directory)     everything that decides the rest of the run
    load_state(state, directory)     and back, bit for bit

The loss of a step is the sum over its trained tokens divided by their number, over all packs of the step: splitting a
step into packs changes nothing.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from postil.config import TrainingConfig
from postil.models.adapter import adapter_state, load_adapter_state, trainable_parameters
from postil.models.loss import summed_loss
from postil.training.batches import StepBatch
from postil.training.optimizer import clip_gradients, load_optimizer_state, make_optimizer, optimizer_state


@dataclass(slots=True)
class TrainingState:
    """What changes while a run trains.

    Args:
        parameters: the trained ones by name, fp32.
        step: optimizer steps done.
        losses: mean loss of every step done, in nats per trained token.
        heldout_losses: by step.
        tokens, trained_tokens, seconds: of all steps done, over every attempt.
    """

    model: nn.Module
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.AdamW
    max_grad_norm: float
    step: int = 0
    losses: list[float] = field(default_factory=list)
    heldout_losses: dict[int, float] = field(default_factory=dict)
    tokens: int = 0
    trained_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class StepLoss:
    """Mean loss of a step in nats per trained token, and the tokens behind it."""

    loss: float
    num_tokens: int
    num_trained_tokens: int


def make_state(model: nn.Module, config: TrainingConfig) -> TrainingState:
    """A run before its first step; the model is put into eval mode, since no dropout but the adapter's is wanted."""
    model.eval()
    parameters = trainable_parameters(model)
    optimizer = make_optimizer(parameters, betas=config.betas, weight_decay=config.weight_decay)
    return TrainingState(model, parameters, optimizer, config.max_grad_norm)


def forward_backward(state: TrainingState, batch: StepBatch) -> StepLoss:
    """Makes the gradient of the step's mean loss, less what other workers' rows give; none may be there before.

    Call it within `packed_attention(state.model)`.
    """
    device = next(iter(state.parameters.values())).device
    trained = batch.num_trained_tokens
    total = torch.zeros((), dtype=torch.float32, device=device)
    for pack in batch.packs:
        if pack.num_trained_tokens:
            loss = summed_loss(state.model, pack.to(device))
            loss.backward()
            total += loss.detach()
    # Divided here and not in the loss: small gradients stay clear of fp16's lower end.
    gradients = [p.grad for p in state.parameters.values() if p.grad is not None]
    if gradients:
        torch._foreach_div_(gradients, float(trained))
    return StepLoss(float(total) / max(1, trained), batch.num_tokens, trained)


def optim_step(state: TrainingState, learning_rate: float) -> float:
    """One step of AdamW; parameters stay as they are when the gradient is not finite.

    Returns:
        Length of the gradient before clipping.
    """
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate
    norm = clip_gradients(state.parameters, state.max_grad_norm)
    if math.isfinite(norm):
        state.optimizer.step()
        state.step += 1
    state.optimizer.zero_grad(set_to_none=True)
    return norm


def save_state(state: TrainingState, directory: Path) -> None:
    """Writes adapter.safetensors, optimizer.safetensors and state.json into an existing folder.

    Raises:
        OSError: the folder cannot be written.
    """
    tensors = {
        "adapter": adapter_state(state.model),
        "optimizer": optimizer_state(state.optimizer, state.parameters),
    }
    for name, named in tensors.items():
        (directory / f"{name}.safetensors").write_bytes(save_tensors({n: t.cpu() for n, t in named.items()}))
    cursor = {
        "step": state.step,
        "losses": state.losses,
        "heldout_losses": list(state.heldout_losses.items()),
        "tokens": state.tokens,
        "trained_tokens": state.trained_tokens,
        "seconds": state.seconds,
    }
    (directory / "state.json").write_text(json.dumps(cursor), encoding="utf-8")


def load_state(state: TrainingState, directory: Path) -> None:
    """Puts back what `save_state` wrote.

    Raises:
        DataError: it belongs to an adapter of another shape.
    """
    cursor: dict[str, Any] = json.loads((directory / "state.json").read_text("utf-8"))
    load_adapter_state(state.model, load_tensors((directory / "adapter.safetensors").read_bytes()))
    moments = load_tensors((directory / "optimizer.safetensors").read_bytes())
    load_optimizer_state(state.optimizer, state.parameters, moments)
    for name in ("step", "losses", "tokens", "trained_tokens", "seconds"):
        setattr(state, name, cursor[name])
    state.heldout_losses = dict(cursor["heldout_losses"])
