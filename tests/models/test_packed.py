"""Whether a model can be packed is found out by trying, in half precision too."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from postil.data.prefix_tree import Segment
from postil.models.packed import supports_packing
from postil.testing.tiny import make_tiny_model


def deep_model(directory: Path, dtype: torch.dtype) -> PreTrainedModel:
    """Twenty-four layers whose random weights spread so far that rounding grows from layer to layer."""
    make_tiny_model(directory, "qwen2", num_hidden_layers=24, initializer_range=0.2)
    return AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).requires_grad_(False).eval()


def test_rounding_in_a_deep_model_is_no_leak(tmp_path: Path) -> None:
    assert supports_packing(deep_model(tmp_path, torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_that_see_their_neighbours_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    from postil.models import packed_attention

    honest = packed_attention.attend_by_segment

    def leaking(query: Any, key: Any, value: Any, segments: Any, scaling: float, **other: Any) -> Any:
        return honest(query, key, value, (Segment(0, query.shape[2]),), scaling, **other)

    monkeypatch.setattr(packed_attention, "attend_quickly", lambda *_: None)
    monkeypatch.setattr(packed_attention, "attend_by_segment", leaking)
    assert not supports_packing(deep_model(tmp_path, dtype))


def test_a_faint_leak_is_noticed_in_half_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One part in ten of what the neighbours say: less than rounding makes of the states."""
    from postil.models import packed_attention

    honest = packed_attention.attend_by_segment

    def leaking(query: Any, key: Any, value: Any, segments: Any, scaling: float, **other: Any) -> Any:
        everything = honest(query, key, value, (Segment(0, query.shape[2]),), scaling, **other)
        return 0.9 * honest(query, key, value, segments, scaling, **other) + 0.1 * everything

    monkeypatch.setattr(packed_attention, "attend_quickly", lambda *_: None)
    monkeypatch.setattr(packed_attention, "attend_by_segment", leaking)
    model = deep_model(tmp_path, torch.bfloat16)
    monkeypatch.setattr("postil.models.packed._is_same", lambda *_: True)
    assert not supports_packing(model)
