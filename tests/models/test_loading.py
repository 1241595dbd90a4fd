"""Bases from folders and hubs: what loads is what plain transformers loads; what must not load says why."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from postil.config import ModelConfig
from postil.data.conversations import Message
from postil.errors import DataError, MissingInputError, PostilError, UnavailableError, UsageError
from postil.models import loading
from postil.models.base_folder import fingerprint_base, inspect_base_folder
from postil.models.loading import STARTER, find_base, load_base, load_chat_format
from postil.models.tokenizer import load_tokenizer
from postil.testing.hub import COMMIT, run_hub
from postil.testing.tiny import ARCHITECTURES, make_tiny_model

IDS = torch.tensor([[5, 17, 301, 44, 9, 260, 33]])


def settings(base: Path | str, **values: Any) -> ModelConfig:
    return ModelConfig(base=str(base), device="cpu", dtype=values.pop("dtype", "fp32"), **values)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), "qwen3")


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return Path(shutil.copytree(tiny, tmp_path / "base"))


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), "utf-8")


def refusal(base: Path | str) -> PostilError:
    with pytest.raises(PostilError) as caught:
        load_base(settings(base))
    assert caught.value.message
    assert caught.value.hint
    return caught.value


def test_starter_loads_frozen_with_its_chat_format(capfd: pytest.CaptureFixture[str]) -> None:
    base = load_base(ModelConfig(device="cpu"))
    assert (base.name, base.path, base.revision, base.family) == ("starter", STARTER, None, "qwen3")
    assert not base.model.training
    assert not any(p.requires_grad for p in base.model.parameters())
    assert base.num_parameters == sum(p.numel() for p in base.model.parameters())
    assert base.hidden_size == base.model.config.hidden_size
    prompt = base.chat_format.prompt_ids([Message("user", "hello")])
    assert base.tokenizer.decode(prompt, skip_special_tokens=False).startswith("<|im_start|>user")
    assert capfd.readouterr().err == ""  # no bars, no warnings


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_gives_plain_transformers_logits(tmp_path: Path, architecture: str) -> None:
    folder = make_tiny_model(tmp_path, architecture)
    base = load_base(settings(folder))
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        assert torch.equal(base.model(IDS).logits, plain(IDS).logits)
    assert base.family == architecture


def test_real_checkpoint_without_a_template(shared: Path) -> None:
    folder = shared / "models" / "stories260k-llama2c"
    base = load_base(settings(folder))
    ids, offsets = base.tokenizer.encode("Once upon a time")
    assert len(ids) == len(offsets)
    with torch.no_grad():
        logits = base.model(torch.tensor([[1, *ids]])).logits
        plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        assert torch.equal(logits, plain(torch.tensor([[1, *ids]])).logits)
    assert torch.isfinite(logits).all()
    assert base.tokenizer.decode([int(logits[0, -1].argmax())]) == ","
    assert base.chat_format.is_built_in


@pytest.mark.parametrize(("dtype", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_dtype(tiny: Path, dtype: str, expected: torch.dtype) -> None:
    base = load_base(settings(tiny, dtype=dtype))
    assert base.dtype == dtype
    assert {p.dtype for p in base.model.parameters()} == {expected}


def test_sharded_weights_and_a_missing_shard(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    expected = load_base(settings(folder))
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    base = load_base(settings(folder))
    assert base.num_parameters == expected.num_parameters
    with torch.no_grad():
        assert torch.equal(base.model(IDS).logits, expected.model(IDS).logits)
    (folder / "model-00002-of-00002.safetensors").unlink()
    error = refusal(folder)
    assert isinstance(error, MissingInputError)
    assert "model-00002-of-00002.safetensors" in error.message


def test_index_that_points_elsewhere_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "../../other/model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    assert refusal(folder).key == "models.broken_json"


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.999])
def test_cut_off_weights(folder: Path, keep: float) -> None:
    file = folder / "model.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep if keep > 1 else keep * len(content))])
    error = refusal(folder)
    assert isinstance(error, DataError)
    assert error.key == "models.broken_weights"


def test_weights_that_lack_tensors_are_not_filled_with_noise(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({k: v for k, v in tensors.items() if k != name}, folder / "model.safetensors", metadata={"format": "pt"})
    error = refusal(folder)
    assert error.key == "models.missing_weights"
    assert name in error.message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(folder: Path, value: float) -> None:
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    tensors[name][3, 5] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    error = refusal(folder)
    assert isinstance(error, DataError)
    assert error.key == "models.not_finite"
    assert name in error.message
    assert error.hint


def test_weights_of_another_shape(folder: Path) -> None:
    change_json(folder / "config.json", intermediate_size=128)
    assert isinstance(refusal(folder), DataError)


def test_pickled_weights_are_refused_by_name(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    error = refusal(folder)
    assert isinstance(error, UnavailableError)
    assert "pytorch_model.bin" in error.message


def test_no_weights_at_all(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(folder).key == "models.no_weights"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_remote_code_is_refused_with_the_reason(folder: Path, file: str) -> None:
    (folder / "evil.py").write_text("raise SystemExit('ran')", "utf-8")
    change_json(
        folder / file, auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M", "AutoTokenizer": "evil.T"}
    )
    error = refusal(folder)
    assert isinstance(error, UnavailableError)
    assert file in error.message
    assert "auto_map" in error.message


def test_quantised_weights_are_refused(folder: Path) -> None:
    change_json(folder / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    error = refusal(folder)
    assert isinstance(error, UnavailableError)
    assert "gptq" in error.message


def test_unknown_architecture_and_models_that_do_not_write(folder: Path) -> None:
    change_json(folder / "config.json", model_type="hologram")
    assert refusal(folder).key == "models.unknown_architecture"
    change_json(folder / "config.json", model_type="bert", architectures=["BertForSequenceClassification"])
    assert refusal(folder).key == "models.not_generative"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"hidden_size": 4}', "\ufeff\x00"])
def test_broken_config(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text, "utf-8")
    error = refusal(folder)
    assert isinstance(error, DataError)
    assert "config.json" in error.message


def test_missing_and_broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0"}', "utf-8")
    assert refusal(folder).key == "models.broken_tokenizer"
    (folder / "tokenizer.json").write_text("{", "utf-8")
    assert refusal(folder).key == "models.broken_json"
    (folder / "tokenizer.json").unlink()
    assert refusal(folder).key == "models.no_tokenizer"


def test_tokenizer_with_more_tokens_than_the_model_knows(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path, "llama", vocab_size=5000)
    error = refusal(folder)
    assert error.key == "models.tokenizer_too_large"
    assert "5000" in error.message


def test_what_is_not_a_base(tmp_path: Path) -> None:
    assert refusal(tmp_path).key == "models.not_a_base_folder"
    (tmp_path / "adapter_config.json").write_text("{}", "utf-8")
    error = refusal(tmp_path)
    assert isinstance(error, UsageError)
    assert error.key == "models.is_adapter"


@pytest.mark.parametrize("base", ["./nowhere", "/nowhere/at/all", "qwen3-0.7b", "", "a/b/c"])
def test_no_such_base(base: str) -> None:
    error = refusal(base)
    assert isinstance(error, MissingInputError)
    assert error.key == "models.no_such_base"


def test_base_that_does_not_fit_names_one_that_does(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "available_memory_bytes", lambda: 100_000_000)
    error = refusal(tiny)
    assert isinstance(error, UnavailableError)
    assert error.exit_code == 69
    assert "0.1 GB" in error.message
    assert "starter" in error.hint


def test_fingerprint_follows_the_weights_not_the_place(folder: Path, tmp_path: Path) -> None:
    before = fingerprint_base(inspect_base_folder(folder))
    moved = folder.rename(tmp_path / "elsewhere")
    change_json(moved / "config.json", transformers_version="9.9")
    assert fingerprint_base(inspect_base_folder(moved)) == before
    content = bytearray((moved / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (moved / "model.safetensors").write_bytes(content)
    assert fingerprint_base(inspect_base_folder(moved)) != before


def test_fingerprint_of_large_weights_reads_samples(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.models.base_folder.WHOLE_HASH_BYTES", 1000)
    before = fingerprint_base(inspect_base_folder(folder))
    tensors = {name: tensor + 0.01 for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert fingerprint_base(inspect_base_folder(folder)) != before


def test_from_a_hub_with_the_commit_as_revision(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with run_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add_folder("acme/tiny", tiny)
        base = load_base(settings("acme/tiny"))
    assert base.name == "acme/tiny"
    assert base.revision == COMMIT
    again, revision = find_base(settings("acme/tiny", offline=True))
    assert (again, revision) == (base.path, COMMIT)


def test_catalog_s_short_name_is_looked_up_by_the_hub_s_own_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    def fetch(model_id: str, revision: str | None, hub: str, offline: bool) -> Path:
        asked.append((model_id, revision, hub, offline))
        return tmp_path

    monkeypatch.setattr(loading, "fetch_model", fetch)
    find_base(ModelConfig(base="llama-3.2-1b-instruct", hub="modelscope", revision="v1"))
    find_base(ModelConfig(base="llama-3.2-1b-instruct", offline=True))
    assert asked == [
        ("LLM-Research/Llama-3.2-1B-Instruct", "v1", "modelscope", False),
        ("meta-llama/Llama-3.2-1B-Instruct", None, "hf", True),
    ]


def test_chat_format_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_load_weights", None)
    assert load_chat_format(ModelConfig()).name == "starter"


def test_tokenizer_neither_cuts_nor_adds(tmp_path: Path, folder: Path) -> None:
    values = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    values["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    (folder / "tokenizer.json").write_text(json.dumps(values), "utf-8")
    tokenizer, plain = load_tokenizer(folder), load_tokenizer(STARTER)
    text = "Where is my parcel? 我的包裹在哪里？<|im_end|> end"
    ids, offsets = tokenizer.encode(text)
    assert len(ids) > 8
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert "<|im_end|>" not in tokenizer.decode(ids, skip_special_tokens=True)
    assert tokenizer.eos_id in ids
    assert all(0 <= start <= end <= len(text) for start, end in offsets)
    assert tokenizer.fingerprint == plain.fingerprint
    tokenizer.save(tmp_path / "saved")
    saved = load_tokenizer(tmp_path / "saved")
    assert saved.encode(text) == (ids, offsets)
    assert saved.fingerprint == tokenizer.fingerprint
    assert saved.chat_template == tokenizer.chat_template


@pytest.mark.parametrize("name", ["qwen2.5-0.5b", "minimind-6400"])
def test_real_tokenizers(shared: Path, name: str) -> None:
    tokenizer = load_tokenizer(shared / "tokenizers" / name)
    text = "<|im_start|>user\n你好 hello<|im_end|>"
    ids, offsets = tokenizer.encode(text)
    assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert offsets[-1][1] == len(text)
    assert tokenizer.chat_template
