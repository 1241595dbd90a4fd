"""The last feed-forward part at predicting indices only: the same there, and left alone where it cannot be."""

from pathlib import Path

import pytest
import torch

from postil.data.packing import Pack
from postil.models.last_layer import last_layer_at
from postil.models.packed import causal_model, decoder_of, pack_tensors, packed_attention, packed_hidden_states
from tests.invariants.cases import CASES, NAMES
from tests.invariants.rows import load_tiny, make_rows


@pytest.mark.parametrize(("name", "settings"), CASES, ids=NAMES)
def test_states_are_right_where_they_are_asked_for(tmp_path: Path, name: str, settings: dict[str, object]) -> None:
    model = load_tiny(tmp_path, name, **settings)
    pack = pack_tensors(Pack(tuple(make_rows(3))))
    indices = pack.predicting.unique()
    sizes: list[int] = []
    mlp = decoder_of(causal_model(model)).layers[-1].mlp
    with torch.no_grad(), packed_attention(model):
        whole = packed_hidden_states(model, pack)
        mlp.register_forward_hook(lambda module, given, found: sizes.append(given[0].shape[1]))
        inner = next(m for m in mlp.modules() if isinstance(m, torch.nn.Linear))
        inner.register_forward_hook(lambda module, given, found: sizes.append(given[0].shape[1]))
        with last_layer_at(model, indices, pack.num_laid_tokens) as is_less:
            part = packed_hidden_states(model, pack)
    assert is_less
    if "longrope" not in str(settings):  # there, rows are computed one at a time, each of them whole
        assert sizes == [len(indices), pack.num_laid_tokens]
    assert torch.allclose(part[indices], whole[indices], atol=1e-5)


def test_most_places_are_not_picked_out(tmp_path: Path) -> None:
    model = load_tiny(tmp_path, "qwen2")
    with last_layer_at(model, torch.arange(10), 11) as is_less:
        assert not is_less
    with last_layer_at(model, torch.arange(0), 11) as is_less:
        assert not is_less
    with last_layer_at(model, torch.arange(5), 11) as is_less:
        assert is_less
    assert not any("forward" in m.__dict__ for m in model.modules())
