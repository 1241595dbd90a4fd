"""What an account may ask for at /v1: the base, its own adapters, and those that are shared with it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.platform.adapters.names import model_name, read_model_name, without_slash
from postil.platform.adapters.views import may_use
from postil.platform.ids import is_id
from postil.platform.service import Service
from postil.platform.store.tables import Account, Adapter, AdapterAlias


@dataclass(frozen=True, slots=True)
class Servable:
    """An adapter that may answer for an account.

    Args:
        name: as `GET /v1/models` lists it, "ft:{base}:{account}:{suffix}:{8 letters}".
        slash_free: the same for clients that cannot send a slash; equal to `name` where there is none.
        aliases: of the asking account.
        storage_key: its folder, for `service.storage.local_path`.
    """

    adapter_id: str
    name: str
    slash_free: str
    display_name: str
    aliases: tuple[str, ...]
    base: str
    owner: str
    is_own: bool
    storage_key: str
    created_at: datetime


def usable_adapters(service: Service, account_id: str, *, base: str | None = None) -> tuple[Servable, ...]:
    """Every adapter that the account may ask for, oldest first, as `GET /v1/models` lists them.

    Args:
        base: only of this base: the one that is in memory.
    """
    query = select(Adapter, Account.name).join(Account, Account.id == Adapter.account_id).where(may_use(account_id))
    if base is not None:
        query = query.where(Adapter.base == base)
    with service.database.reading() as session:
        aliases = _aliases(session, account_id)
        found = session.execute(query.order_by(Adapter.created_at, Adapter.id))
        return tuple(_servable(row, owner, account_id, aliases.get(row.id, ())) for row, owner in found)


def find_servable(service: Service, account_id: str, wanted: str) -> Servable | None:
    """The adapter that a request's `model` names: by its name at /v1, its alias, its identifier, or its display name.

    Where two that are shared have one display name, the account's own comes first, then the newest.

    Returns:
        None where the account may use none of this name: also for somebody else's, and for the base itself.
    """
    with service.database.reading() as session:
        aliases = _aliases(session, account_id)
        pointed = next((adapter for adapter, names in aliases.items() if wanted in names), None)
        query = select(Adapter, Account.name).join(Account, Account.id == Adapter.account_id).where(may_use(account_id))
        read = read_model_name(wanted)
        if read is not None:
            query = query.where(Adapter.id.startswith(f"ad_{read[1]}", autoescape=True))
        elif pointed is not None or is_id(wanted, "ad"):
            query = query.where(Adapter.id == (pointed or wanted))
        else:
            query = query.where(Adapter.name == wanted)
        found = [(row, owner) for row, owner in session.execute(query)]
        if read is not None:
            found = [pair for pair in found if read[0] in (pair[0].base, without_slash(pair[0].base))]
        chosen = max(found, key=lambda pair: (pair[0].account_id == account_id, pair[0].created_at), default=None)
        if chosen is None:
            return None
        return _servable(chosen[0], chosen[1], account_id, aliases.get(chosen[0].id, ()))


def _aliases(session: Session, account_id: str) -> dict[str, list[str]]:
    """The account's aliases by the adapter that they point at."""
    rows = select(AdapterAlias).where(AdapterAlias.account_id == account_id).order_by(AdapterAlias.name)
    found: dict[str, list[str]] = {}
    for row in session.scalars(rows):
        found.setdefault(row.adapter_id, []).append(row.name)
    return found


def _servable(row: Adapter, owner: str, account_id: str, aliases: "list[str] | tuple[str, ...]") -> Servable:
    name = model_name(row.base, owner, row.name, row.id)
    return Servable(
        adapter_id=row.id,
        name=name,
        slash_free=without_slash(name),
        display_name=row.name,
        aliases=tuple(aliases),
        base=row.base,
        owner=owner,
        is_own=row.account_id == account_id,
        storage_key=row.storage_key,
        created_at=row.created_at,
    )
