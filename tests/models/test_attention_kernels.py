"""Quick attention is trusted only after it gave the reference's results."""

import pytest
import torch

from postil.data.prefix_tree import Segment
from postil.models import attention_kernels
from postil.models.attention_kernels import attend_quickly, slow_reason
from postil.models.segment_attention import attend_by_segment

CPU = torch.device("cpu")
SEGMENTS = (
    Segment(0, 20),
    Segment(20, 7, 20, ((0, 20),)),
    Segment(27, 33, 20, ((0, 20),)),
    Segment(60, 5, 53, ((0, 20), (27, 60))),
    Segment(65, 40),
)


@pytest.fixture(autouse=True)
def forget_what_was_tried() -> None:
    slow_reason.cache_clear()


def inputs(dtype: torch.dtype, heads: int = 6, key_heads: int = 2) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, SEGMENTS[-1].end, n, 8) for n in (heads, key_heads, key_heads)]
    return [torch.randn(s, generator=generator).to(dtype).transpose(1, 2).requires_grad_() for s in shapes]


@pytest.mark.parametrize("window", [None, 3, 25, 1000])
@pytest.mark.parametrize(("dtype", "margin"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_quick_attention_is_the_reference(dtype: torch.dtype, margin: float, window: int | None) -> None:
    quick = attend_quickly(*inputs(dtype), SEGMENTS, 0.3, window)
    assert quick is not None and quick.is_contiguous()
    results = []
    leaves = [inputs(dtype), inputs(torch.float32)]
    for x, attend in zip(leaves, (attend_quickly, None), strict=True):
        if attend is None:
            x = [(a.detach().to(dtype).float()).requires_grad_() for a in x]
            output = attend_by_segment(*x, SEGMENTS, 0.3, window=window)
        else:
            output = attend(*x, SEGMENTS, 0.3, window)  # type: ignore[assignment]
        slope = torch.linspace(-1, 1, output.numel()).view_as(output).to(output.dtype)
        results.append([output, *torch.autograd.grad(output, x, slope)])
    for found, expected in zip(*results, strict=True):
        assert (found.float() - expected).abs().max() <= margin * expected.abs().max()


def test_a_query_sees_its_history_and_nothing_else() -> None:
    query, key, value = (x.detach() for x in inputs(torch.float32))
    before = attend_quickly(query, key, value, SEGMENTS, 1.0, None)
    value[:, :, 27:60] += 1.0  # segment 2, which only segment 3 has in its history
    after = attend_quickly(query, key, value, SEGMENTS, 1.0, None)
    assert before is not None and after is not None
    changed = [s.start for s in SEGMENTS if not torch.equal(before[:, s.start : s.end], after[:, s.start : s.end])]
    assert changed == [27, 60]


def test_a_wrong_kernel_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention_kernels, "_add_back", lambda total, part, segment: None)
    assert slow_reason(CPU, torch.float32, 6, 2, 8) == "other results, windows [None, 4]"
    assert attend_quickly(*inputs(torch.float32), SEGMENTS, 1.0, None) is None


def test_a_missing_kernel_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise AttributeError("no such operator")

    monkeypatch.setattr(attention_kernels, "_quick", missing)
    assert slow_reason(CPU, torch.float32, 6, 2, 8) == "AttributeError: no such operator"
    assert slow_reason(torch.device("mps"), torch.float32, 6, 2, 8) == "no kernel for mps"
    assert slow_reason(torch.device("cuda"), torch.float32, 6, 2, 8) == "no kernel for torch.float32"


def flash_as_documented(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    query_starts: torch.Tensor,
    key_starts: torch.Tensor,
    most_queries: int,
    most_keys: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """What torch's documentation says of the CUDA call: segments by their starts, causal from the lower right."""
    groups = q.shape[1] // k.shape[1]
    assert enable_gqa == (groups > 1) and window_size[1] == 0
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    outputs = []
    bounds = [list(zip(s[:-1].tolist(), s[1:].tolist(), strict=True)) for s in (query_starts, key_starts)]
    for (a, b), (c, d) in zip(*bounds, strict=True):
        assert b - a <= most_queries and d - c <= most_keys
        last_seen = torch.arange(b - a)[:, None] + (d - c) - (b - a)
        far = torch.arange(d - c)[None] < (last_seen - window_size[0] if window_size[0] >= 0 else 0)
        scores = torch.einsum("qhd,khd->hqk", q[a:b], k[c:d]) * scale
        scores = scores.masked_fill(far | (torch.arange(d - c)[None] > last_seen), float("-inf"))
        outputs.append(torch.einsum("hqk,khd->qhd", scores.softmax(-1), v[c:d]))
    return torch.cat(outputs)


@pytest.mark.parametrize("segments", [SEGMENTS, (Segment(0, 70), Segment(70, 35))])
@pytest.mark.parametrize("window", [None, 3, 25, 1000])
def test_what_is_handed_to_the_cuda_call(
    monkeypatch: pytest.MonkeyPatch, segments: tuple[Segment, ...], window: int | None
) -> None:
    """The call itself is tried on the GPU at its first use."""
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", flash_as_documented)
    query, key, value = (x.detach() for x in inputs(torch.float32))
    found = attention_kernels._varlen(query, key, value, segments, 0.3, window)
    expected = attend_by_segment(query, key, value, segments, 0.3, window=window)
    assert torch.allclose(found, expected, atol=1e-5)
