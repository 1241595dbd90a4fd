"""What an account sees of adapters, and which it may use or change: ownership is part of every query here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, or_, select
from sqlalchemy.orm import Session

from postil.errors import MissingInputError
from postil.platform.adapters.names import model_name
from postil.platform.ids import is_id
from postil.platform.store.tables import Account, Adapter, AdapterAlias, AdapterShare


@dataclass(frozen=True, slots=True)
class AdapterView:
    """An adapter as one account sees it.

    Args:
        owner: name of the account that it belongs to.
        is_own: False where it is shared with this account: to be used, not changed.
        model_name: what requests to /v1 call it.
        verdict: "better", "same", "worse" or "cannot_tell".
        metrics: the numbers of its manifest.
        lineage: job, dataset, version, sha256 of the data, settings; of a shared one only the settings.
        shared_with: names of accounts; empty where it is not one's own.
        aliases: of this account that point at it.
    """

    id: str
    name: str
    owner: str
    is_own: bool
    model_name: str
    base: str
    job_id: str | None
    verdict: str
    num_bytes: int
    metrics: Mapping[str, Any]
    lineage: Mapping[str, Any]
    shared_with: tuple[str, ...]
    aliases: tuple[str, ...]
    created_at: datetime
    used_at: datetime | None


def may_use(account_id: str) -> ColumnElement[bool]:
    """The condition that an adapter is the account's own or shared with it."""
    shared = exists().where(AdapterShare.adapter_id == Adapter.id, AdapterShare.account_id == account_id)
    return or_(Adapter.account_id == account_id, shared)


def usable_row(session: Session, account_id: str, adapter_id: str) -> Adapter:
    """The row of an adapter that the account may use.

    Raises:
        MissingInputError: there is none, or it is somebody else's.
    """
    return _row(session, adapter_id, may_use(account_id))


def own_row(session: Session, account_id: str, adapter_id: str) -> Adapter:
    """The row of an adapter that the account may change; errors as `usable_row`."""
    return _row(session, adapter_id, Adapter.account_id == account_id)


def _row(session: Session, adapter_id: str, condition: ColumnElement[bool]) -> Adapter:
    query = select(Adapter).where(Adapter.id == adapter_id, condition)
    row = session.scalar(query) if is_id(adapter_id, "ad") else None
    if row is None:
        raise MissingInputError("platform.adapters.missing")
    return row


def views(session: Session, account_id: str, rows: Sequence[Adapter]) -> tuple[AdapterView, ...]:
    """What the account sees of some adapters, in their order."""
    ids = [row.id for row in rows]
    owners = dict(_pairs(session, select(Account.id, Account.name).where(Account.id.in_({r.account_id for r in rows}))))
    shares = _grouped(
        session,
        select(AdapterShare.adapter_id, Account.name)
        .join(Account, Account.id == AdapterShare.account_id)
        .where(AdapterShare.adapter_id.in_(ids))
        .order_by(Account.name_key),
    )
    aliases = _grouped(
        session,
        select(AdapterAlias.adapter_id, AdapterAlias.name)
        .where(AdapterAlias.account_id == account_id, AdapterAlias.adapter_id.in_(ids))
        .order_by(AdapterAlias.name),
    )
    return tuple(
        _view(row, account_id, owners[row.account_id], shares.get(row.id, ()), aliases.get(row.id, ())) for row in rows
    )


def _view(row: Adapter, account_id: str, owner: str, shared: Sequence[str], aliases: Sequence[str]) -> AdapterView:
    is_own = row.account_id == account_id
    lineage = row.lineage if is_own else {k: row.lineage.get(k) for k in ("settings", "preset")}
    return AdapterView(
        id=row.id,
        name=row.name,
        owner=owner,
        is_own=is_own,
        model_name=model_name(row.base, owner, row.name, row.id),
        base=row.base,
        job_id=row.job_id if is_own else None,
        verdict=row.verdict,
        num_bytes=row.num_bytes,
        metrics=row.manifest.get("metrics", {}),
        lineage=lineage,
        shared_with=tuple(shared) if is_own else (),
        aliases=tuple(aliases),
        created_at=row.created_at,
        used_at=row.used_at,
    )


def _pairs(session: Session, query: Any) -> list[tuple[str, str]]:
    return [(first, second) for first, second in session.execute(query)]


def _grouped(session: Session, query: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in _pairs(session, query):
        found.setdefault(key, []).append(value)
    return found
