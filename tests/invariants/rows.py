"""Rows, models and gradients that the invariants compare."""

import random
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from postil.config import AdapterConfig, TrainingConfig
from postil.data.examples import IGNORED, Example
from postil.models.adapter import add_adapter, trainable_parameters
from postil.problems import Place
from postil.testing.tiny import make_tiny_model

ADAPTER = AdapterConfig(rank=4, alpha=8)


def make_rows(count: int, seed: int = 0, longest: int = 48) -> list[Example]:
    """Random rows; the first half of each is prompt, and a stretch in the middle of the answer is not trained."""
    source = random.Random(seed)
    rows = []
    for number in range(count):
        ids = [source.randrange(3, 10000) for _ in range(source.randrange(6, longest))]
        labels = [token if i >= len(ids) // 2 else IGNORED for i, token in enumerate(ids)]
        labels[3 * len(ids) // 4] = IGNORED
        rows.append(Example(Place("rows.jsonl", number + 1), tuple(ids), tuple(labels)))
    return rows


def make_kindred_rows(seed: int = 0) -> list[Example]:
    """Rows that begin alike in several ways.

    Two system prompts; conversations that go on where others stop, the answer before trained in both, in one or in
    neither; one row twice, one that is another's beginning, and one like none.
    """
    source = random.Random(seed)
    first, second, history, answer = (_tokens(source, n) for n in (33, 21, 18, 17))
    rows = [
        (first, _tokens(source, 12)),
        (first + history, answer),
        (second, _tokens(source, 9)),
        (first + history + answer, _tokens(source, 8)),
        (first + history, answer + _tokens(source, 7)),
        (first + history, answer),
        (first[:25], first[25:]),
        (second, _tokens(source, 40)),
        ((), _tokens(source, 30)),
        (first + history, _tokens(source, 5)),
    ]
    return [
        Example(Place("rows.jsonl", number + 1), (*prompt, *rest, 2), (*[IGNORED] * len(prompt), *rest, IGNORED))
        for number, (prompt, rest) in enumerate(rows)
    ]


def _tokens(source: random.Random, count: int) -> tuple[int, ...]:
    return tuple(source.randrange(3, 10000) for _ in range(count))


def load_tiny(directory: Path, architecture: str, **settings: object) -> PreTrainedModel:
    """A random model of an architecture, frozen, in fp32."""
    make_tiny_model(directory, architecture, **settings)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    return model.requires_grad_(False).eval()


def with_adapter(base: PreTrainedModel, config: AdapterConfig = ADAPTER, seed: int = 1) -> nn.Module:
    """An adapter whose B matrices are not zero, so that every parameter has a gradient."""
    model = add_adapter(base, config, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def gradients(model: nn.Module) -> Tensor:
    """All gradients as one vector; they are cleared."""
    parameters = trainable_parameters(model).values()
    vector = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    for parameter in parameters:
        parameter.grad = None
    return vector.double()


def cosine(a: Tensor, b: Tensor) -> float:
    """Of the angle between two vectors."""
    return float(a @ b / (a.norm() * b.norm()))


def padded_loss(model: nn.Module, row: Example) -> Tensor:
    """Summed loss of one row by transformers' own forward pass and full logits."""
    logits = model(input_ids=torch.tensor([row.input_ids])).logits[0].float()
    targets = torch.tensor(row.labels[1:])
    return nn.functional.cross_entropy(logits[:-1], targets, ignore_index=IGNORED, reduction="sum")


def settings(**changes: object) -> TrainingConfig:
    """Resolved settings of a short run."""
    values: dict[str, object] = {"epochs": 2.0, "batch_rows": 4, "learning_rate": 1e-2, "warmup_steps": 2}
    return TrainingConfig.model_validate(
        values | {"max_tokens_per_pack": 80, "log_every": 1, "save_every": 2} | changes
    )
