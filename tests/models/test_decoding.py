"""The loop against the plain way: the whole text through the model for every token, no cache, no padding."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from postil.errors import UnavailableError, UsageError
from postil.models.decoding import Sampling, decode
from postil.testing.tiny import ARCHITECTURES, make_tiny_model

PROMPTS = [[5, 900, 31], list(range(40, 75)), [7], [300, 301, 302, 303, 9]]


def load(folder: Path) -> nn.Module:
    model: nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    return load(make_tiny_model(tmp_path_factory.mktemp("qwen"), "qwen3"))


def by_hand(model: nn.Module, prompt: Sequence[int], steps: int, stops: Sequence[int] = ()) -> list[int]:
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(steps):
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
            if ids[-1] in stops:
                break
    return ids[len(prompt) :]


def rows_of(steps: list[list[int | None]]) -> list[list[int]]:
    return [[t for t in row if t is not None] for row in zip(*steps, strict=True)]


def run(model: nn.Module, prompts: Sequence[Sequence[int]], sampling: Sampling, **more: object) -> list[list[int]]:
    settings = {"stop_ids": (), "pad_id": 0} | more
    return rows_of(list(decode(model, prompts, sampling=sampling, **settings)))  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_padded_batch_equals_each_row_computed_whole(architecture: str, tmp_path: Path) -> None:
    model = load(make_tiny_model(tmp_path, architecture))
    expected = [by_hand(model, p, 12) for p in PROMPTS]
    assert run(model, PROMPTS, Sampling(max_new_tokens=12)) == expected
    assert run(model, PROMPTS[:1], Sampling(max_new_tokens=12)) == expected[:1]


def test_rows_end_one_by_one_and_the_others_go_on(qwen: nn.Module) -> None:
    """Stop tokens are taken from what the rows would say, so that they end at different steps and the batch shrinks."""
    free = [by_hand(qwen, p, 12) for p in PROMPTS]
    stops = {free[0][1], free[2][4], free[3][7]}
    expected = [by_hand(qwen, p, 12, sorted(stops)) for p in PROMPTS]
    assert len({len(e) for e in expected}) >= 3
    steps = list(decode(qwen, PROMPTS, stop_ids=stops, pad_id=0, sampling=Sampling(max_new_tokens=12)))
    assert rows_of(steps) == expected
    assert len(steps) == max(map(len, expected))
    for row in zip(*steps, strict=True):  # once silent, always silent
        silent = [t is None for t in row]
        assert silent == sorted(silent)


def test_the_caller_can_end_a_row(qwen: nn.Module) -> None:
    rows = run(qwen, PROMPTS, Sampling(max_new_tokens=6), is_over=lambda row, token: row != 1)
    assert [len(r) for r in rows] == [1, 6, 1, 1]


def test_the_same_seed_draws_the_same_answer_alone_and_in_a_batch(qwen: nn.Module) -> None:
    sampling = Sampling(temperature=0.9, top_p=0.95, max_new_tokens=10, seed=11)
    torch.manual_seed(1)
    batch = run(qwen, PROMPTS, sampling)
    torch.manual_seed(2)  # the global generator must not matter
    assert [run(qwen, [p], sampling)[0] for p in PROMPTS] == batch
    other = Sampling(temperature=0.9, top_p=0.95, max_new_tokens=10, seed=12)
    assert run(qwen, PROMPTS, other) != batch


def test_draws_follow_the_distribution_inside_top_p() -> None:
    """A model of one fixed distribution: frequencies come out right, and what lies beyond top_p never comes."""
    probability = torch.tensor([0.02, 0.5, 0.3, 0.08, 0.1])
    from postil.models.decoding import _choose, make_draw

    draws, count = make_draw(5), 4000
    logits = probability.log()[None]
    sampling = Sampling(temperature=1.0, top_p=0.85)
    seen = torch.bincount(torch.tensor([_choose(logits, sampling, [draws])[0] for _ in range(count)]), minlength=5)
    assert (seen > 0).tolist() == [False, True, True, False, True]  # 0.5 + 0.3 < 0.85 <= 0.5 + 0.3 + 0.1
    assert seen[1] / count == pytest.approx(0.5 / 0.9, abs=0.03)
    assert seen[2] / count == pytest.approx(0.3 / 0.9, abs=0.03)


def test_a_tiny_top_p_is_greedy(qwen: nn.Module) -> None:
    greedy = run(qwen, PROMPTS, Sampling(max_new_tokens=5))
    assert run(qwen, PROMPTS, Sampling(temperature=1.0, top_p=1e-6, max_new_tokens=5, seed=0)) == greedy


def test_the_context_ends_the_answer(tmp_path: Path) -> None:
    model = load(make_tiny_model(tmp_path, "llama", max_position_embeddings=16))
    rows = run(model, [list(range(3, 16)), [4, 5]], Sampling(max_new_tokens=50))
    assert [len(r) for r in rows] == [3, 14]
    with pytest.raises(UsageError, match="16"):
        run(model, [list(range(20))], Sampling())
    with pytest.raises(UsageError, match="empty"):
        run(model, [[]], Sampling())


def test_learned_positions_survive_silent_rows(tmp_path: Path) -> None:
    """GPT-2 has a table of positions: a silent row must not walk off its end."""
    model = load(make_tiny_model(tmp_path, "gpt2", n_embd=32, n_layer=1, n_head=2, n_positions=12, **GPT2))
    rows = run(model, [list(range(3, 13)), [4, 5]], Sampling(max_new_tokens=50))
    assert [len(r) for r in rows] == [2, 10]
    assert rows[1] == by_hand(model, [4, 5], 10)


GPT2 = {"max_position_embeddings": 12, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_dropout_is_off_and_modes_come_back(tmp_path: Path) -> None:
    model = load(make_tiny_model(tmp_path, "qwen2", attention_dropout=0.5))
    calm = run(model, PROMPTS, Sampling(max_new_tokens=6))
    layer = model.get_submodule("model.layers.0")
    layer.train()
    assert run(model, PROMPTS, Sampling(max_new_tokens=6)) == calm
    assert layer.training and not model.training


def test_nan_is_said_not_sampled(tmp_path: Path) -> None:
    model = load(make_tiny_model(tmp_path, "llama"))
    with torch.no_grad():
        model.get_submodule("model.norm").weight.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(UnavailableError, match="NaN"):
        run(model, PROMPTS, Sampling())


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"max_new_tokens": 0}])
def test_bad_sampling_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Sampling(**wrong)  # type: ignore[arg-type]


def test_nothing_to_do(qwen: nn.Module) -> None:
    assert list(decode(qwen, [], stop_ids=(), pad_id=0)) == []
