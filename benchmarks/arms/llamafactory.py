"""LLaMA-Factory, fed with messages and left to its own template, which gives the same tokens.

llamafactory           its defaults: padded to the longest of eight rows, checkpointing
llamafactory_packed    neat packing without checkpointing; four packs a step, as short as its packing makes them
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.arms.recording import Figures, Task, record_trainer, run_arm, same_optimizer
from benchmarks.workload import Row, read_steps

DEFAULT_ROWS, PACKS = 8, 4
_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


def train(task: Task, figures: Figures) -> None:
    from llamafactory.train.tuner import run_exp

    steps = read_steps(Path(task.rows_file))
    folder = Path(task.out_dir) / "llamafactory"
    write_rows(steps, folder)
    settings: dict[str, Any] = {
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "model_name_or_path": task.model_dir,
        "adapter_name_or_path": task.adapter_dir,
        "dataset": "rows",
        "dataset_dir": str(folder),
        "template": "qwen",
        "default_system": "",
        "disable_shuffling": True,
        "overwrite_cache": True,
        "bf16": task.dtype == "bf16",
        "preprocessing_batch_size": task.batch_rows,
        "per_device_train_batch_size": DEFAULT_ROWS,
        "gradient_accumulation_steps": task.batch_rows // DEFAULT_ROWS,
    }
    if task.arm == "llamafactory_packed":
        settings |= {
            "neat_packing": True,
            "packing": True,
            "disable_gradient_checkpointing": True,
            "cutoff_len": shortest_packs(steps),
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": PACKS,
        }
    run_exp(settings | same_optimizer(task), callbacks=[record_trainer(figures)])


def write_rows(steps: list[list[Row]], folder: Path) -> None:
    """In its own form, in order."""
    folder.mkdir(exist_ok=True)
    rows = [{"messages": row.messages} for step in steps for row in step]
    (folder / "rows.json").write_text(json.dumps(rows), "utf-8")
    info = {
        "file_name": "rows.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": _TAGS | {"system_tag": "system"},
    }
    (folder / "dataset_info.json").write_text(json.dumps({"rows": info}), "utf-8")


def shortest_packs(steps: list[list[Row]]) -> int:
    """The least multiple of eight at which its own packing makes as many packs of every step; it pads to that length.

    It fills one token less than it is told.
    """
    from llamafactory.data.processor.processor_utils import greedy_knapsack

    lengths = [[len(row.input_ids) for row in step] for step in steps]
    length = max(sum(step) for step in lengths) // PACKS // 8 * 8
    while any(len(greedy_knapsack(list(step), length - 1)) != PACKS for step in lengths):
        length += 8
        assert length <= sum(lengths[0]), "no length makes the same number of packs of every step"
    return length


if __name__ == "__main__":
    raise SystemExit(run_arm(train))
