"""Plain LoRA in one pass gives PEFT's losses and gradients; everything else stays PEFT's."""

from pathlib import Path

import pytest
import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import nn

from postil.config import AdapterConfig
from postil.data.packing import Pack
from postil.models.fused_lora import fused_lora
from postil.models.loss import summed_loss
from postil.models.packed import pack_tensors, packed_attention
from postil.testing.tiny import ARCHITECTURES
from tests.invariants.cases import CASES, NAMES
from tests.invariants.rows import cosine, gradients, load_tiny, make_rows, with_adapter


def loss_and_gradients(model: nn.Module) -> tuple[float, torch.Tensor]:
    loss = summed_loss(model, pack_tensors(Pack(tuple(make_rows(5)))))
    loss.backward()
    return loss.item(), gradients(model)


def both_ways(model: nn.Module) -> tuple[int, tuple[float, torch.Tensor], tuple[float, torch.Tensor]]:
    with packed_attention(model):
        expected = loss_and_gradients(model)
        with fused_lora(model) as num_fused:
            found = loss_and_gradients(model)
    return num_fused, found, expected


def num_lora_layers(model: nn.Module) -> int:
    return sum(isinstance(m, LoraLinear) for m in model.modules())


@pytest.mark.parametrize(("name", "settings"), CASES, ids=NAMES)
def test_fused_equals_peft(tmp_path: Path, name: str, settings: dict[str, object]) -> None:
    model = with_adapter(load_tiny(tmp_path, name, **settings))
    num_fused, (loss, found), (expected_loss, expected) = both_ways(model)
    assert num_fused == num_lora_layers(model) > 0
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert cosine(found, expected) > 0.99999
    assert float((found - expected).norm() / expected.norm()) < 1e-5


@pytest.mark.parametrize(
    "adapter",
    [
        AdapterConfig(rank=4, alpha=8, use_rslora=True),
        AdapterConfig(rank=3, alpha=5, target_modules=("k_proj", "up_proj", "o_proj")),
        AdapterConfig(rank=4, alpha=8, target_modules=("q_proj", "lm_head")),
    ],
    ids=["rslora", "some layers", "head"],
)
def test_other_plain_adapters_are_fused_too(tmp_path: Path, adapter: AdapterConfig) -> None:
    model = with_adapter(load_tiny(tmp_path, "qwen2"), adapter)
    num_fused, (loss, found), (expected_loss, expected) = both_ways(model)
    assert num_fused == num_lora_layers(model) > 0
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert cosine(found, expected) > 0.99999


@pytest.mark.parametrize(
    "adapter",
    [
        AdapterConfig(rank=4, alpha=8, use_dora=True),
        AdapterConfig(rank=4, alpha=8, dropout=0.1),
        AdapterConfig(rank=4, alpha=8, init="pissa"),
        AdapterConfig(rank=4, alpha=8, init="olora"),
    ],
    ids=["dora", "dropout", "pissa", "olora"],
)
def test_variants_pass_through_peft(tmp_path: Path, adapter: AdapterConfig) -> None:
    model = with_adapter(load_tiny(tmp_path, "qwen2"), adapter)
    num_fused, found, expected = both_ways(model)
    assert num_fused == 0
    assert found[0] == expected[0] and torch.equal(found[1], expected[1])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_bf16_base_is_fused_within_its_rounding(tmp_path: Path, name: str) -> None:
    model = with_adapter(load_tiny(tmp_path, name).to(torch.bfloat16))
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)
    num_fused, (loss, found), (expected_loss, expected) = both_ways(model)
    assert num_fused > 0 and loss == pytest.approx(expected_loss, rel=1e-3)
    assert cosine(found, expected) > 0.999


def test_afterwards_everything_is_peft_s_again(tmp_path: Path) -> None:
    model = with_adapter(load_tiny(tmp_path, "llama"))
    layers = [m for m in model.modules() if isinstance(m, LoraLinear)]
    with pytest.raises(ZeroDivisionError), fused_lora(model):
        assert all("forward" in layer.__dict__ for layer in layers)
        with fused_lora(model) as inner:
            assert inner == 0
        raise ZeroDivisionError
    assert not any("forward" in layer.__dict__ for layer in layers)


def test_layers_that_are_asked_in_another_way_are_right_too(tmp_path: Path) -> None:
    model = with_adapter(load_tiny(tmp_path, "llama"))
    attention = next(m for m in model.modules() if hasattr(m, "q_proj"))
    hidden = [torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    asked = [("q_proj", 0), ("q_proj", 1), ("k_proj", 0), ("v_proj", 1), ("q_proj", 0), ("k_proj", 0), ("v_proj", 0)]
    with torch.no_grad():
        expected = [getattr(attention, name)(hidden[n]) for name, n in asked]
        with fused_lora(model):
            found = [getattr(attention, name)(hidden[n]) for name, n in asked]
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(found, expected, strict=True))
