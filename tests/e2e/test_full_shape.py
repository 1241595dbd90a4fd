"""The full shape of Qwen2.5-0.5B with its real tokenizer and random weights: five steps. Minutes and gigabytes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from postil.config import RunConfig
from postil.events import AnyEvent, StepDone
from postil.recipes.lora_sft import train_lora


@pytest.mark.slow
def test_five_steps_on_the_full_shape(tmp_path: Path, shared: Path) -> None:
    base, tokenizer = tmp_path / "base", shared / "tokenizers" / "qwen2.5-0.5b"
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(tokenizer)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(base)
    for path in tokenizer.iterdir():
        if path.name != "config.json":
            shutil.copy(path, base / path.name)
    settings = {
        "data.file": str(shared / "data" / "o12_customer_service_messages.jsonl"),
        "data.heldout_share": 0,
        "model.base": str(base),
        "output.dir": str(tmp_path / "run"),
        "training.max_steps": 5,
        "training.batch_rows": 4,
        "training.log_every": 1,
    }
    events: list[AnyEvent] = []
    result = train_lora(RunConfig().replace(settings), events.append)
    losses = [e.loss for e in events if isinstance(e, StepDone)]
    assert len(losses) == 5 and losses[-1] < losses[0]
    adapter = json.loads((result.adapter_dir / "adapter_config.json").read_text("utf-8"))
    assert adapter["r"] == 16 and result.verdict == "cannot_tell"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("o12_customer_service_messages.jsonl", "better"),
        ("o17_workplace_anxiety_qa.xlsx", "better"),
        ("o34_pirate_messages.jsonl", "cannot_tell"),
    ],
)
def test_verdicts_on_real_rows(name: str, verdict: str, tmp_path: Path, shared: Path) -> None:
    settings = {"data.file": str(shared / "data" / name), "output.dir": str(tmp_path / "run")}
    assert train_lora(RunConfig().replace(settings)).verdict == verdict
