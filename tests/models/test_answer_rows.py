"""Rows that are computed together give the tokens that each gives alone."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from postil.config import ModelConfig
from postil.models.answer_rows import AnswerRow, advance, computes_by_row, prefill
from postil.models.decoding import Sampling, decode
from postil.models.devices import probe_devices
from postil.models.loading import load_base
from postil.testing.tiny import ARCHITECTURES, make_tiny_model

PROMPTS = [[5, 900, 77], list(range(40, 75)), [9000, 12], list(range(300, 311))]
STEPS = 30


def model_of(directory: Path, architecture: str, **settings: object) -> PreTrainedModel:
    path = make_tiny_model(directory / architecture, architecture, **settings)
    return load_base(ModelConfig(base=str(path), device="cpu", dtype="fp32")).model


def answers_alone(model: PreTrainedModel, prompts: Sequence[Sequence[int]], steps: int) -> list[list[int]]:
    sampling = Sampling(max_new_tokens=steps)
    found = []
    for prompt in prompts:
        tokens = [step[0] for step in decode(model, [prompt], stop_ids=(), pad_id=0, sampling=sampling)]
        found.append([t for t in tokens if t is not None])
    return found


def begin(model: PreTrainedModel, prompt: Sequence[int], part: int = 10_000) -> tuple[AnswerRow, list[int]]:
    """A row with its prompt read in parts, and its first token."""
    row = AnswerRow()
    for at in range(0, len(prompt), part):
        logits = prefill(model, row, prompt[at : at + part])
    return row, [int(logits.argmax())]


def answers_together(model: PreTrainedModel, prompts: Sequence[Sequence[int]], steps: int) -> list[list[int]]:
    """Each row joins two steps after the one before it, and leaves when it is done."""
    waiting, running, done = list(enumerate(prompts)), {}, {}
    step = 0
    while waiting or running:
        if waiting and step % 2 == 0:
            i, prompt = waiting.pop(0)
            running[i] = begin(model, prompt)
        order = sorted(running)
        logits = advance(model, [running[i][0] for i in order], [running[i][1][-1] for i in order])
        for i, token in zip(order, logits.argmax(-1).tolist(), strict=True):
            running[i][1].append(token)
            if len(running[i][1]) == steps:
                done[i] = running.pop(i)[1]
        step += 1
    return [done[i] for i in sorted(done)]


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_rows_that_join_and_leave_are_what_they_are_alone(tmp_path: Path, architecture: str) -> None:
    model = model_of(tmp_path, architecture)
    assert computes_by_row(model)
    assert answers_together(model, PROMPTS, STEPS) == answers_alone(model, PROMPTS, STEPS)


@pytest.mark.parametrize("architecture", ["gemma2", "falcon_mamba"])
def test_other_architectures_advance_a_row_at_a_time(tmp_path: Path, architecture: str) -> None:
    settings = {"num_hidden_layers": 2, "state_size": 8} if architecture == "falcon_mamba" else {}
    model = model_of(tmp_path, architecture, **settings)
    assert not computes_by_row(model)
    assert answers_together(model, PROMPTS, 8) == answers_alone(model, PROMPTS, 8)


def test_a_row_outgrows_its_room(tmp_path: Path) -> None:
    model = model_of(tmp_path, "qwen3")
    prompts = [PROMPTS[0], PROMPTS[1]]
    assert answers_together(model, prompts, 300) == answers_alone(model, prompts, 300)


def test_a_prompt_may_be_read_in_parts(tmp_path: Path) -> None:
    model = model_of(tmp_path, "mistral")  # its window is shorter than the prompt
    prompt = list(range(100, 160))
    row, first = begin(model, prompt, part=7)
    tokens = list(first)
    for _ in range(STEPS - 1):
        tokens.append(int(advance(model, [row], tokens[-1:]).argmax()))
    assert tokens == answers_alone(model, [prompt], STEPS)[0]
    assert row.num_tokens == len(prompt) + STEPS - 1


def test_the_starter_gives_the_same_bits_in_any_company() -> None:
    """Where the CPU computes bf16 its layers treat every row alike, and rows attend alone: no bit differs."""
    model = load_base(ModelConfig(base="starter", device="cpu", dtype="bf16")).model
    alone, _ = begin(model, PROMPTS[0])
    expected = advance(model, [alone], [17])[0]
    company = [begin(model, prompt)[0] for prompt in PROMPTS]
    found = advance(model, company, [17, 4, 4, 4])[0]
    assert int(found.argmax()) == int(expected.argmax())
    assert torch.equal(found, expected) or not probe_devices().cpu_bf16
