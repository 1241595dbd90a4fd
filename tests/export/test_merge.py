"""Merged = adapter, as plain transformers sees it; and nothing of the user's is overwritten."""

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from postil.config import AdapterConfig
from postil.errors import CannotWriteError, DataError, MissingInputError
from postil.export import merge
from postil.export.merge import merge_adapter
from postil.testing.tiny import ARCHITECTURES, STARTER, make_tiny_model
from tests.adapters import make_adapter

IDS = torch.tensor([[1, 17, 420, 9, 3001, 88, 42, 7, 7, 650]])


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def adapter_logits(base: Path, adapter: Path) -> Tensor:
    """By plain PEFT, in fp32."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    return logits(PeftModel.from_pretrained(model, str(adapter)))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    base = make_tiny_model(tmp_path / "base", "qwen3")
    return base, make_adapter(tmp_path / "adapter", str(base))


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_plain_transformers_gives_the_adapters_logits(architecture: str, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", architecture)
    adapter = make_adapter(tmp_path / "adapter", str(base))
    report = merge_adapter(adapter, tmp_path / "merged")
    expected = adapter_logits(base, adapter)
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32))
    plain = logits(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32))
    assert (found - expected).abs().max() < 1e-4 < (plain - expected).abs().max()
    assert report.logit_difference < 1e-4
    assert report.num_bytes == sum(f.stat().st_size for f in (tmp_path / "merged").iterdir())


@pytest.mark.parametrize(
    "config",
    [
        AdapterConfig(rank=4, use_rslora=True),
        AdapterConfig(rank=4, use_dora=True),
        AdapterConfig(rank=4, bias="lora_only"),
        AdapterConfig(rank=4, init="pissa"),
        AdapterConfig(rank=4, target_modules=("q_proj", "v_proj")),
    ],
    ids=["rslora", "dora", "bias", "pissa", "q-and-v"],
)
def test_variants_merge_too(config: AdapterConfig, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", "qwen2")
    adapter = make_adapter(tmp_path / "adapter", str(base), config=config)
    merge_adapter(adapter, tmp_path / "merged")
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32))
    assert (found - adapter_logits(base, adapter)).abs().max() < 1e-4


def test_a_bf16_base_is_merged_in_fp32(tmp_path: Path) -> None:
    """The starter is stored in bf16. In fp32 the merge is exact; rounded to bf16 it says how far it is off."""
    adapter = make_adapter(tmp_path / "adapter", "starter", size=0.02)
    exact = merge_adapter(adapter, tmp_path / "exact")
    assert exact.dtype == "float32"
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "exact", dtype="auto")
    assert found.dtype == torch.float32
    assert (logits(found) - adapter_logits(STARTER, adapter)).abs().max() < 1e-4
    rounded = merge_adapter(adapter, tmp_path / "rounded", dtype="base")
    assert rounded.dtype == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "rounded", dtype="auto").dtype == torch.bfloat16
    assert 1e-3 < rounded.logit_difference < 2
    assert rounded.num_bytes < 0.7 * exact.num_bytes


def test_tokenizer_template_and_stops_come_along(pair: tuple[Path, Path], tmp_path: Path) -> None:
    merge_adapter(pair[1], tmp_path / "merged")
    names = {f.name for f in (tmp_path / "merged").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"} <= names
    assert not any(n.endswith((".bin", ".pt", ".pkl")) or n.startswith("adapter") for n in names)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    original = AutoTokenizer.from_pretrained(pair[0])
    chat = [{"role": "user", "content": "你好"}]
    assert tokenizer.apply_chat_template(chat) == original.apply_chat_template(chat)
    assert json.loads((tmp_path / "merged" / "generation_config.json").read_text())["eos_token_id"] in (2, [2])


def test_a_base_without_a_template_gets_the_form_it_was_trained_with(tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", "llama")
    (base / "chat_template.jinja").unlink()
    adapter = make_adapter(tmp_path / "adapter", str(base))
    merge_adapter(adapter, tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert text == "### Instruction:\nHi\n\n### Response:\n"


def test_an_existing_folder_needs_force_and_a_strange_one_is_never_replaced(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(CannotWriteError):
            merge_adapter(pair[1], out, force=force)
    assert (out / "thesis.txt").read_text() == "years of work"
    (out / "thesis.txt").unlink()
    with pytest.raises(CannotWriteError, match="exists"):
        merge_adapter(pair[1], out)
    merge_adapter(pair[1], out, force=True)
    before = (out / "model.safetensors").read_bytes()
    with pytest.raises(CannotWriteError, match="exists"):
        merge_adapter(pair[1], out)
    merge_adapter(pair[1], out, force=True)
    assert (out / "model.safetensors").read_bytes() == before


def test_the_sources_are_not_replaced(pair: tuple[Path, Path], tmp_path: Path) -> None:
    base, adapter = pair
    for target in (base, base.parent):
        with pytest.raises(CannotWriteError):
            merge_adapter(adapter, target, force=True)
    with pytest.raises(CannotWriteError):
        merge_adapter(adapter, adapter, force=True)
    assert (base / "model.safetensors").is_file() and (adapter / "adapter_model.safetensors").is_file()


def test_a_full_disk_leaves_nothing_and_says_so(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merge, "_save", full)
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(CannotWriteError, match="no space is left"):
        merge_adapter(pair[1], tmp_path / "merged")
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_another_base_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", "qwen3", seed=7)
    with pytest.raises(DataError, match="another base"):
        merge_adapter(pair[1], tmp_path / "merged", base=str(other))
    with pytest.raises(MissingInputError):
        merge_adapter(tmp_path / "nothing", tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
