"""How well a model predicts the answers it is given."""

from collections.abc import Sequence

from torch import nn

from postil.data.examples import Example
from postil.data.packing import pack_examples
from postil.models.decoding import evaluating
from postil.models.fused_lora import fused_lora
from postil.models.loss import row_losses
from postil.models.packed import pack_tensors, packed_attention, shares_beginnings

SCORING_TOKENS = 4096
"""Tokens computed at once when nothing is learned."""


def heldout_losses(model: nn.Module, examples: Sequence[Example], max_tokens: int = SCORING_TOKENS) -> list[float]:
    """Loss of each example: mean of -log p over its trained tokens, in nats.

    Args:
        model: a causal LM, with or without an adapter; its dropout is off while it is scored.
        examples: each with at least one trained token.
        max_tokens: computed at once; only speed and memory depend on it.

    Returns:
        One number per example, in their order.
    """
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].input_ids))
    device = next(model.parameters()).device
    losses = [0.0] * len(examples)
    place = iter(order)
    longest = max((len(e.input_ids) for e in examples), default=0)
    with evaluating(model), packed_attention(model), fused_lora(model):
        shares = shares_beginnings(model, longest)
        for pack in pack_examples([examples[i] for i in order], max_tokens, shares=shares):
            tensors = pack_tensors(pack).to(device)
            for total, count in zip(row_losses(model, tensors), tensors.trained_per_row, strict=True):
                losses[next(place)] = total / count
    return losses
