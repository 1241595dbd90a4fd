"""What the engine leaves out of the computation changes nothing: held in fp32 over five architectures."""

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from postil.config import AdapterConfig
from postil.data.examples import Example
from postil.data.packing import Pack, pack_examples
from postil.models.adapter import adapter_disabled, load_adapter, save_adapter_weights
from postil.models.loss import head_loss, output_head, row_losses, summed_loss
from postil.models.packed import causal_model, pack_tensors, packed_attention, packed_hidden_states, supports_packing
from postil.testing.tiny import ARCHITECTURES
from tests.invariants.cases import CASES, NAMES
from tests.invariants.rows import cosine, gradients, load_tiny, make_kindred_rows, make_rows, padded_loss, with_adapter


@pytest.mark.parametrize(("name", "settings"), CASES, ids=NAMES)
def test_packed_equals_one_by_one(tmp_path: Path, name: str, settings: dict[str, object]) -> None:
    model = with_adapter(load_tiny(tmp_path, name, **settings))
    rows = make_rows(5)
    assert supports_packing(model)
    alone = sum(padded_loss(model, row) for row in rows)
    alone.backward()
    expected = gradients(model)
    pack = pack_tensors(Pack(tuple(rows)))
    with packed_attention(model) as packed:
        assert packed
        loss = summed_loss(model, pack)
        loss.backward()
        per_row = row_losses(model, pack)
    found = gradients(model)
    assert loss.item() / pack.num_trained_tokens == pytest.approx(alone.item() / pack.num_trained_tokens, abs=1e-5)
    assert cosine(found, expected) > 0.99999
    assert float((found - expected).norm() / expected.norm()) < 1e-4
    assert per_row == pytest.approx([padded_loss(model, row).item() for row in rows], rel=1e-5)


def test_a_bf16_base_packs_within_its_rounding(tmp_path: Path) -> None:
    model = with_adapter(load_tiny(tmp_path, "qwen3").to(torch.bfloat16))
    rows = make_rows(5)
    sum(padded_loss(model, row) for row in rows).backward()  # type: ignore[union-attr]
    expected = gradients(model)
    pack = pack_tensors(Pack(tuple(rows)))
    with packed_attention(model) as packed:
        loss = summed_loss(model, pack)
        loss.backward()
    assert packed and loss.dtype == torch.float32
    assert loss.item() == pytest.approx(sum(padded_loss(model, row).item() for row in rows), rel=1e-3)
    assert cosine(gradients(model), expected) > 0.99


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize(
    ("rows", "shares", "limit"),
    [(make_rows(6, seed=3), False, 60), (make_kindred_rows(), True, 90)],
    ids=["end to end", "shared"],
)
def test_split_into_packs_equals_whole(
    tmp_path: Path, name: str, rows: list[Example], shares: bool, limit: int
) -> None:
    model = with_adapter(load_tiny(tmp_path, name))
    results = []
    for most in (10_000, limit):
        packs = [pack_tensors(pack) for pack in pack_examples(rows, most, shares=shares)]
        assert all(pack.num_laid_tokens <= most for pack in packs)
        with packed_attention(model):
            losses = [summed_loss(model, pack) for pack in packs]
            for loss in losses:
                loss.backward()
        results.append((len(packs), sum(loss.item() for loss in losses), gradients(model)))
    (one, whole_loss, whole), (several, split_loss, split) = results
    assert one == 1 and several > 2
    assert split_loss == pytest.approx(whole_loss, rel=1e-6)
    assert cosine(split, whole) > 0.99999


@pytest.mark.parametrize(("name", "settings"), CASES, ids=NAMES)
def test_gathered_head_equals_full_logits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, object]
) -> None:
    monkeypatch.setattr("postil.models.loss.CHUNK_LOGITS", 3 * 10240)  # several chunks, the last one smaller
    monkeypatch.setattr("postil.models.loss.MIN_CHUNK_ROWS", 1)
    model = load_tiny(tmp_path, name, **settings)
    row = make_rows(1, seed=5)[0]
    pack = pack_tensors(Pack((row,)))
    with torch.no_grad():
        hidden = packed_hidden_states(model, pack)
    ours, theirs = (hidden.clone().requires_grad_() for _ in range(2))
    head = output_head(model)
    loss = head_loss(head, ours[pack.predicting], pack.targets)
    loss.backward()
    logits = head.logits(theirs)
    with torch.no_grad():
        assert torch.allclose(logits, model(input_ids=pack.input_ids[None]).logits[0], atol=1e-5)
    full = F.cross_entropy(logits[:-1], torch.tensor(row.labels[1:]), reduction="sum")
    full.backward()
    assert float(loss) == pytest.approx(float(full), rel=1e-6)
    assert ours.grad is not None and theirs.grad is not None
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


def test_a_trained_head_takes_the_plain_way(tmp_path: Path) -> None:
    targets = AdapterConfig(rank=4, alpha=8, target_modules=("q_proj", "lm_head"))
    model = with_adapter(load_tiny(tmp_path, "llama"), targets)
    rows = make_rows(3)
    assert output_head(model).trained
    sum(padded_loss(model, row) for row in rows).backward()  # type: ignore[union-attr]
    expected = gradients(model)
    with packed_attention(model):
        summed_loss(model, pack_tensors(Pack(tuple(rows)))).backward()
    assert cosine(gradients(model), expected) > 0.99999


VARIANTS = {
    "plain": AdapterConfig(rank=4, alpha=8),
    "rslora": AdapterConfig(rank=4, alpha=8, use_rslora=True),
    "dora": AdapterConfig(rank=4, alpha=8, use_dora=True),
    "gaussian": AdapterConfig(rank=4, alpha=8, init="gaussian"),
    "orthogonal": AdapterConfig(rank=4, alpha=8, init="orthogonal"),
    "pissa": AdapterConfig(rank=4, alpha=8, init="pissa"),
    "pissa rslora": AdapterConfig(rank=4, alpha=8, init="pissa", use_rslora=True),
    "olora": AdapterConfig(rank=4, alpha=8, init="olora"),
    "bias": AdapterConfig(rank=4, alpha=8, bias="all"),
    "lora bias": AdapterConfig(rank=4, alpha=8, bias="lora_only"),
}
SAVED = [(name, "plain") for name in ARCHITECTURES] + [("qwen2", variant) for variant in VARIANTS if variant != "plain"]


@pytest.mark.parametrize(("name", "variant"), SAVED)
def test_saved_adapter_gives_the_same_logits_in_plain_peft(tmp_path: Path, name: str, variant: str) -> None:
    base = load_tiny(tmp_path / "base", name)
    ids = torch.tensor([make_rows(1)[0].input_ids])
    with torch.no_grad():
        bare = base(input_ids=ids).logits
        model = with_adapter(base, VARIANTS[variant])
        tuned = model(input_ids=ids).logits
        assert (tuned - bare).abs().max() > 1e-3
        with adapter_disabled(model):
            assert torch.equal(model(input_ids=ids).logits, bare)
        assert torch.equal(model(input_ids=ids).logits, tuned)
        save_adapter_weights(model, tmp_path / "adapter", str(tmp_path / "base"))
        fresh = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
        plain = PeftModel.from_pretrained(fresh, str(tmp_path / "adapter"))
        assert torch.allclose(plain(input_ids=ids).logits, tuned, atol=1e-5)
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float32)
        ours = load_adapter(again, tmp_path / "adapter")
        assert torch.allclose(ours(input_ids=ids).logits, tuned, atol=1e-5)
        with adapter_disabled(ours):
            assert torch.equal(ours(input_ids=ids).logits, bare)
    assert not any(p.requires_grad for p in ours.parameters())


def test_attention_is_put_back_for_generation(tmp_path: Path) -> None:
    model = with_adapter(load_tiny(tmp_path, "qwen3"))
    before = causal_model(model).config._attn_implementation
    with packed_attention(model):
        assert causal_model(model).config._attn_implementation != before
    assert causal_model(model).config._attn_implementation == before
    model.generate(input_ids=torch.tensor([[5, 6, 7]]), max_new_tokens=2, do_sample=False)  # type: ignore[operator]


UNPACKABLE = {"gptj": {"n_embd": 64, "n_layer": 2, "n_head": 4, "rotary_dim": 16, "n_positions": 64}}
UNPACKABLE["mamba"] = {"state_size": 4}


@pytest.mark.parametrize("name", UNPACKABLE)
def test_other_architectures_are_computed_a_row_at_a_time(tmp_path: Path, name: str) -> None:
    model = load_tiny(tmp_path, name, **UNPACKABLE[name])
    rows = make_rows(3, longest=20)
    pack = pack_tensors(Pack(tuple(rows)))
    with packed_attention(model) as packed, torch.no_grad():
        assert not packed
        assert float(summed_loss(model, pack)) == pytest.approx(
            sum(padded_loss(model, r).item() for r in rows), rel=1e-5
        )
