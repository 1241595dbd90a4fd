"""Aliases such as "shop-bot@prod": a name that programs use, pointed at another adapter, and back, at once."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.errors import ConflictError, MissingInputError, UsageError
from postil.platform.adapters.views import may_use, usable_row
from postil.platform.money.ledger import lock_account
from postil.platform.service import Service
from postil.platform.store.tables import Adapter, AdapterAlias

_ALIAS = re.compile(r"\w[\w.-]{0,63}@\w[\w.-]{0,31}")


@dataclass(frozen=True, slots=True)
class AliasView:
    """An alias of one account.

    Args:
        previous_id: where it pointed before; None at first, and where that adapter is gone.
    """

    name: str
    adapter_id: str
    adapter_name: str
    previous_id: str | None
    updated_at: datetime


def list_aliases(service: Service, account_id: str) -> tuple[AliasView, ...]:
    """The account's aliases by name."""
    with service.database.reading() as session:
        found = session.scalars(
            select(AdapterAlias).where(AdapterAlias.account_id == account_id).order_by(AdapterAlias.name)
        )
        return tuple(_view(session, account_id, row) for row in found)


def set_alias(service: Service, account_id: str, name: str, adapter_id: str) -> AliasView:
    """Points an alias at an adapter that the account may use; requests that come from now on go there.

    Raises:
        UsageError: the name is not like "shop-bot@prod".
        MissingInputError: no such adapter, or it is somebody else's.
        ConflictError: an own adapter is called so.
    """
    kept = unicodedata.normalize("NFC", name).strip()
    if not _ALIAS.fullmatch(kept):
        raise UsageError("platform.aliases.bad_name", name=kept[:100])
    with service.database.writing() as session:
        lock_account(session, account_id)
        target = usable_row(session, account_id, adapter_id)
        same = select(Adapter.id).where(Adapter.account_id == account_id, Adapter.name == kept)
        if session.scalar(same) is not None:
            raise ConflictError("platform.names.in_use", name=kept)
        row = session.get(AdapterAlias, (account_id, kept))
        if row is None:
            row = AdapterAlias(account_id=account_id, name=kept, adapter_id=target.id, updated_at=service.now())
            session.add(row)
        elif row.adapter_id != target.id:
            row.previous_id, row.adapter_id, row.updated_at = row.adapter_id, target.id, service.now()
        session.flush()
        return _view(session, account_id, row)


def turn_back_alias(service: Service, account_id: str, name: str) -> AliasView:
    """Points an alias where it pointed before; twice is back again.

    Raises:
        MissingInputError: no such alias.
        ConflictError: there was nothing before, or that adapter is gone or not shared any more.
    """
    with service.database.writing() as session:
        row = _row(session, account_id, name)
        usable = select(Adapter.id).where(Adapter.id == row.previous_id, may_use(account_id))
        if row.previous_id is None or session.scalar(usable) is None:
            raise ConflictError("platform.aliases.nothing_before", name=row.name)
        row.previous_id, row.adapter_id, row.updated_at = row.adapter_id, row.previous_id, service.now()
        session.flush()
        return _view(session, account_id, row)


def delete_alias(service: Service, account_id: str, name: str) -> None:
    """Deletes an alias; its adapter stays.

    Raises:
        MissingInputError: no such alias.
    """
    with service.database.writing() as session:
        session.delete(_row(session, account_id, name))


def _row(session: Session, account_id: str, name: str) -> AdapterAlias:
    row = session.get(AdapterAlias, (account_id, unicodedata.normalize("NFC", name).strip()))
    if row is None:
        raise MissingInputError("platform.aliases.missing", name=name[:100])
    return row


def _view(session: Session, account_id: str, row: AdapterAlias) -> AliasView:
    usable = select(Adapter.id).where(Adapter.id == row.previous_id, may_use(account_id))
    return AliasView(
        name=row.name,
        adapter_id=row.adapter_id,
        adapter_name=session.get_one(Adapter, row.adapter_id).name,
        previous_id=None if row.previous_id is None else session.scalar(usable),
        updated_at=row.updated_at,
    )
