"""What rows begin with alike, computed once, changes no loss and no gradient."""

from pathlib import Path

import pytest
import torch
from torch import nn

from postil.config import AdapterConfig
from postil.data.examples import IGNORED, Example
from postil.data.packing import Pack
from postil.models.adapter import has_dropout
from postil.models.loss import row_losses, summed_loss
from postil.models.packed import PackTensors, pack_tensors, packed_attention, shares_beginnings
from postil.models.packed_attention import CannotPackError
from postil.models.scoring import heldout_losses
from tests.invariants.cases import CASES, LENGTH_DEPENDENT, NAMES
from tests.invariants.rows import cosine, gradients, load_tiny, make_kindred_rows, padded_loss, with_adapter

SHAREABLE = [pytest.param(*case, id=name) for case, name in zip(CASES, NAMES, strict=True) if case != LENGTH_DEPENDENT]


def mean_loss(model: nn.Module, row: Example) -> float:
    return padded_loss(model, row).item() / sum(label != IGNORED for label in row.labels[1:])


def shared_pack() -> PackTensors:
    pack = pack_tensors(Pack(tuple(make_kindred_rows()), shares=True))
    assert max(len(s.history) for s in pack.segments) > 1  # histories in several parts
    assert len(set(pack.predicting.tolist())) < len(pack.predicting)  # indices that several rows learn from
    assert pack.num_laid_tokens < 0.6 * pack.num_tokens
    return pack


@pytest.mark.parametrize(("name", "settings"), SHAREABLE)
@pytest.mark.parametrize("quick", [True, False])
def test_shared_equals_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, settings: dict[str, object], quick: bool
) -> None:
    if not quick:
        monkeypatch.setattr("postil.models.packed_attention.attend_quickly", lambda *_: None)
    model = with_adapter(load_tiny(tmp_path, name, **settings))
    rows = make_kindred_rows()
    alone = [padded_loss(model, row) for row in rows]
    sum(alone).backward()  # type: ignore[union-attr]
    expected = gradients(model)
    pack = shared_pack()
    with packed_attention(model):
        assert shares_beginnings(model, max(pack.row_lengths))
        loss = summed_loss(model, pack)
        loss.backward()
        per_row = row_losses(model, pack)
    found = gradients(model)
    total = sum(row.item() for row in alone)
    assert loss.item() / pack.num_trained_tokens == pytest.approx(total / pack.num_trained_tokens, abs=1e-5)
    assert cosine(found, expected) > 0.99999
    assert float((found - expected).norm() / expected.norm()) < 1e-4
    assert per_row == pytest.approx([row.item() for row in alone], rel=1e-5)


def test_a_bf16_base_shares_within_its_rounding(tmp_path: Path) -> None:
    model = with_adapter(load_tiny(tmp_path, "qwen3").to(torch.bfloat16))
    rows = make_kindred_rows()
    alone = [padded_loss(model, row) for row in rows]
    sum(alone).backward()  # type: ignore[union-attr]
    expected = gradients(model)
    with packed_attention(model):
        loss = summed_loss(model, shared_pack())
        loss.backward()
    assert loss.item() == pytest.approx(sum(row.item() for row in alone), rel=1e-3)
    assert cosine(gradients(model), expected) > 0.99


def test_heldout_losses_are_those_of_each_row(tmp_path: Path) -> None:
    model = with_adapter(load_tiny(tmp_path, "qwen2"))
    rows = make_kindred_rows()
    expected = [mean_loss(model, row) for row in rows]
    for limit in (4096, 70):
        assert heldout_losses(model, rows, limit) == pytest.approx(expected, rel=1e-5)


def test_beginnings_that_depend_on_the_row_s_length_are_not_shared(tmp_path: Path) -> None:
    name, settings = LENGTH_DEPENDENT
    model = load_tiny(tmp_path, name, **settings)
    assert shares_beginnings(model, 24) and not shares_beginnings(model, 25)
    with packed_attention(model), pytest.raises(CannotPackError):
        summed_loss(model, shared_pack())
    expected = [mean_loss(model, row) for row in make_kindred_rows()]
    assert heldout_losses(model, make_kindred_rows()) == pytest.approx(expected, rel=1e-5)


def test_dropout_is_seen(tmp_path: Path) -> None:
    base = load_tiny(tmp_path, "llama")
    assert not has_dropout(base)
    assert not has_dropout(with_adapter(base))
    assert has_dropout(with_adapter(load_tiny(tmp_path, "llama"), AdapterConfig(rank=4, alpha=8, dropout=0.1)))
