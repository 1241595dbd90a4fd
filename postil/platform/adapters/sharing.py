"""Adapters for colleagues: shared with named accounts, to be used and not changed. Data are never shared."""

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from postil.errors import MissingInputError, UsageError
from postil.platform.accounts.accounts import name_key
from postil.platform.adapters.views import AdapterView, own_row, views
from postil.platform.service import Service
from postil.platform.store.tables import Account, AdapterAlias, AdapterShare

MAX_SHARES = 200


def share_adapter(service: Service, account_id: str, adapter_id: str, name: str) -> AdapterView:
    """Lets another account use an own adapter; a second time changes nothing.

    Args:
        name: of the other account.

    Raises:
        MissingInputError: no such adapter of one's own, or no such account.
        UsageError: it is one's own account, or 200 have it already.
    """
    with service.database.writing() as session:
        row = own_row(session, account_id, adapter_id)
        other = _account(session, name)
        if other.id == account_id:
            raise UsageError("platform.sharing.with_oneself")
        if session.get(AdapterShare, (row.id, other.id)) is None:
            have = session.scalars(select(AdapterShare.account_id).where(AdapterShare.adapter_id == row.id)).all()
            if len(have) >= MAX_SHARES:
                raise UsageError("platform.sharing.too_many", most=MAX_SHARES)
            session.add(AdapterShare(adapter_id=row.id, account_id=other.id, created_at=service.now()))
            session.flush()
        return views(session, account_id, [row])[0]


def unshare_adapter(service: Service, account_id: str, adapter_id: str, name: str) -> AdapterView:
    """Takes an own adapter back from an account, with the aliases that it has made for it, at once.

    Raises:
        MissingInputError: no such adapter of one's own, or no such account.
    """
    with service.database.writing() as session:
        row = own_row(session, account_id, adapter_id)
        other = _account(session, name)
        if other.id != account_id:
            _forget(session, row.id, other.id)
        return views(session, account_id, [row])[0]


def leave_adapter(service: Service, account_id: str, adapter_id: str) -> None:
    """Takes an adapter that somebody else shares off one's own list; a second time changes nothing."""
    with service.database.writing() as session:
        if session.get(AdapterShare, (adapter_id, account_id)) is not None:
            _forget(session, adapter_id, account_id)


def _forget(session: Session, adapter_id: str, account_id: str) -> None:
    for table in (AdapterShare, AdapterAlias):
        session.execute(delete(table).where(table.adapter_id == adapter_id, table.account_id == account_id))


def _account(session: Session, name: str) -> Account:
    found = session.scalar(select(Account).where(Account.name_key == name_key(name), Account.disabled_at.is_(None)))
    if found is None:
        raise MissingInputError("platform.sharing.nobody", name=name[:200])
    return found
