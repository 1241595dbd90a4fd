"""The attention function behind packed rows, registered with transformers under one name.

No mask function is registered under that name, so transformers makes no mask at all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface

from postil.data.prefix_tree import Segment
from postil.models.attention_kernels import attend_quickly
from postil.models.segment_attention import attend_by_segment

PACKED = "postil_packed"
# Arguments that models hand to the attention function and that do not change what a training pass computes.
_HARMLESS = {"position_ids", "position_embeddings", "cache_position", "use_cache", "past_key_values", "return_dict"}
_HARMLESS |= {"output_attentions", "output_hidden_states", "output_router_logits", "num_items_in_batch", "is_causal"}


class CannotPackError(Exception):
    """The attention function was asked for something it does not compute."""


def packed_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    packed_segments: tuple[Segment, ...] | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row, called by the model's layers.

    Args:
        query: (1, query heads, T, head size); key and value (1, key heads, T, head size).
        attention_mask: always None under our name.
        sliding_window: a position sees itself and this many minus one before it, within its row.
        softcap: scores are squeezed into (-softcap, softcap) by tanh.
        packed_segments: what the rows are made of.

    Returns:
        (1, T, query heads, head size), and None in place of the weights.
    """
    asked = {name for name, argument in other.items() if argument is not None} - _HARMLESS
    if packed_segments is None or attention_mask is not None or asked or not getattr(module, "is_causal", True):
        raise CannotPackError(f"{type(module).__name__}: segments {packed_segments}, unknown {sorted(asked)}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if softcap is None and dropout == 0.0:
        output = attend_quickly(query, key, value, packed_segments, scale, sliding_window)
        if output is not None:
            return output, None
    output = attend_by_segment(
        query, key, value, packed_segments, scale, window=sliding_window, softcap=softcap, dropout=dropout
    )
    return output, None


AttentionInterface.register(PACKED, packed_attention_forward)


@contextmanager
def recording_windows(seen: list[int | None]) -> Iterator[None]:
    """Notes the window of every attention call: a model that keeps its window in the mask only would lose it."""

    def record(*arguments: Any, **settings: Any) -> tuple[Tensor, None]:
        seen.append(settings.get("sliding_window"))
        return packed_attention_forward(*arguments, **settings)

    AttentionInterface.register(PACKED, record)
    try:
        yield
    finally:
        AttentionInterface.register(PACKED, packed_attention_forward)
