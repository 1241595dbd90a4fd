"""Layers that are computed twice keep less and give the same."""

from pathlib import Path

import pytest
import torch
from torch import nn

from postil.config import AdapterConfig
from postil.data.packing import Pack
from postil.models.adapter import adapter_dropout
from postil.models.fused_lora import fused_lora
from postil.models.loss import summed_loss
from postil.models.packed import pack_tensors, packed_attention
from postil.models.recompute import recomputed_layers
from postil.testing.tiny import ARCHITECTURES
from tests.invariants.rows import gradients, load_tiny, make_kindred_rows, make_rows, with_adapter


def kept_and_gradients(model: nn.Module, shares: bool) -> tuple[int, float, torch.Tensor]:
    rows = make_kindred_rows() if shares else make_rows(5)
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = summed_loss(model, pack_tensors(Pack(tuple(rows), shares=shares)))
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    loss.backward()
    return sum(size for place, size in kept.items() if place not in weights), loss.item(), gradients(model)


@pytest.mark.parametrize("shares", [True, False])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_recomputed_equals_kept(tmp_path: Path, name: str, shares: bool) -> None:
    model = with_adapter(load_tiny(tmp_path, name, num_hidden_layers=6))
    with packed_attention(model), fused_lora(model):
        much, loss, expected = kept_and_gradients(model, shares)
        with recomputed_layers(model) as num_layers:
            little, same_loss, found = kept_and_gradients(model, shares)
    assert num_layers == 5
    assert same_loss == loss and torch.equal(found, expected)
    assert little < 0.4 * much


def test_dropout_drops_the_same_again(tmp_path: Path) -> None:
    model = with_adapter(load_tiny(tmp_path, "llama"), AdapterConfig(rank=4, alpha=8, dropout=0.3))
    results = []
    for recomputes in (False, True):
        torch.manual_seed(3)
        with adapter_dropout(model), packed_attention(model):
            if recomputes:
                with recomputed_layers(model):
                    results.append(kept_and_gradients(model, shares=False))
            else:
                results.append(kept_and_gradients(model, shares=False))
    assert results[0][1] == results[1][1] and torch.equal(results[0][2], results[1][2])


def test_afterwards_layers_are_as_before(tmp_path: Path) -> None:
    model = with_adapter(load_tiny(tmp_path, "qwen2"))
    with recomputed_layers(model):
        assert any("forward" in m.__dict__ for m in model.modules())
    assert not any("forward" in m.__dict__ for m in model.modules())
