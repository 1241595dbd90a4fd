"""Adapters mixed in one batch are what each is alone with PEFT."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from postil.config import AdapterConfig, ModelConfig
from postil.errors import DataError
from postil.models.adapter import load_adapter
from postil.models.adapter_checks import read_adapter
from postil.models.adapter_set import AdapterSet
from postil.models.loading import load_base
from postil.testing.tiny import make_tiny_model
from tests.adapters import make_adapter

IDS = torch.tensor([[5, 900, 77, 12], [8, 8, 30, 4000], [40, 41, 42, 43], [1, 2, 3, 4]])
VARIANTS: dict[str, AdapterConfig] = {
    "plain": AdapterConfig(rank=4),
    "all-linear": AdapterConfig(rank=8, target_modules="all-linear", use_rslora=True),
    "pissa": AdapterConfig(rank=4, init="pissa"),
    "dora": AdapterConfig(rank=4, use_dora=True),
    "embedding": AdapterConfig(rank=4, target_modules=("embed_tokens", "q_proj")),
    "bias": AdapterConfig(rank=4, bias="all"),
}
MIXABLE = {"plain", "all-linear", "pissa"}


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("base"), "qwen2")  # it has biases


@pytest.fixture(scope="module")
def folders(base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: make_adapter(root / name, str(base_dir), config=config) for name, config in VARIANTS.items()}


def load(base_dir: Path) -> Any:
    return load_base(ModelConfig(base=str(base_dir), device="cpu", dtype="fp32")).model


def logits_of(model: Any, ids: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=ids, use_cache=False).logits
    return found


def attach(adapters: AdapterSet, folders: dict[str, Path], *names: str) -> None:
    for name in names:
        adapters.attach(name, read_adapter(folders[name], adapters.layer_shapes))


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_alone_it_is_what_peft_makes_of_it(base_dir: Path, folders: dict[str, Path], name: str) -> None:
    adapters = AdapterSet(load(base_dir))
    attach(adapters, folders, *VARIANTS)
    assert adapters.is_mixable(name) == (name in MIXABLE)
    with adapters.answering([name] * len(IDS)):
        found = logits_of(adapters.model, IDS)
    expected = logits_of(load_adapter(load(base_dir), folders[name]), IDS)
    assert torch.allclose(found, expected, atol=1e-6)
    assert not torch.allclose(found, logits_of(load(base_dir), IDS), atol=1e-3)


def test_base_and_adapters_share_a_batch(base_dir: Path, folders: dict[str, Path]) -> None:
    adapters = AdapterSet(load(base_dir))
    attach(adapters, folders, *VARIANTS)
    names = [None, "all-linear", "plain", "plain"]
    with adapters.answering(names):
        found = logits_of(adapters.model, IDS)
    for row, name in enumerate(names):
        model = load(base_dir) if name is None else load_adapter(load(base_dir), folders[name])
        assert torch.allclose(found[row], logits_of(model, IDS)[row], atol=1e-6)


def test_one_new_token_is_the_same_bits_in_any_company(base_dir: Path, folders: dict[str, Path]) -> None:
    """What an adapter adds to a row depends on that row only."""
    adapters = AdapterSet(load(base_dir))
    attach(adapters, folders, "plain")
    checked = read_adapter(folders["plain"], adapters.layer_shapes)
    layer = adapters.model.get_submodule(next(iter(checked.ranks)))
    x = torch.randn(4, 1, layer.in_features, generator=torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    pair = adapters._attached["plain"].pairs[next(iter(checked.ranks))]
    together = pair.change(x)
    assert all(torch.equal(together[i : i + 1], pair.change(x[i : i + 1])) for i in range(4))


def test_the_base_is_the_base_again(base_dir: Path, folders: dict[str, Path]) -> None:
    expected = logits_of(load(base_dir), IDS)
    adapters = AdapterSet(load(base_dir))
    attach(adapters, folders, *VARIANTS)
    for name in VARIANTS:
        with adapters.answering([name] * len(IDS)):
            logits_of(adapters.model, IDS)
    assert torch.equal(logits_of(adapters.model, IDS), expected)
    for name in VARIANTS:
        adapters.detach(name)
        assert name not in adapters
    assert torch.equal(logits_of(adapters.model, IDS), expected)


def test_detached_and_attached_anew(base_dir: Path, folders: dict[str, Path]) -> None:
    adapters = AdapterSet(load(base_dir))
    for name in ("dora", "plain", "dora"):
        attach(adapters, folders, name)
        with adapters.answering([name] * len(IDS)):
            found = logits_of(adapters.model, IDS)
        adapters.detach(name)
    expected = logits_of(load_adapter(load(base_dir), folders["dora"]), IDS)
    assert torch.allclose(found, expected, atol=1e-6)


def test_its_memory_is_counted(base_dir: Path, folders: dict[str, Path]) -> None:
    adapters = AdapterSet(load(base_dir))
    attach(adapters, folders, "plain")
    checked = read_adapter(folders["plain"], adapters.layer_shapes)
    numbers = sum(rank * sum(adapters.layer_shapes[layer]) for layer, rank in checked.ranks.items())
    assert adapters.num_bytes("plain") == 4 * numbers


def test_biases_of_another_base_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    other = AdapterSet(load(make_tiny_model(tmp_path / "llama", "llama")))  # without biases
    with pytest.raises(DataError) as caught:
        attach(other, folders, "bias")
    assert "bias" in str(caught.value)
