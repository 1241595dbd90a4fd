"""The road on every architecture in the tests, on a real checkpoint, and on a base without a chat template."""

import csv
from pathlib import Path

import pytest

from postil.config import RunConfig
from postil.models.tuned import load_tuned
from postil.recipes.lora_sft import train_lora
from postil.testing.tiny import ARCHITECTURES, make_tiny_model


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer"])
        writer.writerows([f"Item {i}?", f"It costs {i} yuan."] for i in range(32))
    return path


def train_on(base: Path, questions: Path, out: Path) -> float:
    """Two steps; returns how far the held-out loss came down."""
    settings = {
        "data.file": str(questions),
        "model.base": str(base),
        "output.dir": str(out),
        "training.max_steps": 4,
        "training.learning_rate": 5e-3,
        "training.warmup_steps": 0,
        "evaluation.max_new_tokens": 4,
    }
    result = train_lora(RunConfig().replace(settings))
    assert load_tuned(result.adapter_dir).manifest.metrics["steps"] == 4
    assert result.heldout_loss_base is not None and result.heldout_loss_tuned is not None
    return result.heldout_loss_base - result.heldout_loss_tuned


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gemma2", "phi3"])
def test_tiny_bases_train_and_answer(architecture: str, questions: Path, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", architecture)
    assert train_on(base, questions, tmp_path / "run") > 0


def test_a_base_without_template_gets_the_instruction_form(questions: Path, tmp_path: Path) -> None:
    base = make_tiny_model(tmp_path / "base", "llama")
    (base / "chat_template.jinja").unlink()
    assert train_on(base, questions, tmp_path / "run") > 0
    chat_format = load_tuned(tmp_path / "run" / "adapter").chat_format
    assert chat_format.is_built_in and "###" in chat_format.stop_strings


def test_a_real_checkpoint_trains(questions: Path, tmp_path: Path, shared: Path) -> None:
    assert train_on(shared / "models" / "stories260k-llama2c", questions, tmp_path / "run") > 0
