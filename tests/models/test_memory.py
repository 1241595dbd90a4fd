"""The memory model against what torch really keeps, and the limits of containers against written files."""

from pathlib import Path

import peft
import psutil
import pytest
import torch

from postil.config import AdapterConfig, ModelConfig
from postil.data.prefix_tree import Segment
from postil.models.adapter import add_adapter
from postil.models.base_folder import read_json
from postil.models.catalog import find_entry
from postil.models.fused_lora import fused_lora
from postil.models.loading import load_base
from postil.models.memory import (
    ModelShape,
    activation_bytes,
    available_memory_bytes,
    bytes_to_answer,
    bytes_to_train,
    gigabytes,
    shape_from_config,
)
from postil.models.packed import PackTensors, packed_attention, packed_hidden_states
from postil.testing.tiny import make_tiny_model

TOKENS, RANK = 192, 8


def starter_shape() -> ModelShape:
    entry = find_entry("starter")
    assert entry is not None
    return entry.shape


def kept_bytes(base: str, dtype: str) -> int:
    """Bytes that autograd keeps for the backward pass of one row, parameters not counted."""
    loaded = load_base(ModelConfig(base=base, device="cpu", dtype=dtype))
    settings = peft.LoraConfig(r=RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(loaded.model, settings).train()
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.arange(3, 3 + TOKENS)[None]
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        output = model.base_model.model.model(input_ids=ids, use_cache=False)
    assert output.last_hidden_state.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_activations_of_the_starter(dtype: str) -> None:
    estimate = activation_bytes(starter_shape(), RANK, TOKENS, 4 if dtype == "fp32" else 2)
    assert 0.6 * estimate < kept_bytes("starter", dtype) <= estimate


@pytest.mark.parametrize("architecture", ["qwen2", "gemma"])
def test_activations_of_other_architectures(tmp_path: Path, architecture: str) -> None:
    folder = make_tiny_model(tmp_path, architecture, hidden_size=256, intermediate_size=768, head_dim=64)
    shape = shape_from_config(read_json(folder / "config.json"))
    assert shape is not None
    estimate = activation_bytes(shape, RANK, TOKENS, 4)
    assert 0.6 * estimate < kept_bytes(str(folder), "fp32") <= estimate


def kept_by_our_step(folder: Path, dtype: str) -> int:
    """The same for our own step: packed rows, fused adapter."""
    loaded = load_base(ModelConfig(base=str(folder), device="cpu", dtype=dtype))
    model = add_adapter(loaded.model, AdapterConfig(rank=RANK, alpha=16), 0)
    ids = torch.arange(3, 3 + TOKENS)
    rows = (Segment(0, TOKENS // 2), Segment(TOKENS // 2, TOKENS // 2))
    none = torch.zeros(0, dtype=torch.int64)
    pack = PackTensors(ids, ids % (TOKENS // 2), rows, (TOKENS // 2,) * 2, none, none, (0, 0))
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with hooks, packed_attention(model), fused_lora(model):
        assert packed_hidden_states(model, pack).requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "gemma"])
def test_activations_of_our_step(tmp_path: Path, architecture: str, dtype: str) -> None:
    sizes = {"hidden_size": 256, "intermediate_size": 768, "head_dim": 64, "num_hidden_layers": 4}
    folder = make_tiny_model(tmp_path, architecture, **sizes)
    shape = shape_from_config(read_json(folder / "config.json"))
    assert shape is not None
    estimate = activation_bytes(shape, RANK, TOKENS, 4 if dtype == "fp32" else 2, is_fused=True)
    assert 0.6 * estimate < kept_by_our_step(folder, dtype) <= estimate


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3", "llama", "mistral", "gemma"])
def test_shape_of_a_config_counts_the_parameters(tmp_path: Path, architecture: str) -> None:
    folder = make_tiny_model(tmp_path, architecture)
    shape = shape_from_config(read_json(folder / "config.json"))
    assert shape is not None
    num = load_base(ModelConfig(base=str(folder))).num_parameters
    assert shape.num_parameters == pytest.approx(num, rel=0.01)


def test_architectures_with_other_names_have_no_shape() -> None:
    assert shape_from_config({"model_type": "gpt2", "n_embd": 768, "n_layer": 12}) is None
    assert shape_from_config({"model_type": "x", "hidden_size": "large"}) is None


def test_shape_inside_a_multimodal_config() -> None:
    text = {
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "vocab_size": 9,
    }
    shape = shape_from_config({"model_type": "gemma3", "text_config": text})
    assert shape is not None
    assert (shape.hidden, shape.kv_heads, shape.head_dim) == (8, 2, 4)


def test_memory_grows_with_everything() -> None:
    shape = starter_shape()
    assert bytes_to_train(shape, 16, 1024, 4) > bytes_to_train(shape, 8, 1024, 4)
    assert bytes_to_train(shape, 8, 2048, 4) > bytes_to_train(shape, 8, 1024, 4)
    assert bytes_to_train(shape, 8, 2048, 2, is_fused=True) < bytes_to_train(shape, 8, 2048, 2)
    assert bytes_to_train(shape, 8, 2048, 4, recomputes=True) < bytes_to_train(shape, 8, 2048, 4)
    assert bytes_to_answer(shape, 2048, 4) > bytes_to_answer(shape, 1024, 4) > bytes_to_answer(shape, 1024, 2)


def test_seven_billion_parameters_need_a_known_amount() -> None:
    """15 GB of weights in bf16; the field trains such a base with LoRA on one 24-48 GB card."""
    entry = find_entry("Qwen/Qwen2.5-7B-Instruct")
    assert entry is not None
    assert 15e9 < entry.answering_bytes(2) < 20e9
    assert 18e9 < entry.training_bytes(2) < 48e9


def test_available_memory_is_at_most_the_machine_s() -> None:
    assert 0 < available_memory_bytes() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("membership", "folder", "files", "free"),
    [
        ("0::/job/task\n", "job", ("memory.max", "memory.current", "inactive_file"), 700),
        (
            "4:memory:/job/task\n",
            "memory/job",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            700,
        ),
        ("4:cpu,memory:/\n", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), 700),
    ],
)
def test_a_container_s_limit_counts_at_any_level(
    tmp_path: Path, membership: str, folder: str, files: tuple[str, str, str], free: int
) -> None:
    group = tmp_path / folder
    group.mkdir(parents=True)
    (group / files[0]).write_text("1000\n")
    (group / files[1]).write_text("500\n")
    (group / "memory.stat").write_text(f"anon 300\n{files[2]} 200\n")
    own = tmp_path / "self"
    own.write_text(membership)
    assert available_memory_bytes(tmp_path, own) == free


def test_no_limit_and_no_groups(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    own = tmp_path / "self"
    own.write_text("0::/\n")
    assert available_memory_bytes(tmp_path, own) > 10**6
    assert available_memory_bytes(tmp_path, tmp_path / "absent") > 10**6


def test_sizes_in_words() -> None:
    assert gigabytes(450_000_000) == "0.5 GB"
    assert gigabytes(15_700_000_000) == "16 GB"
    assert gigabytes(9_960_000_000) == gigabytes(10_000_000_000) == "10 GB" and gigabytes(4_000_000_000) == "4 GB"
