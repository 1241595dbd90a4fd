"""Rows that tests of the bill and of adapters need around them, written straight into the tables."""

from typing import Any

from postil.platform.ids import new_id
from postil.platform.service import Service
from postil.platform.tables import Account, Job


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
