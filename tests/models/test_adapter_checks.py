"""Adapters from strangers: what is sound is taken, everything else is refused by name, and nothing else is opened."""

import json
import math
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from postil.config import AdapterConfig
from postil.errors import DataError, MissingInputError
from postil.models.adapter_checks import CONFIG_NAME, MAX_RANK, WEIGHTS_NAME, read_adapter
from tests.adapters import make_adapter

LAYERS = {"model.layers.0.self_attn.q_proj": (6, 4), "model.layers.0.mlp.up_proj": (8, 4)}
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "some/base",
    "r": 2,
    "lora_alpha": 4,
    "target_modules": ["q_proj", "up_proj"],
    "bias": "none",
}
Tensors = dict[str, "np.ndarray[Any, Any]"]
_NAMES = {"<f4": "F32", "<f2": "F16", "<f8": "F64", "<u2": "BF16", "<i4": "I32"}


def tensors(rank: int = 2) -> Tensors:
    made: Tensors = {}
    for layer, (outputs, inputs) in LAYERS.items():
        made[f"base_model.model.{layer}.lora_A.weight"] = np.full((rank, inputs), 0.5, "<f4")
        made[f"base_model.model.{layer}.lora_B.weight"] = np.full((outputs, rank), 0.25, "<f4")
    return made


def write_weights(directory: Path, made: Tensors, header: dict[str, Any] | None = None) -> None:
    """A safetensors file, its header perhaps a lie."""
    true_header, content = {}, b""
    for name, tensor in made.items():
        start, content = len(content), content + tensor.tobytes()
        entry = {"dtype": _NAMES[tensor.dtype.str], "shape": list(tensor.shape), "data_offsets": [start, len(content)]}
        true_header[name] = entry
    text = json.dumps(true_header if header is None else header).encode()
    (directory / WEIGHTS_NAME).write_bytes(struct.pack("<Q", len(text)) + text + content)


def write_adapter(directory: Path, made: Tensors | None = None, **config: Any) -> Path:
    directory.mkdir(exist_ok=True)
    values = {name: value for name, value in (CONFIG | config).items() if value != "LEFT OUT"}
    (directory / CONFIG_NAME).write_text(json.dumps(values))
    write_weights(directory, tensors() if made is None else made)
    return directory


def refusal(directory: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        read_adapter(directory, LAYERS)
    assert str(caught.value)  # its sentence can be said
    return caught.value


def test_a_sound_adapter_is_taken_as_it_is(tmp_path: Path) -> None:
    checked = read_adapter(write_adapter(tmp_path), LAYERS)
    assert (checked.rank, dict(checked.ranks)) == (2, dict.fromkeys(LAYERS, 2))
    assert dict(checked.scales) == dict.fromkeys(LAYERS, 2.0)
    assert checked.content == (tmp_path / WEIGHTS_NAME).read_bytes()
    assert not (checked.use_dora or checked.biases)


def test_scales_follow_peft(tmp_path: Path) -> None:
    made = tensors()
    made["base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"] = np.ones((3, 4), "<f4")
    made["base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"] = np.ones((8, 3), "<f4")
    folder = write_adapter(
        tmp_path, made, rank_pattern={"mlp.up_proj": 3}, alpha_pattern={"up_proj": 9}, use_rslora=True
    )
    checked = read_adapter(folder, LAYERS)
    assert checked.rank == 3
    assert checked.scales["model.layers.0.mlp.up_proj"] == pytest.approx(9 / math.sqrt(3))
    assert checked.scales["model.layers.0.self_attn.q_proj"] == pytest.approx(4 / math.sqrt(2))


@pytest.mark.parametrize("config", [AdapterConfig(rank=4), AdapterConfig(rank=4, use_dora=True, init="gaussian")])
def test_what_training_writes_is_taken(tmp_path: Path, config: AdapterConfig) -> None:
    folder = make_adapter(tmp_path / "own", "starter", config=config)
    checked = read_adapter(folder)
    assert checked.rank == 4 and checked.use_dora == config.use_dora and len(checked.ranks) >= 32


ENTRIES: list[dict[str, Any]] = [
    {"auto_map": {"AutoModel": "evil.Model"}},
    {"auto_mapping": {"parent_library": "os", "base_model_class": "system"}},
    {"base_model_name_or_path": "https://example.org/base"},
    {"base_model_name_or_path": {"a": 1}},
    {"peft_type": "IA3"},
    {"peft_type": "LEFT OUT"},
    {"task_type": "SEQ_CLS"},
    {"r": MAX_RANK + 1},
    {"r": 10**12},
    {"r": 0},
    {"r": True},
    {"r": "2"},
    {"lora_alpha": math.inf},
    {"lora_alpha": math.nan},
    {"lora_alpha": "16"},
    {"bias": "everything"},
    {"init_lora_weights": "pissa"},
    {"init_lora_weights": "LoftQ"},
    {"init_lora_weights": ["gaussian"]},
    {"modules_to_save": ["lm_head"]},
    {"layer_replication": [[0, 1], [0, 1]]},
    {"trainable_token_indices": [1, 2]},
    {"megatron_config": {"a": 1}},
    {"megatron_core": "evil.module"},
    {"loftq_config": {"loftq_bits": 4}},
    {"target_parameters": ["experts.weight"]},
    {"alora_invocation_tokens": [1]},
    {"lora_bias": True},
    {"rank_pattern": {"(a+)+$": 2}},
    {"rank_pattern": {"q_proj": 10**9}},
    {"alpha_pattern": [1]},
    {"target_modules": ["x"] * 2000},
    {"target_modules": {"q_proj": 1}},
    {"use_rslora": "yes"},
    {"something_new": 1},
]


@pytest.mark.parametrize(
    "entry", ENTRIES, ids=lambda entry: f"{next(iter(entry))}={str(next(iter(entry.values())))[:20]}"
)
def test_settings_that_do_more_than_lora_are_refused(tmp_path: Path, entry: dict[str, Any]) -> None:
    error = refusal(write_adapter(tmp_path, **entry))
    assert error.key == "adapter.bad_entry"
    assert next(iter(entry)) in str(error)


def test_empty_entries_of_other_versions_do_no_harm(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path, something_new=None, other_new=False, third_new={}, qalora_group_size=16)
    assert read_adapter(folder, LAYERS).rank == 2


def test_an_expression_for_targets_is_never_run(tmp_path: Path) -> None:
    """Which layers there are is read from the tensors; this one would run for years."""
    folder = write_adapter(tmp_path, target_modules="(x+x+)+y" * 20)
    assert set(read_adapter(folder, LAYERS).ranks) == set(LAYERS)


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def changed(change: Callable[[Tensors], Any]) -> Tensors:
    made = tensors()
    change(made)
    return made


def number(value: float) -> Callable[[Tensors], Any]:
    return lambda made: made[FIRST].__setitem__((1, 3), value)


def bf16_nan(made: Tensors) -> None:
    made[FIRST] = np.array([[0x3F80, 0x7FC0, 0, 0]] * 2, "<u2")


BAD_TENSORS: dict[str, tuple[Tensors, str]] = {
    "NaN": (changed(number(math.nan)), "adapter.not_finite"),
    "infinity": (changed(number(-math.inf)), "adapter.not_finite"),
    "NaN in bf16": (changed(bf16_nan), "adapter.not_finite"),
    "half missing": (changed(lambda made: made.pop(FIRST)), "adapter.bad_parts"),
    "other rank": (tensors(rank=3), "adapter.other_rank"),
    "one dimension": (changed(lambda made: made.update({FIRST: np.ones(8, "<f4")})), "adapter.other_rank"),
    "integers": (changed(lambda made: made.update({FIRST: np.ones((2, 4), "<i4")})), "adapter.bad_dtype"),
    "other width": (changed(lambda made: made.update({FIRST: np.ones((2, 5), "<f4")})), "adapter.other_base_shape"),
    "whole weight": (
        changed(lambda m: m.update({"model.embed_tokens.weight": np.ones((9, 4), "<f4")})),
        "adapter.bad_tensor",
    ),
    "bias unasked": (
        changed(lambda m: m.update({"base_model.model.model.layers.0.mlp.up_proj.bias": np.ones(8, "<f4")})),
        "adapter.bad_tensor",
    ),
    "DoRA unasked": (
        changed(lambda m: m.update({FIRST.replace("lora_A.weight", "lora_magnitude_vector"): np.ones(6, "<f4")})),
        "adapter.bad_tensor",
    ),
    "foreign layer": (
        {name.replace("layers.0", "layers.7"): tensor for name, tensor in tensors().items()},
        "adapter.no_such_layer",
    ),
    "nothing": ({}, "adapter.bad_file"),
}


@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_bad_tensors_are_refused(tmp_path: Path, kind: str) -> None:
    made, key = BAD_TENSORS[kind]
    assert refusal(write_adapter(tmp_path, made)).key == key


def header_of(**entry: Any) -> dict[str, Any]:
    return {FIRST: {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]} | entry}


HEADERS: dict[str, dict[str, Any]] = {
    "negative": header_of(data_offsets=[-32, 0]),
    "reversed": header_of(data_offsets=[32, 0]),
    "beyond the end": header_of(data_offsets=[0, 1 << 60], shape=[2, 1 << 57]),
    "overlap": header_of() | {"b": {"dtype": "F32", "shape": [2, 4], "data_offsets": [16, 48]}},
    "gap": header_of(data_offsets=[8, 40]),
    "shape is a lie": header_of(shape=[2, 400]),
    "fractions": header_of(shape=[2.0, 4.0]),
    "not a tensor": {FIRST: [1, 2, 3]},
    "no offsets": {FIRST: {"dtype": "F32", "shape": [2, 4]}},
    "many dimensions": header_of(shape=[1] * 40 + [2, 4]),
}


@pytest.mark.parametrize("kind", HEADERS)
def test_headers_that_lie_are_refused(tmp_path: Path, kind: str) -> None:
    write_adapter(tmp_path)
    write_weights(tmp_path, {FIRST: np.ones((2, 4), "<f4")}, HEADERS[kind])
    assert refusal(tmp_path).key in ("adapter.bad_tensor", "adapter.bad_file")


NO_SAFETENSORS = (
    b"",
    b"\x00" * 7,
    struct.pack("<Q", 1 << 63) + b"{}",
    struct.pack("<Q", 2) + b"[]",
    struct.pack("<Q", 9) + b"{" * 9,
    struct.pack("<Q", 20) + b'{"a":{},"a":{}}     ',
    pickle.dumps({"a": 1}),
)


@pytest.mark.parametrize("content", NO_SAFETENSORS)
def test_files_that_are_no_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    write_adapter(tmp_path)
    (tmp_path / WEIGHTS_NAME).write_bytes(content)
    assert refusal(tmp_path).key == "adapter.bad_file"


@pytest.mark.parametrize("text", ["", "[]", "{", '{"r": 2, "r": 2000}', "[" * 100_000, "\xff\xfe"])
def test_configs_that_are_no_objects_are_refused(tmp_path: Path, text: str) -> None:
    write_adapter(tmp_path)
    (tmp_path / CONFIG_NAME).write_bytes(text.encode("latin-1"))
    assert refusal(tmp_path).key == "adapter.bad_file"


def test_sizes_are_bounded(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path)
    with pytest.raises(DataError) as caught:
        read_adapter(folder, LAYERS, max_bytes=100)
    assert caught.value.key == "adapter.too_large"
    (folder / CONFIG_NAME).write_text(" " * 1_000_001)
    assert refusal(folder).key == "adapter.too_large"


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    """Not beside sound weights, and not where there are no others."""

    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "opened",))

    folder = write_adapter(tmp_path / "adapter")
    for name in ("adapter_model.bin", "adapter_model.pt", "optimizer.pt", "training_args.bin", "x.pkl"):
        (folder / name).write_bytes(pickle.dumps(Evil()))
    assert read_adapter(folder, LAYERS).rank == 2
    (folder / WEIGHTS_NAME).unlink()
    with pytest.raises(MissingInputError):
        read_adapter(folder, LAYERS)
    assert not (tmp_path / "opened").exists()
    assert pickle.loads(pickle.dumps(Evil())) is None and (tmp_path / "opened").exists()  # noqa: S301 - the trap works


def test_it_needs_no_torch() -> None:
    program = "import sys, postil.models.adapter_checks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
