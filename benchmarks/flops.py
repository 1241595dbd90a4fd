"""The work that nobody can avoid, and how fast this machine does such work: what useful-MFU is a share of.

    trunk       4 N_lin            per token: forward and the gradient of the activations; frozen weights need none
    head        4 V d              per supervised token
    adapter     6 r (in + out)     per token and linear layer: forward, and the gradients of input and weights
    attention   12 d_attn          per pair of a query and a key that it may see, and layer

Tokens are those with the longest common beginning of a step's rows counted once, and without what comes after a row's
last prediction.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.workload import Row, Shape

GEMM_TOKENS, HEAD_TOKENS = 1600, 256
REPEATS = 2


@dataclass(frozen=True)
class Work:
    """Of one optimizer step.

    Args:
        tokens: computed at least.
        trained: with a label.
        flops: all of it.
        gemm_flops: the share of trunk and head.
    """

    tokens: int
    trained: int
    flops: float
    gemm_flops: float


def common_prefix(rows: Sequence[Row]) -> int:
    """Tokens with which all rows begin; at least one token stays a row's own."""
    if len(rows) < 2:
        return 0
    first, last = min(r.input_ids for r in rows), max(r.input_ids for r in rows)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return min(same, *(row.num_needed - 1 for row in rows))


def minimal_work(shape: Shape, rows: Sequence[Row], rank: int) -> Work:
    """What an exact step on these rows must compute."""
    prefix = common_prefix(rows)
    own = [row.num_needed - prefix for row in rows]
    tokens = prefix + sum(own)
    trained = sum(row.num_trained for row in rows)
    pairs = prefix * (prefix + 1) // 2 + sum(n * prefix + n * (n + 1) // 2 for n in own)
    linear = shape.layers * sum(i * o for i, o in shape.linears())
    adapter = rank * shape.layers * sum(i + o for i, o in shape.linears())
    gemms = 4.0 * linear * tokens + 4.0 * shape.vocabulary * shape.hidden * trained
    attention = 12.0 * shape.heads * shape.head_size * shape.layers * pairs
    return Work(tokens, trained, gemms + 6.0 * adapter * tokens + attention, gemms)


def gemm_rate(shape: Shape, dtype: str, work: Work, device: str = "cpu") -> float:
    """FLOP per second of the step's own matrix products, nothing else, best of two.

    Trunk and head are timed apart, on pieces, and put together as in the step.

    Args:
        dtype: "fp32" or "bf16".
    """
    import torch

    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    shapes = sorted(set(shape.linears()))
    trunk = sum(_seconds(torch, i, o, GEMM_TOKENS, kind, device) * shape.linears().count((i, o)) for i, o in shapes)
    head = _seconds(torch, shape.hidden, shape.vocabulary, HEAD_TOKENS, kind, device)
    seconds = trunk * shape.layers * work.tokens / GEMM_TOKENS + head * work.trained / HEAD_TOKENS
    return work.gemm_flops / seconds


def _seconds(torch: Any, inside: int, outside: int, tokens: int, kind: Any, device: str) -> float:
    """Of y = x W' and its gradient g W, the faster of two."""
    generator = torch.Generator(device).manual_seed(0)
    weight, x = (torch.randn(n, inside, generator=generator, device=device).to(kind) for n in (outside, tokens))
    gradient = torch.randn(tokens, outside, generator=generator, device=device).to(kind)
    repeats, times = 20 if device == "cuda" else 1, []
    with torch.no_grad():
        for _ in range(REPEATS + 1):
            if device == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(repeats):
                torch.nn.functional.linear(x, weight)
                gradient @ weight
            if device == "cuda":
                torch.cuda.synchronize()
            times.append((time.perf_counter() - started) / repeats)
    return min(times[1:])


def num_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
