"""Bases in 8 and 4 bits, through the real loading code and bitsandbytes itself."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from postil.config import AdapterConfig, ModelConfig
from postil.errors import UnavailableError, UsageError
from postil.events import ignore, never
from postil.models.adapter import add_adapter, trainable_parameters
from postil.models.devices import DeviceChoice
from postil.models.fused_lora import fused_lora
from postil.models.loading import Base, load_base
from postil.models.memory import ModelShape, bytes_to_answer, bytes_to_train, weight_bytes
from postil.models.quantized import check_quantization, keep_gradients, quantization_of
from postil.testing.tiny import make_tiny_model
from postil.training.loop import TrainResult, train_adapter
from tests.invariants.rows import make_rows, settings

BITS = ("8bit", "4bit")


def loaded(directory: Path, quantization: str) -> Base:
    make_tiny_model(directory, "qwen3", vocab_size=10240)
    values = {"base": str(directory), "device": "cpu", "dtype": "fp32", "quantization": quantization}
    return load_base(ModelConfig.model_validate(values))


def train(base: Base, run_dir: Path, steps: int = 6) -> tuple[TrainResult, dict[str, torch.Tensor]]:
    model = add_adapter(base.model, AdapterConfig(rank=4, alpha=8), seed=1)
    with fused_lora(model) as num_fused:
        assert num_fused == 0  # PEFT's own layers know how such weights are multiplied
    result = train_adapter(
        model,
        make_rows(8),
        config=settings(max_steps=steps, epochs=None, batch_rows=8),
        run_dir=run_dir,
        data_hash="data",
        config_hash="config",
        report=ignore,
        should_stop=never,
        evaluate=None,
        evaluate_every=1,
        resume=False,
    )
    return result, trainable_parameters(model)


@pytest.mark.parametrize("quantization", BITS)
def test_it_learns_over_a_quantized_base_that_stays_as_it_is(tmp_path: Path, quantization: str) -> None:
    base = loaded(tmp_path / "base", quantization)
    assert quantization_of(base.model) == quantization
    linear = base.model.get_submodule("model.layers.0.mlp.up_proj").weight
    assert linear.dtype in (torch.int8, torch.uint8)
    assert base.model.get_input_embeddings().weight.dtype == torch.float32
    before = linear.detach().clone()
    first, _ = train(base, tmp_path / "short", steps=1)
    result, parameters = train(loaded(tmp_path / "base", quantization), tmp_path / "run")
    assert result.train_loss < first.train_loss
    assert torch.equal(linear, before)
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in parameters.values())


@pytest.mark.parametrize("quantization", BITS)
def test_measuring_takes_no_gradient_away(tmp_path: Path, quantization: str) -> None:
    base = loaded(tmp_path / "base", quantization)
    model = add_adapter(base.model, AdapterConfig(rank=4, alpha=8), seed=1)
    ids = torch.arange(3, 40)[None]

    def lengths() -> dict[str, float]:
        model(input_ids=ids).logits.float().square().mean().backward()
        found = {n: float(p.grad.norm()) for n, p in trainable_parameters(model).items() if p.grad is not None}
        model.zero_grad()
        return found

    before = lengths()
    with torch.no_grad():
        model(input_ids=ids)
    after = lengths()
    assert len(before) == len(trainable_parameters(model))
    assert after == pytest.approx(before, rel=1e-4)
    assert any(length > 0 for name, length in after.items() if "layers.0" in name)


def test_weights_are_never_repacked_into_a_form_without_gradients(tmp_path: Path) -> None:
    """Whatever the processor: those without AVX512-BF16 would not do it anyway."""
    base = loaded(tmp_path / "base", "4bit")
    layers = [m for m in base.model.modules() if hasattr(m, "support_avx512bf16_for_cpu")]
    assert layers and not any(layer.support_avx512bf16_for_cpu for layer in layers)
    for layer in layers:
        layer.support_avx512bf16_for_cpu = True
    keep_gradients(base.model)
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)


@pytest.mark.parametrize("quantization", BITS)
def test_a_rank_beyond_a_side_is_refused_though_packed_weights_hide_it(tmp_path: Path, quantization: str) -> None:
    base = loaded(tmp_path / "base", quantization)
    with pytest.raises(UsageError) as caught:
        add_adapter(base.model, AdapterConfig(rank=1024), seed=1)
    assert caught.value.key == "adapter.rank_too_large"


def test_what_cannot_be_had_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnavailableError) as caught:
        check_quantization("4bit", DeviceChoice("mps", "bf16"))
    assert caught.value.key == "models.not_quantized_there"
    monkeypatch.setattr("postil.models.quantized.find_spec", lambda name: None)
    with pytest.raises(UnavailableError) as caught:
        check_quantization("8bit", DeviceChoice("cpu", "fp32"))
    assert caught.value.key == "models.no_bitsandbytes"
    assert "postil[quantized]" in (caught.value.hint or "")
    check_quantization("none", DeviceChoice("mps", "bf16"))


def test_the_memory_model_knows_what_stays_in_full_precision() -> None:
    shape = ModelShape(
        hidden=1024, layers=2, heads=8, kv_heads=8, head_dim=128, intermediate=2048, vocab=1000, tied=False,
        context_tokens=2048,
    )  # fmt: skip
    linear, kept = 2 * (4 * 1024 * 1024 + 3 * 1024 * 2048), 2 * 1000 * 1024
    assert weight_bytes(shape, 2) == 2 * (linear + kept)
    assert weight_bytes(shape, 2, "8bit") == linear + 2 * kept
    assert weight_bytes(shape, 2, "4bit") == int(linear * 0.5625) + 2 * kept
    saved = weight_bytes(shape, 2) - weight_bytes(shape, 2, "4bit")
    assert bytes_to_answer(shape, 100, 2) - bytes_to_answer(shape, 100, 2, "4bit") == pytest.approx(1.1 * saved, abs=2)
    trained = bytes_to_train(shape, 16, 100, 2) - bytes_to_train(shape, 16, 100, 2, quantization="4bit")
    assert trained == pytest.approx(1.1 * saved, abs=2)


def test_nothing_fetches_code_from_a_hub() -> None:
    """bitsandbytes and transformers do, where a package named `kernels` is installed."""
    program = """
import sys, types
seen = []
look = lambda name, *_: seen.append(name) if name == "kernels" else None
sys.meta_path.insert(0, types.SimpleNamespace(find_spec=look))
import postil.models.adapter
import bitsandbytes
assert sys.modules["kernels"] is None and not seen, seen
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "kernels" not in done.stderr
