"""transformers' Trainer with PEFT, as recipes on the web have it: every row padded, all logits computed.

plain            pads to a fixed length, two rows at a time, as the recipe does
plain_dynamic    rows of a step sorted by length, padded to the longest of each four
"""

from pathlib import Path
from typing import Any

from benchmarks.arms.recording import Figures, Task, record_trainer, run_arm, same_optimizer
from benchmarks.workload import IGNORED, Row, read_steps

ROWS_AT_ONCE = {"plain": 2, "plain_dynamic": 4}


def train(task: Task, figures: Figures) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

    dtype = torch.bfloat16 if task.dtype == "bf16" else torch.float32
    base = AutoModelForCausalLM.from_pretrained(task.model_dir, dtype=dtype, local_files_only=True)
    model = PeftModel.from_pretrained(base, task.adapter_dir, is_trainable=True)
    rows_at_once = ROWS_AT_ONCE[task.arm]
    steps = read_steps(Path(task.rows_file))
    if task.arm == "plain_dynamic":
        steps = [sorted(step, key=lambda row: len(row.input_ids)) for step in steps]
    arguments = TrainingArguments(
        per_device_train_batch_size=rows_at_once,
        gradient_accumulation_steps=task.batch_rows // rows_at_once,
        train_sampling_strategy="sequential",
        **same_optimizer(task),
    )
    fixed = task.padded if task.arm == "plain" else None
    Trainer(
        model=model,
        args=arguments,
        train_dataset=[row for step in steps for row in step],
        data_collator=lambda rows: pad(rows, fixed),
        callbacks=[record_trainer(figures)],
    ).train()


def pad(rows: list[Row], length: int | None) -> dict[str, Any]:
    """To `length`, or to the longest of the rows."""
    import torch

    length = length or max(len(row.input_ids) for row in rows)
    missing = [length - len(row.input_ids) for row in rows]
    assert min(missing) >= 0, "a row is longer than the fixed length"
    columns = {
        "input_ids": [row.input_ids + [0] * n for row, n in zip(rows, missing, strict=True)],
        "attention_mask": [[1] * len(row.input_ids) + [0] * n for row, n in zip(rows, missing, strict=True)],
        "labels": [row.labels + [IGNORED] * n for row, n in zip(rows, missing, strict=True)],
    }
    return {name: torch.tensor(column) for name, column in columns.items()}


if __name__ == "__main__":
    raise SystemExit(run_arm(train))
