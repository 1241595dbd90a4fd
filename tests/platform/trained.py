"""A real run on a tiny model, and jobs of an account that stand where a test wants them."""

import csv
import shutil
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from postil.config import RunConfig
from postil.platform.adapters.adapters import publish
from postil.platform.jobs.jobs import run_folder
from postil.platform.jobs.progress_reading import RunReader
from postil.platform.service import Service, utc_now
from postil.recipes.lora_sft import train_lora
from postil.testing.tiny import make_tiny_model
from tests.platform.rows import new_job

NUM_ROWS, NUM_STEPS = 40, 12
SETTINGS = {
    "training.max_steps": NUM_STEPS,
    "training.batch_rows": 8,
    "training.log_every": 1,
    "training.learning_rate": 0.02,
    "evaluation.max_new_tokens": 4,
    "model.device": "cpu",
}


@dataclass(frozen=True)
class Trained:
    """What a run has left.

    Args:
        progress: as the supervisor would tell it at the end.
    """

    folder: Path
    progress: dict[str, Any]


def train_tiny(folder: Path) -> Trained:
    """Trains a tiny model on forty questions and answers."""
    questions = folder / "questions.csv"
    with questions.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer"])
        writer.writerows([f"What is item {i}?", f"Item {i} costs {i * 3} yuan."] for i in range(NUM_ROWS))
    base = make_tiny_model(folder / "base", "qwen3")
    named = {"data.file": str(questions), "data.name": "questions.csv", "model.base": str(base)}
    train_lora(RunConfig().replace({**named, "output.dir": str(folder / "run"), **SETTINGS}))
    reader = RunReader(folder / "run")
    reader.read()
    return Trained(folder / "run", reader.progress(utc_now()))


def add_job(service: Service, account_id: str, **entries: Any) -> str:
    """A job that stands as it is told; its identifier. Later ones are newer."""
    with service.database.writing() as session:
        job = new_job(service, account_id, **{"queued_at": service.now(), **entries})
        session.add(job)
        return job.id


def add_result(service: Service, account_id: str, trained: Trained, **entries: Any) -> tuple[str, str]:
    """A job that has succeeded, with its run and its adapter; both identifiers."""
    now = service.now()
    with service.database.writing() as session:
        values = {"state": "succeeded", "attempt": 1, "progress": trained.progress, "ended_at": now}
        job = new_job(service, account_id, **{**values, "started_at": now - timedelta(seconds=9), **entries})
        session.add(job)
        session.flush()
        folder = run_folder(service, job.id)
        folder.parent.mkdir(exist_ok=True)
        shutil.copytree(trained.folder, folder)
        return job.id, publish(session, service, job, folder / "adapter")
