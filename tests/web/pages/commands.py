"""Runs what a page shows as code, while data sets are checked as the supervisor would."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select

from postil.platform.datasets.checks import check_dataset
from postil.platform.service import Service
from postil.platform.store.tables import Dataset

_PATIENCE_SECONDS = 120


def run_while_checking(service: Service, command: Sequence[str], key: str, folder: Path) -> str:
    """What the command writes; it must end well."""
    environment = {**os.environ, "POSTIL_API_KEY": key, "POSTIL_LANG": "en"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes) as process:  # type: ignore[call-overload]
        for _ in range(_PATIENCE_SECONDS * 5):
            try:
                told, complaints = process.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                check_waiting(service)
        else:
            process.kill()
            raise AssertionError("the command goes on and on")
    assert process.returncode == 0, complaints
    return str(told)


def check_waiting(service: Service) -> None:
    """Checks every data set that waits for it."""
    with service.database.reading() as session:
        waiting = session.scalars(select(Dataset.id).where(Dataset.state == "validating")).all()
    for dataset_id in waiting:
        check_dataset(service, dataset_id)
