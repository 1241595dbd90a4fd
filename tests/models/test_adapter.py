"""Adapters: made as asked, refused with reasons, saved and loaded."""

import json
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from postil.config import AdapterConfig
from postil.errors import CannotWriteError, DataError, MissingInputError, UsageError
from postil.models.adapter import (
    adapter_dropout,
    add_adapter,
    load_adapter,
    save_adapter_weights,
    trainable_parameters,
)
from tests.invariants.rows import load_tiny

SMALL = {"vocab_size": 10240, "num_hidden_layers": 1}


@pytest.fixture
def base(tmp_path: Path) -> PreTrainedModel:
    return load_tiny(tmp_path / "base", "qwen3", **SMALL)


def test_all_linear_leaves_the_head_out_and_the_seed_decides(base: PreTrainedModel, tmp_path: Path) -> None:
    parameters = trainable_parameters(add_adapter(base, AdapterConfig(rank=4), seed=7))
    layers = {name.split(".lora_")[0].rpartition(".")[2] for name in parameters}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert list(parameters) == sorted(parameters)
    torch.manual_seed(123)
    bases = [load_tiny(tmp_path / "base", "qwen3", **SMALL) for _ in range(2)]
    adapters = [add_adapter(b, AdapterConfig(rank=4), seed) for b, seed in zip(bases, (7, 8), strict=True)]
    same, different = map(trainable_parameters, adapters)
    assert all(torch.equal(parameters[name], same[name]) for name in parameters)
    assert not all(torch.equal(parameters[name], different[name]) for name in parameters)


def test_making_an_adapter_leaves_the_random_state_alone(base: PreTrainedModel) -> None:
    before = torch.get_rng_state()
    add_adapter(base, AdapterConfig(rank=4), seed=7)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("variant", [{}, {"use_dora": True}, {"init": "pissa"}, {"init": "orthogonal"}])
def test_masters_are_fp32_on_a_bf16_base(base: PreTrainedModel, variant: dict[str, object]) -> None:
    config = AdapterConfig.model_validate({"rank": 4} | variant)
    model = add_adapter(base.to(torch.bfloat16), config, 0)
    assert {p.dtype for p in trainable_parameters(model).values()} == {torch.float32}
    model(input_ids=torch.tensor([[5, 6, 7]]))


@pytest.mark.parametrize(
    ("settings", "key", "named"),
    [
        ({"target_modules": ("q_proj", "q_porj")}, "adapter.unknown_targets", "q_porj"),
        ({"target_modules": ()}, "adapter.unknown_targets", "gate_proj"),
        ({"rank": 33}, "adapter.rank_too_large", "k_proj"),
        ({"init": "pissa", "use_dora": True}, "adapter.cannot_combine", "use_dora"),
        ({"init": "olora", "bias": "all"}, "adapter.cannot_combine", "bias=all"),
        ({"init": "orthogonal", "rank": 5}, "adapter.cannot_combine", "rank=5"),
        ({"init": "pissa", "target_modules": ("embed_tokens",)}, "adapter.cannot_combine", "embed_tokens"),
    ],
)
def test_impossible_settings_are_refused(
    base: PreTrainedModel, settings: dict[str, object], key: str, named: str
) -> None:
    with pytest.raises(UsageError) as refused:
        add_adapter(base, AdapterConfig.model_validate({"rank": 4} | settings), 0)
    assert refused.value.key == key and named in str(refused.value)


def test_trained_biases_need_an_fp32_base(base: PreTrainedModel) -> None:
    with pytest.raises(UsageError, match="dtype=bfloat16"):
        add_adapter(base.to(torch.bfloat16), AdapterConfig(rank=4, bias="all"), 0)


@pytest.mark.parametrize("use_dora", [False, True])
def test_dropout_works_in_training_only(base: PreTrainedModel, use_dora: bool) -> None:
    model = add_adapter(base, AdapterConfig(rank=4, dropout=0.5, use_dora=use_dora), 0)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter += 0.1
    ids = torch.tensor([[5, 6, 7, 8]])
    with adapter_dropout(model):
        assert not torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


def test_saved_settings_name_the_base_and_are_the_same_every_time(base: PreTrainedModel, tmp_path: Path) -> None:
    model = add_adapter(base, AdapterConfig(rank=4, alpha=8), 0)
    for name in ("one", "two"):
        save_adapter_weights(model, tmp_path / name, "Qwen/Qwen3-0.6B", "abc")
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    settings = json.loads((tmp_path / "one" / "adapter_config.json").read_text("utf-8"))
    assert settings["base_model_name_or_path"] == "Qwen/Qwen3-0.6B" and settings["revision"] == "abc"
    assert settings["r"] == 4 and settings["lora_alpha"] == 8 and settings["inference_mode"]


def test_a_folder_that_cannot_be_written_is_named(base: PreTrainedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CannotWriteError):
        save_adapter_weights(add_adapter(base, AdapterConfig(rank=4), 0), tmp_path / "file", "base")


def test_what_is_no_adapter_is_refused(base: PreTrainedModel, tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match=r"adapter_config\.json"):
        load_adapter(base, tmp_path / "nothing")
    folder = tmp_path / "adapter"
    save_adapter_weights(add_adapter(base, AdapterConfig(rank=4), 0), folder, "base")
    fresh = load_tiny(tmp_path / "base", "qwen3", **SMALL)
    settings = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"init_lora_weights": "pissa"}), "utf-8")
    with pytest.raises(DataError) as refused:
        load_adapter(fresh, folder)
    assert refused.value.key == "adapter.rewrites_base"
    (folder / "adapter_config.json").write_text(json.dumps(settings), "utf-8")
    (folder / "adapter_model.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(DataError) as refused:
        load_adapter(fresh, folder)
    assert refused.value.key == "adapter.damaged"


@pytest.mark.parametrize("other", [{"hidden_size": 96}, {"num_hidden_layers": 2}])
def test_an_adapter_for_another_base_is_refused(
    base: PreTrainedModel, tmp_path: Path, other: dict[str, object]
) -> None:
    save_adapter_weights(add_adapter(base, AdapterConfig(rank=4), 0), tmp_path / "adapter", "base")
    with pytest.raises(DataError) as refused:
        load_adapter(load_tiny(tmp_path / "other", "qwen3", **(SMALL | other)), tmp_path / "adapter")
    assert refused.value.key == "adapter.does_not_fit"
