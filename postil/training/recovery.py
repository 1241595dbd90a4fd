"""What a step does when memory runs out: it computes less at once, and goes on.

    more tokens at once than one row needs      half as many
    already a row at a time                     layers keep their input only and are computed again on the way back
    that too                                    the error goes on its way

The rows of a step stay the same, so do its loss and its gradient; only the order of sums is another one, and with
dropout what is dropped. What was learned of the room stays in force until this process ends.
"""

import gc
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import nn

from postil.events import Report, Warned
from postil.language import say
from postil.models.adapter import adapter_rank
from postil.models.devices import free_cuda_bytes
from postil.models.fused_lora import fused_lora
from postil.models.memory import available_memory_bytes, bytes_to_train, shape_from_config
from postil.models.packed import causal_model
from postil.models.quantized import quantization_of
from postil.models.recompute import recomputed_layers
from postil.operating_system import is_out_of_memory
from postil.training.batches import StepBatch
from postil.training.state import StepLoss, TrainingState, forward_backward


@dataclass(slots=True)
class Room:
    """How much is computed at once.

    Args:
        max_tokens: of a pack; a longer row is a pack of its own.
        recomputes: layers are computed again on the way back.
    """

    max_tokens: int
    recomputes: bool = False


def first_room(model: nn.Module, max_tokens: int, longest_row: int) -> Room:
    """Room at the start of a run: layers are recomputed where not even the longest row fits otherwise.

    Args:
        max_tokens: of a pack.
        longest_row: tokens of the longest row.
    """
    inner, rank = causal_model(model), adapter_rank(model)
    shape = shape_from_config(inner.config.to_dict())
    if shape is None or rank is None:  # nothing can be foretold
        return Room(max_tokens)
    weight = next(inner.parameters())
    with fused_lora(model) as num_fused:
        is_fused = num_fused > 0
    kind = quantization_of(inner)
    needed = bytes_to_train(shape, rank, longest_row, weight.element_size(), is_fused=is_fused, quantization=kind)
    free = free_cuda_bytes() if weight.is_cuda else available_memory_bytes()
    loaded = sum(p.numel() * p.element_size() for p in inner.parameters())
    return Room(max_tokens, recomputes=needed > free + loaded)


def forward_backward_within(
    state: TrainingState, batch: StepBatch, room: Room, report: Report, seed: int = 0
) -> StepLoss:
    """`forward_backward` in as many packs as memory needs; `room` shrinks where it has to, and that is reported.

    Args:
        seed: of what is dropped.

    Raises:
        RuntimeError, MemoryError: even the least does not fit.
    """
    while True:
        packed = batch.within(room.max_tokens)
        try:
            torch.manual_seed(seed)
            # anew for each attempt: groups of layers hold on to results that nobody came for
            with fused_lora(state.model), recomputed_layers(state.model) if room.recomputes else nullcontext():
                return forward_backward(state, packed)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or not _shrink(room, packed):
                raise
        # not before the exception is gone, which holds on to the tensors of the attempt
        _free(state)
        _tell(room, packed, report)


def _shrink(room: Room, batch: StepBatch) -> bool:
    """Makes room; False where nothing is left to do."""
    largest = max(batch.packs, key=lambda pack: pack.num_laid_tokens)
    if len(largest.row_lengths) > 1:
        room.max_tokens = max(1, min(room.max_tokens, largest.num_laid_tokens) // 2)
    elif not room.recomputes:
        room.recomputes = True
    else:
        return False
    return True


def _free(state: TrainingState) -> None:
    """Forgets the gradients of the packs that were done, and gives memory back."""
    state.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _tell(room: Room, batch: StepBatch, report: Report) -> None:
    key = "training.recomputes" if room.recomputes else "training.smaller_packs"
    values = {"step": batch.step, "tokens": room.max_tokens}
    report(Warned(key=key, message=say(key, **values), values=values))
