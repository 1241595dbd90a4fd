"""TRL's SFTTrainer.

trl          its defaults: base in fp32 under bf16 autocast, checkpointing, eight rows at a time
trl_tuned    base in the precision that is measured, no checkpointing, rows laid end to end without padding
"""

from pathlib import Path

from benchmarks.arms.recording import Figures, Task, record_trainer, run_arm, same_optimizer
from benchmarks.workload import read_steps

DEFAULT_ROWS, TUNED_ROWS = 8, 4


def train(task: Task, figures: Figures) -> None:
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer
    from trl.trainer.utils import create_model_from_path

    tuned = task.arm == "trl_tuned"
    dtype = {"dtype": "bfloat16" if task.dtype == "bf16" else "float32"} if tuned else {}
    base = create_model_from_path(task.model_dir, **dtype)
    model = PeftModel.from_pretrained(base, task.adapter_dir, is_trainable=True)
    rows_at_once = TUNED_ROWS if tuned else DEFAULT_ROWS
    settings = {"gradient_checkpointing": False, "padding_free": True, "max_length": None} if tuned else {}
    if tuned or task.dtype == "fp32":  # a base in bf16 needs no autocast; where fp32 is measured, all of it is fp32
        settings["bf16"] = False
    config = SFTConfig(
        per_device_train_batch_size=rows_at_once,
        gradient_accumulation_steps=task.batch_rows // rows_at_once,
        train_sampling_strategy="sequential",
        **settings,
        **same_optimizer(task),
    )
    rows = [row for step in read_steps(Path(task.rows_file)) for row in step]
    SFTTrainer(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(task.model_dir, local_files_only=True),
        callbacks=[record_trainer(figures)],
    ).train()


if __name__ == "__main__":
    raise SystemExit(run_arm(train))
