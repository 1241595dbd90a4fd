"""The attention function behind packed rows: causal within each row, registered with transformers under one name.

No mask function is registered under that name, so transformers makes no mask at all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AttentionInterface

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
    packed_rows: tuple[int, ...] | None = None,
    **other: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each row, called by the model's layers.

    Args:
        query: (1, query heads, T, head size); key and value (1, key heads, T, head size).
        attention_mask: always None under our name.
        sliding_window: a position sees itself and this many minus one before it, within its row.
        softcap: scores are squeezed into (-softcap, softcap) by tanh.
        packed_rows: tokens of each row.

    Returns:
        (1, T, query heads, head size), and None in place of the weights.
    """
    asked = {name for name, argument in other.items() if argument is not None} - _HARMLESS
    if packed_rows is None or attention_mask is not None or asked or not getattr(module, "is_causal", True):
        raise CannotPackError(f"{type(module).__name__}: rows {packed_rows}, unknown {sorted(asked)}")
    # split, not slices: its backward is one concatenation instead of a sum of T-long tensors for every row
    rows = zip(*(torch.split(x, list(packed_rows), dim=2) for x in (query, key, value)), strict=True)
    outputs = [_attend(q, k, v, dropout, scaling, sliding_window, softcap) for q, k, v in rows]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _attend(
    q: Tensor, k: Tensor, v: Tensor, dropout: float, scaling: float | None, window: int | None, softcap: float | None
) -> Tensor:
    length, grouped = q.shape[2], q.shape[1] != k.shape[1]
    banded = window is not None and length > window
    mask = _band(length, window, q.device) if banded and window is not None else None
    if softcap is None:
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling, enable_gqa=grouped
        )
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scale = q.shape[-1] ** -0.5 if scaling is None else scaling
    scores = torch.tanh(q @ k.transpose(2, 3) * scale / softcap) * softcap
    visible = _band(length, window or length, q.device)
    weights = scores.masked_fill(~visible, float("-inf")).softmax(-1, dtype=torch.float32).to(q.dtype)
    return F.dropout(weights, dropout) @ v


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """(length, length) bool: True where position i (row) may see position j (column): i - window < j <= i."""
    ones = torch.ones(length, length, dtype=torch.bool, device=device)
    return ones.tril() & ones.triu(1 - window)


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
