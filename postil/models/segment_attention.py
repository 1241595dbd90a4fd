"""Causal attention over segments (`data/prefix_tree.py`), the plain way: the reference for whatever is quicker.

    keys                | history (positions 0 ... P-1) | own (P ... P+n-1) |
    query at P + i      | all of them                   | the first i + 1   |   less what a sliding window leaves behind

Which key a query sees depends only on how far the two are apart, so one mask, made for the longest segment and the
longest history, holds the mask of every segment as a part.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from postil.data.prefix_tree import Segment


def attend_by_segment(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    segments: tuple[Segment, ...],
    scaling: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of every segment to its history and itself, one call each.

    Args:
        query: (1, query heads, T, head size); key and value (1, key heads, T, head size), perhaps of another size.
        window: a position sees itself and this many minus one before it, within its rows.
        softcap: scores are squeezed into (-softcap, softcap) by tanh.

    Returns:
        (1, T, query heads, head size), contiguous.
    """
    lengths = [s.length for s in segments]
    # split, not slices: its backward is one concatenation instead of a sum of T-long tensors for every segment
    queries, keys, values = (torch.split(x, lengths, dim=2) for x in (query, key, value))
    outputs = []
    for segment, q, path in zip(segments, queries, _paths(segments), strict=True):
        k, v = (torch.cat([x[number] for number in path], dim=2) for x in (keys, values))
        mask = visible_keys(segments, segment, window, query.device)
        if softcap is None:
            outputs.append(_attend(q, k, v, mask, scaling, dropout))
        else:
            outputs.append(_attend_softly(q, k, v, mask, scaling, dropout, softcap))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous()


@lru_cache(maxsize=4)
def _paths(segments: tuple[Segment, ...]) -> list[list[int]]:
    """For each segment the numbers of those in its history, and its own."""
    starts = {s.start: number for number, s in enumerate(segments)}
    return [
        [number for a, b in s.history for start, number in starts.items() if a <= start < b] + [starts[s.start]]
        for s in segments
    ]


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, dropout: float) -> Tensor:
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling, enable_gqa=grouped
    )


def _attend_softly(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, dropout: float, softcap: float
) -> Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = torch.tanh(q @ k.transpose(2, 3) * scaling / softcap) * softcap
    visible = _band(q.shape[2], 0, None, q.device) if mask is None else mask
    weights = scores.masked_fill(~visible, float("-inf")).softmax(-1, dtype=torch.float32).to(q.dtype)
    return F.dropout(weights, dropout) @ v


def visible_keys(
    segments: Sequence[Segment], segment: Segment, window: int | None, device: torch.device
) -> Tensor | None:
    """Which of its history's and its own keys each query of a segment sees.

    Returns:
        (n, P + n) bool, or None where it is simply all up to its own.
    """
    if not needs_mask(segment, window):
        return None
    rows, before = mask_size(segments, window)
    return _band(rows, before, window, device)[mask_part(segment, before)]


def needs_mask(segment: Segment, window: int | None) -> bool:
    """True where a segment's attention is not simply causal over its own tokens."""
    return bool(segment.history) or (window is not None and segment.length > window)


def mask_size(segments: Sequence[Segment], window: int | None) -> tuple[int, int]:
    """Longest segment, and longest history, among those that need a mask."""
    masked = [s for s in segments if needs_mask(s, window)]
    return max((s.length for s in masked), default=0), max((s.position for s in masked), default=0)


def mask_part(segment: Segment, before: int) -> tuple[slice, slice]:
    """A segment's part of the mask that was made for histories of `before` tokens."""
    return slice(segment.length), slice(before - segment.position, before + segment.length)


@lru_cache(maxsize=4)
def _band(rows: int, before: int, window: int | None, device: torch.device) -> Tensor:
    """(rows, before + rows) bool: query i sees key j of the history or its own where i - window < j - before <= i."""
    ones = torch.ones(rows, before + rows, dtype=torch.bool, device=device)
    seen = ones.tril(before)
    return seen if window is None else seen & ones.triu(before + 1 - window)
