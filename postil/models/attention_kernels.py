"""Quicker ways to what `segment_attention.py` computes, each compared with it once before it is trusted.

    CPU     torch's flash kernel, one call a segment, straight to the operator: keys are not repeated for each query
            head, and only queries, keys, values, results and normalizers stay for the backward pass. Base in bf16:
            computed in fp32, which is quicker on CPUs as well as more exact.
    CUDA    one flash call over all segments (`torch.nn.attention.varlen`), keys of the histories gathered before it

Where neither is there, or where it is wrong, the reference does the work, and `slow_reason` says why.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from postil.data.prefix_tree import Segment
from postil.models.segment_attention import attend_by_segment, mask_part, mask_size, needs_mask

_PROBE = (Segment(0, 9), Segment(9, 7, 9, ((0, 9),)), Segment(16, 5, 9, ((0, 9),)), Segment(21, 6))
_PROBE_WINDOWS = (None, 4)
_HALF = (torch.bfloat16, torch.float16)


def attend_quickly(
    query: Tensor, key: Tensor, value: Tensor, segments: tuple[Segment, ...], scaling: float, window: int | None
) -> Tensor | None:
    """As `attend_by_segment`, without softcap and dropout; None where only that will do."""
    heads = (query.shape[1], key.shape[1], query.shape[3])
    if value.shape[3] != heads[2] or slow_reason(query.device, query.dtype, *heads) is not None:
        return None
    return _quick(query, key, value, segments, scaling, window)


def _quick(
    query: Tensor, key: Tensor, value: Tensor, segments: tuple[Segment, ...], scaling: float, window: int | None
) -> Tensor:
    if query.device.type == "cpu":
        return _FlashOnCpu.apply(query, key, value, segments, scaling, window)  # type: ignore[no-any-return, no-untyped-call]
    return _varlen(query, key, value, segments, scaling, window)


@lru_cache(maxsize=16)
def slow_reason(device: torch.device, dtype: torch.dtype, heads: int, key_heads: int, head_size: int) -> str | None:
    """Why the reference has to do; None where the quick way was tried and gives its results and gradients."""
    if device.type not in ("cpu", "cuda"):
        return f"no kernel for {device.type}"
    if device.type == "cuda" and dtype not in _HALF:
        return f"no kernel for {dtype}"
    try:
        with torch.enable_grad():
            wrong = [w for w in _PROBE_WINDOWS if not _agrees(device, dtype, (heads, key_heads, head_size), w)]
    except (ImportError, AttributeError, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
        return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"
    return f"other results, windows {wrong}" if wrong else None


def _agrees(device: torch.device, dtype: torch.dtype, heads: tuple[int, int, int], window: int | None) -> bool:
    """Compares results and gradients on random numbers with the reference in fp32."""
    generator = torch.Generator().manual_seed(0)
    num_tokens = _PROBE[-1].end
    shapes = [(1, num_tokens, n, heads[2]) for n in (heads[0], heads[1], heads[1], heads[0])]
    *inputs, slope = (torch.randn(s, generator=generator).to(device, dtype) for s in shapes)
    results = []
    for quick in (True, False):
        leaves = [(x if quick else x.float()).transpose(1, 2).detach().requires_grad_() for x in inputs]
        attend: Any = _quick if quick else _reference
        output = attend(*leaves, _PROBE, heads[2] ** -0.5, window)
        grads = torch.autograd.grad(output, leaves, slope.to(output.dtype))
        results.append([output.detach().float(), *(g.float() for g in grads)])
    margin = 3e-2 if dtype in _HALF else 1e-4
    return all(bool((a - b).abs().max() <= margin * b.abs().max()) for a, b in zip(*results, strict=True))


def _reference(
    query: Tensor, key: Tensor, value: Tensor, segments: tuple[Segment, ...], scaling: float, window: int | None
) -> Tensor:
    return attend_by_segment(query, key, value, segments, scaling, window=window)


class _FlashOnCpu(torch.autograd.Function):
    """One flash call a segment; a key's gradient is summed over the segments that see it."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        segments: tuple[Segment, ...],
        scaling: float,
        window: int | None,
    ) -> Tensor:
        attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        q, k, v = (x.float() if x.dtype in _HALF else x for x in (query, key, value))
        output = query.new_empty(1, query.shape[2], query.shape[1], value.shape[3])
        normalizers = []
        for s in segments:
            mask = _float_mask(segments, s, window, q.dtype)
            part, normalizer = attend(
                q[:, :, s.start : s.end],
                _with_history(k, s),
                _with_history(v, s),
                0.0,
                mask is None,
                attn_mask=mask,
                scale=scaling,
            )
            output[:, s.start : s.end] = part.transpose(1, 2)
            normalizers.append(normalizer)
        ctx.save_for_backward(query, key, value, output, *normalizers)
        ctx.settings = (segments, scaling, window)
        return output

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        attend_back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        segments, scaling, window = ctx.settings
        saved = ctx.saved_tensors  # once: layers that are computed again allow no second look
        *inputs, output = saved[:4]
        q, k, v, out, slope = (x.float() if x.dtype in _HALF else x for x in (*inputs, output, upstream[0]))
        out, slope = out.transpose(1, 2), slope.transpose(1, 2)
        # laid out like the projections' results, so that no copy is needed on the way back
        dq = q.new_empty(1, q.shape[2], q.shape[1], q.shape[3]).transpose(1, 2)
        dk, dv = (x.new_zeros(1, x.shape[2], x.shape[1], x.shape[3]).transpose(1, 2) for x in (k, v))
        for s, normalizer in zip(segments, saved[4:], strict=True):
            mask = _float_mask(segments, s, window, q.dtype)
            own = slice(s.start, s.end)
            parts = attend_back(
                slope[:, :, own],
                q[:, :, own],
                _with_history(k, s),
                _with_history(v, s),
                out[:, :, own],
                normalizer,
                0.0,
                mask is None,
                attn_mask=mask,
                scale=scaling,
            )
            dq[:, :, own] = parts[0]
            _add_back(dk, parts[1], s)
            _add_back(dv, parts[2], s)
        gradients = (g.to(x.dtype) for g, x in zip((dq, dk, dv), inputs, strict=True))
        return *gradients, None, None, None


def _with_history(x: Tensor, segment: Segment) -> Tensor:
    """(1, heads, P + n, head size): what a segment's history and its own tokens have."""
    spans = _spans(segment)
    if len(spans) == 1:
        return x[:, :, spans[0][0] : spans[0][1]]
    return torch.cat([x[:, :, a:b] for a, b in spans], dim=2)


def _add_back(total: Tensor, part: Tensor, segment: Segment) -> None:
    """Adds a segment's (1, heads, P + n, head size) to where its history and its own tokens are."""
    done = 0
    for a, b in _spans(segment):
        total[:, :, a:b] += part[:, :, done : done + b - a]
        done += b - a


def _spans(segment: Segment) -> list[tuple[int, int]]:
    """Indices of a segment's history and its own tokens, adjoining ones as one."""
    spans = list(segment.history)
    if spans and spans[-1][1] == segment.start:
        spans[-1] = (spans[-1][0], segment.end)
    else:
        spans.append((segment.start, segment.end))
    return spans


def _float_mask(
    segments: tuple[Segment, ...], segment: Segment, window: int | None, dtype: torch.dtype
) -> Tensor | None:
    if not needs_mask(segment, window):
        return None
    rows, before = mask_size(segments, window)
    return _float_band(rows, before, window, dtype)[mask_part(segment, before)]


@lru_cache(maxsize=2)
def _float_band(rows: int, before: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """(rows, before + rows): 0 where query i sees key j, -inf elsewhere: what is added to the scores."""
    hidden = torch.full((rows, before + rows), float("-inf"), dtype=dtype)
    mask = hidden.triu(before + 1)
    return mask if window is None else mask + hidden.tril(before - window)


def _varlen(
    query: Tensor, key: Tensor, value: Tensor, segments: tuple[Segment, ...], scaling: float, window: int | None
) -> Tensor:
    """One flash call: query i of n sees key j of m where j <= i + m - n, which is causal over history and own."""
    from torch.nn.attention.varlen import varlen_attn

    plan = _varlen_plan(segments, query.device)
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    if plan.key_indices is not None:
        k, v = k.index_select(0, plan.key_indices), v.index_select(0, plan.key_indices)
    sees = (-1, 0) if window is None else (window - 1, 0)
    output: Any = varlen_attn(
        q,
        k,
        v,
        plan.query_starts,
        plan.key_starts,
        plan.most_queries,
        plan.most_keys,
        scale=scaling,
        window_size=sees,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return output[None].contiguous()  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _VarlenPlan:
    """Segments as one flash call takes them.

    Args:
        key_indices: of the keys of all segments' histories and own tokens, end to end; None: as they lie.
        query_starts, key_starts: (segments + 1,) int32.
        most_queries, most_keys: of one segment.
    """

    key_indices: Tensor | None
    query_starts: Tensor
    key_starts: Tensor
    most_queries: int
    most_keys: int


@lru_cache(maxsize=2)
def _varlen_plan(segments: tuple[Segment, ...], device: torch.device) -> _VarlenPlan:
    queries, keys = [s.length for s in segments], [s.position + s.length for s in segments]
    indices = [torch.arange(a, b) for s in segments for a, b in _spans(s)]
    shared = any(s.history for s in segments)
    return _VarlenPlan(
        key_indices=torch.cat(indices).to(device) if shared else None,
        query_starts=_starts(queries, device),
        key_starts=_starts(keys, device),
        most_queries=max(queries),
        most_keys=max(keys),
    )


def _starts(lengths: list[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
