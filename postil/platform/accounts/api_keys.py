"""Keys for programs: `pk_<id>_<secret>`, shown once, kept as a SHA-256.

The secret has 256 random bits, so a slow hash would add nothing. A key may do what its scopes say, never more than its
account may, and stops with it.
"""

import contextlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.orm import Session

from postil.errors import ConflictError, MissingInputError, TryAgainError, UsageError
from postil.platform.accounts.accounts import AccountView, account_row, view_account
from postil.platform.accounts.sign_ins import token_hash
from postil.platform.ids import new_id
from postil.platform.service import Service
from postil.platform.store.tables import Account, ApiKey, UtcTime

Scope = Literal["read", "train", "chat"]
SCOPES: tuple[Scope, ...] = ("read", "train", "chat")
MAX_KEYS, MAX_NAME_LETTERS = 50, 100
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_SECRET_LETTERS = 43  # 256 bits
_KEY = re.compile(rf"pk_([a-z0-9]{{16}})_([A-Za-z0-9]{{{_SECRET_LETTERS}}})")
_NOTE_EVERY = timedelta(minutes=5)
# Asked at every request: composed once, at half the time of a question.
_LIVING_KEY = (
    select(ApiKey, Account)
    .join(Account, Account.id == ApiKey.account_id)
    .where(
        ApiKey.id == bindparam("key_id"),
        ApiKey.revoked_at.is_(None),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > bindparam("now", type_=UtcTime())),
        Account.disabled_at.is_(None),
    )
)


@dataclass(frozen=True)
class ApiKeyView:
    """What is known of a key; not its secret.

    Args:
        start: how the key begins, to know it by.
    """

    id: str
    name: str
    start: str
    scopes: tuple[str, ...]
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True)
class KeyHolder:
    """Who speaks with a key, and what it may do."""

    account: AccountView
    scopes: frozenset[str]
    key_id: str


def make_key(
    service: Service, account_id: str, name: str, scopes: Iterable[str], expires_at: datetime | None = None
) -> tuple[ApiKeyView, str]:
    """A new key, and its text, which nothing can show again.

    Raises:
        UsageError: no or unknown scopes, no name or one that is too long, or an end in the past.
        MissingInputError: there is no such account.
        ConflictError: the account has `MAX_KEYS` already.
    """
    wanted, now, name = frozenset(scopes), service.now(), name.strip()
    if not wanted or wanted - set(SCOPES):
        unknown = ", ".join(sorted(wanted - set(SCOPES))) or "-"
        raise UsageError("platform.api_keys.bad_scopes", scopes=unknown, known=", ".join(SCOPES))
    if not name or len(name) > MAX_NAME_LETTERS:
        raise UsageError("platform.api_keys.bad_name", most=MAX_NAME_LETTERS)
    if expires_at is not None and expires_at <= now:
        raise UsageError("platform.api_keys.in_the_past", time=expires_at.isoformat())
    key_id = new_id("key")
    secret = "".join(secrets.choice(_LETTERS) for _ in range(_SECRET_LETTERS))
    with service.database.writing() as session:
        account_row(session, account_id)
        _refuse_too_many(session, account_id, now)
        row = ApiKey(
            id=key_id,
            account_id=account_id,
            name=name,
            secret_hash=token_hash(secret),
            scopes=" ".join(scope for scope in SCOPES if scope in wanted),
            created_at=now,
            expires_at=expires_at,
        )
        session.add(row)
        session.flush()
        return _view(row), f"{_start(key_id)}_{secret}"


def list_keys(service: Service, account_id: str) -> Sequence[ApiKeyView]:
    """An account's keys, newest first, with those that were revoked."""
    with service.database.reading() as session:
        query = select(ApiKey).where(ApiKey.account_id == account_id).order_by(ApiKey.created_at.desc(), ApiKey.id)
        return [_view(row) for row in session.scalars(query)]


def revoke_key(service: Service, account_id: str, key_id: str) -> ApiKeyView:
    """Ends a key; again does no harm.

    Raises:
        MissingInputError: this account has no such key.
    """
    with service.database.writing() as session:
        row = session.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.account_id == account_id))
        if row is None:
            raise MissingInputError("platform.api_keys.no_such", id=key_id)
        if row.revoked_at is None:
            row.revoked_at = service.now()
        return _view(row)


def find_key(service: Service, text: str, *, address: str = "") -> KeyHolder | None:
    """Who holds a key, asked of the database each time; None for one that is wrong, revoked or has run out.

    Args:
        address: where the request comes from; wrong keys are counted.

    Raises:
        TooManyError: too many wrong keys from there.
    """
    service.limits.check("wrong_key", address)
    parts = _KEY.fullmatch(text)
    holder = None if parts is None else _find_holder(service, f"key_{parts[1]}", parts[2])
    if holder is None:
        service.limits.allow("wrong_key", address)
    return holder


def _find_holder(service: Service, key_id: str, secret: str) -> KeyHolder | None:
    now = service.now()
    with service.database.reading() as session:
        found = session.execute(_LIVING_KEY, {"key_id": key_id, "now": now}).one_or_none()
        if found is None or not hmac.compare_digest(found[0].secret_hash, token_hash(secret)):
            return None
        key, account = found
        holder, used_at = KeyHolder(view_account(account), frozenset(key.scopes.split()), key_id), key.used_at
    if used_at is None or now - used_at >= _NOTE_EVERY:
        with contextlib.suppress(TryAgainError):  # a busy database must not shut a program out
            _note_use(service, key_id, now)
    return holder


def _note_use(service: Service, key_id: str, now: datetime) -> None:
    with service.database.writing() as session:
        row = session.get(ApiKey, key_id)
        if row is not None:
            row.used_at = now


def _refuse_too_many(session: Session, account_id: str, now: datetime) -> None:
    alive = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now)
    query = select(func.count()).where(ApiKey.account_id == account_id, ApiKey.revoked_at.is_(None), alive)
    if (session.scalar(query) or 0) >= MAX_KEYS:
        raise ConflictError("platform.api_keys.too_many", most=MAX_KEYS)


def _start(key_id: str) -> str:
    return f"pk_{key_id.removeprefix('key_')}"


def _view(row: ApiKey) -> ApiKeyView:
    return ApiKeyView(
        id=row.id,
        name=row.name,
        start=_start(row.id),
        scopes=tuple(row.scopes.split()),
        created_at=row.created_at,
        used_at=row.used_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
