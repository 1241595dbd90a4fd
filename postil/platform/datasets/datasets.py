"""Data sets: what an account has uploaded, and what a job trains on.

    uploading ──> validating ──┬──> ready             every row can train
        uploads.py     │       ├──> needs_attention   some rows cannot, or none
                       │       └──> unreadable        the file, or the last edit of it, cannot be read
                       └── dataset_checks.py: also after every change of dataset_edits.py, which makes a new version

A version is the original and all edits up to it. Versions are numbered, kept as long as the data set, and never change
once they are checked: a job names the one that it trains on.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.errors import ConflictError, DataError
from postil.platform.datasets.options import DatasetOptions
from postil.platform.datasets.views import checked_version, found_kind, get_version, own_dataset
from postil.platform.service import Service
from postil.platform.store.storage import LocalStorage
from postil.platform.store.tables import Dataset, Job

ENDED_JOBS = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """What a job trains on.

    Args:
        file: the original, not to be changed.
        overlay: the edits over it; None where there are none.
        file_name: how the user calls the file; reports and places go by it.
        kind: what the data are for.
        rows: rows that can train.
        row_tokens: of each of them in file order, by the starter's tokenizer.
        sha256: of the original.
    """

    dataset_id: str
    version: int
    file: Path
    overlay: Path | None
    file_name: str
    options: DatasetOptions
    kind: str | None
    rows: int
    row_tokens: tuple[int, ...]
    sha256: str
    summary: Mapping[str, Any]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of a run that reads it, dotted; rows with errors, which the report names, are left out."""
        return {
            "data.file": str(self.file),
            "data.name": self.file_name,
            "data.overlay": None if self.overlay is None else str(self.overlay),
            "data.encoding": self.options.encoding,
            "data.map": dict(self.options.columns),
            "data.single_turn": self.options.single_turn,
            "data.drop_bad": True,
        }


def delete_dataset(service: Service, account_id: str, dataset_id: str) -> int:
    """Deletes the original, all versions and what was made of them; returns the bytes freed on the disk.

    Raises:
        MissingInputError: the account has none of this identifier.
        ConflictError: a job waits for it or trains on it.
    """
    with service.database.writing() as session:
        row = own_dataset(session, account_id, dataset_id)
        busy = select(Job.id).where(Job.dataset_id == dataset_id, Job.state.not_in(ENDED_JOBS)).limit(1)
        if job_id := session.scalar(busy):
            raise ConflictError("platform.datasets.in_use", name=row.name, job=job_id)
        # Seen by nobody from now on; where this process dies before the files are gone, `tend_checks` goes on.
        row.state, row.updated_at = "deleting", service.now()
    return finish_deletion(service, dataset_id)


def finish_deletion(service: Service, dataset_id: str) -> int:
    """Deletes the files, then the rows, of a data set that is being deleted; returns the bytes freed."""
    freed = sum(store.delete(storage_prefix(dataset_id)) for store in (service.storage, _cache(service)))
    freed += delete_pieces(service, dataset_id)
    with service.database.writing() as session:
        row = session.get(Dataset, dataset_id)
        if row is not None and row.state == "deleting":
            session.delete(row)
    return freed


def training_source(
    session: Session, service: Service, account_id: str, dataset_id: str, number: int | None = None
) -> TrainingSource:
    """What a job of this version trains on; None takes the newest.

    Raises:
        MissingInputError: the account has no such data set, or that no such version.
        TryAgainError: the version is still being checked.
        DataError: not one of its rows can train, or it cannot be read.
    """
    row = own_dataset(session, account_id, dataset_id)
    version = get_version(session, row, number)
    checked = checked_version(row, version)
    if not version.rows:
        raise DataError("platform.datasets.nothing_to_train", name=row.name)
    key = str(version.report_key)
    tokens = json.loads(b"".join(service.storage.open(f"{key}/tokens.json")))
    overlay = None if not version.num_edits else _real_file(service, f"{key}/overlay.json")
    options = DatasetOptions.from_dict(version.options)
    return TrainingSource(
        dataset_id=dataset_id,
        version=version.number,
        file=_real_file(service, row.original_key),
        overlay=overlay,
        file_name=row.file_name,
        options=options,
        kind=options.kind or found_kind(checked),
        rows=version.rows,
        row_tokens=tuple(tokens),
        sha256=row.sha256,
        summary=checked,
    )


def storage_prefix(dataset_id: str) -> str:
    """Where everything of a data set lies in the storage."""
    return f"datasets/{dataset_id}"


def pieces_path(service: Service, dataset_id: str) -> Path:
    """What has come of an upload in pieces."""
    return service.settings.data_dir / "uploads" / f"{dataset_id}.part"


def delete_pieces(service: Service, dataset_id: str) -> int:
    """Deletes what has come of an upload; returns the bytes freed."""
    part = pieces_path(service, dataset_id)
    freed = part.stat().st_size if part.exists() else 0
    for path in (part, part.with_suffix(".lock")):
        path.unlink(missing_ok=True)
    return freed


def _real_file(service: Service, key: str) -> Path:
    """An object as a file that stays: itself, or a copy in the data folder where the storage is elsewhere."""
    store = service.storage
    if not isinstance(store, LocalStorage):
        store = _cache(service)
        if not store.exists(key):
            store.write(key, service.storage.open(key))
    with store.local_path(key) as path:
        return path


def _cache(service: Service) -> LocalStorage:
    return LocalStorage(service.settings.data_dir / "cache")
