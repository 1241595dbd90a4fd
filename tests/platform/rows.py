"""Rows that tests of the bill and of adapters need around them, written straight into the tables."""

import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from postil.data.checks.overlay import Overlay
from postil.data.examination import Wanted, examine
from postil.data.options import ReadOptions
from postil.models.base_folder import STARTER
from postil.platform.ids import new_id
from postil.platform.service import Service
from postil.platform.store.tables import Account, Dataset, DatasetVersion, Job
from tests.platform.dataset_lives import pairs


def add_account(service: Service, name: str = "mei", **entries: Any) -> str:
    """An account that nobody can sign in to; returns its id."""
    account_id = new_id("acc")
    with service.database.writing() as session:
        row = Account(
            id=account_id, name=name, name_key=name.casefold(), password_hash="!", role="user", created_at=service.now()
        )
        for key, value in entries.items():
            setattr(row, key, value)
        session.add(row)
    return account_id


def new_job(service: Service, account_id: str, **entries: Any) -> Job:
    """A job's row that is in no database yet."""
    now = service.now()
    values: dict[str, Any] = {
        "id": new_id("job"),
        "account_id": account_id,
        "name": "shop",
        "dataset_version": 1,
        "base": "starter",
        "spec": {},
        "state": "queued",
        "progress": {},
        "created_at": now,
        "updated_at": now,
    }
    return Job(**values | entries)


@cache
def _examined(num_rows: int) -> tuple[dict[str, Any], list[int]]:
    """What a check finds in `pairs(num_rows)`, without the child."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "faq.csv"
        file.write_bytes(pairs(num_rows))
        tokens: list[int] = []
        summary: dict[str, Any] = {}
        for part in examine(file, ReadOptions(), "faq.csv", Wanted(Overlay(), (), None, STARTER, 60.0)):
            tokens += part.get("tokens", ())
            summary |= part.get("summary", {})
    return summary, tokens


def add_dataset(service: Service, account_id: str, num_rows: int = 60) -> str:
    """A data set that has been checked, put there without an upload; returns its id."""
    summary, tokens = _examined(num_rows)
    dataset_id, data = new_id("ds"), pairs(num_rows)
    stored = service.storage.write(f"datasets/{dataset_id}/original", [data])
    service.storage.write(f"datasets/{dataset_id}/v1/tokens.json", [json.dumps(tokens).encode()])
    now = service.now()
    own: dict[str, Any] = {"account_id": account_id, "options": {}, "created_at": now}
    dataset = Dataset(id=dataset_id, name="faq", file_name="faq.csv", original_key=stored.key, **own)
    dataset.sha256, dataset.num_bytes = stored.sha256, stored.num_bytes
    dataset.state, dataset.current_version, dataset.updated_at = "ready", 1, now
    version = DatasetVersion(dataset_id=dataset_id, number=1, what="upload", overlay={"edits": [], "fixes": []}, **own)
    version.summary, version.report_key, version.rows = summary, f"datasets/{dataset_id}/v1", num_rows
    with service.database.writing() as session:
        session.add(dataset)
        session.flush()
        session.add(version)
    return dataset_id
