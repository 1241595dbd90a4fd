"""Signing in and out: sessions that live in the database and end there.

A session is a random token of 256 bits that the browser keeps in a cookie; the database keeps its SHA-256. It ends
after 14 days without use, after 30 days at the latest, and at once by a new password, another role or a disabled
account: every request looks it up.
"""

import contextlib
import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, or_, select
from sqlalchemy.orm import Session

from postil.errors import NotAllowedError, TryAgainError
from postil.platform.accounts.accounts import AccountView, account_row, end_sessions, name_key, view_account
from postil.platform.accounts.passwords import check_password, hash_password, verify_password
from postil.platform.service import Service
from postil.platform.store.tables import Account, SignIn, UtcTime

IDLE, ABSOLUTE = timedelta(days=14), timedelta(days=30)
# A use is written down this often at most: reading pages must not be a stream of writes.
_NOTE_EVERY = timedelta(minutes=5)
# Asked at every request: composed once, at half the time of a question.
_LIVING_SESSION = (
    select(SignIn, Account)
    .join(Account, Account.id == SignIn.account_id)
    .where(
        SignIn.token_hash == bindparam("token_hash"),
        SignIn.expires_at > bindparam("now", type_=UtcTime()),
        SignIn.used_at > bindparam("since", type_=UtcTime()),
        Account.disabled_at.is_(None),
    )
)
_MAX_CLIENT_LETTERS = 255


@dataclass(frozen=True)
class SignedIn:
    """A new session.

    Args:
        token: for the cookie; kept nowhere else.
    """

    token: str
    account: AccountView
    expires_at: datetime


def sign_in(
    service: Service, name: str, password: str, client: str = "", *, address: str = "", old_token: str = ""
) -> SignedIn:
    """Begins a session. A wrong name and a wrong password get the same answer, after the same time.

    Args:
        client: what the browser calls itself; shown to the user.
        address: where the request comes from; counted together with the name.
        old_token: of a session in this browser; it ends, so that a token from before cannot ride along.

    Raises:
        TooManyError: too many tries; said before the password is looked at.
        NotAllowedError: wrong name or password, or a disabled account.
    """
    key = name_key(name)
    service.limits.allow("sign_in_address", address)
    service.limits.allow("sign_in", key, address)
    with service.database.reading() as session:
        account = session.scalar(select(Account).where(Account.name_key == key))
    is_right, newer_hash = verify_password(password, None if account is None else account.password_hash)
    if account is None or not is_right:
        raise NotAllowedError("platform.sign_ins.wrong", is_signed_in=False)
    with service.database.writing() as session:
        row = account_row(session, account.id)
        if row.disabled_at is not None:
            raise NotAllowedError("platform.sign_ins.disabled", is_signed_in=False)
        if row.password_hash != account.password_hash:  # changed while we computed
            raise NotAllowedError("platform.sign_ins.wrong", is_signed_in=False)
        if newer_hash is not None:
            row.password_hash = newer_hash
        _forget(session, old_token)
        signed_in = begin_session(session, row, service.now(), client)
    service.limits.forget("sign_in", key, address)
    return signed_in


def begin_session(session: Session, account: Account, now: datetime, client: str = "") -> SignedIn:
    """The row of a new session; sessions of this account that have run out go."""
    token = secrets.token_urlsafe(32)
    session.execute(
        delete(SignIn).where(
            SignIn.account_id == account.id, or_(SignIn.expires_at <= now, SignIn.used_at <= now - IDLE)
        )
    )
    row = SignIn(
        token_hash=token_hash(token),
        account_id=account.id,
        created_at=now,
        used_at=now,
        expires_at=now + ABSOLUTE,
        client=client[:_MAX_CLIENT_LETTERS],
    )
    session.add(row)
    return SignedIn(token, view_account(account), row.expires_at)


def find_session(service: Service, token: str) -> AccountView | None:
    """Whose session a token is, asked of the database each time; None where it has ended or never was."""
    now = service.now()
    with service.database.reading() as session:
        asked = {"token_hash": token_hash(token), "now": now, "since": now - IDLE}
        found = session.execute(_LIVING_SESSION, asked).one_or_none()
        if found is None:
            return None
        sign_in_row, account = found
        view, used_at = view_account(account), sign_in_row.used_at
    if now - used_at >= _NOTE_EVERY:
        with contextlib.suppress(TryAgainError):  # a busy database must not shut a reader out
            _note_use(service, token, now)
    return view


def sign_out(service: Service, token: str) -> None:
    """Ends one session."""
    with service.database.writing() as session:
        _forget(session, token)


def sign_out_everywhere(service: Service, account_id: str) -> None:
    """Ends every session of an account; its keys stay."""
    with service.database.writing() as session:
        end_sessions(session, account_id)


def change_password(
    service: Service, account_id: str, old_password: str, new_password: str, client: str = "", *, address: str = ""
) -> SignedIn:
    """Sets a new password. Every session ends; the returned one begins.

    Raises:
        TooManyError: too many tries.
        NotAllowedError: the old password is wrong.
        UsageError: the new one is not accepted.
    """
    service.limits.allow("sign_in", account_id, address)
    with service.database.reading() as session:
        account = account_row(session, account_id)
    if not verify_password(old_password, account.password_hash)[0]:
        raise NotAllowedError("platform.sign_ins.wrong_old")
    check_password(new_password, account.name)
    password_hash = hash_password(new_password)
    with service.database.writing() as session:
        row = account_row(session, account_id)
        if row.password_hash != account.password_hash:  # changed while we computed
            raise NotAllowedError("platform.sign_ins.wrong_old")
        return renew(session, row, password_hash, service.now(), client)


def check_again(service: Service, account_id: str, password: str, *, address: str = "") -> None:
    """Sees to it that it is really the account's owner who asks, before what cannot be undone.

    Raises:
        TooManyError: too many tries.
        NotAllowedError: the password is wrong.
    """
    service.limits.allow("sign_in", account_id, address)
    with service.database.reading() as session:
        password_hash = account_row(session, account_id).password_hash
    if not verify_password(password, password_hash)[0]:
        raise NotAllowedError("platform.sign_ins.wrong_proof")


def renew(session: Session, account: Account, password_hash: str, now: datetime, client: str = "") -> SignedIn:
    """A new password ends every session and begins one."""
    account.password_hash = password_hash
    end_sessions(session, account.id)
    return begin_session(session, account, now, client)


def token_hash(token: str) -> str:
    """What the database keeps of a token. It is random and long: guessing what hashes to this is no way in."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _forget(session: Session, token: str) -> None:
    session.execute(delete(SignIn).where(SignIn.token_hash == token_hash(token)))


def _note_use(service: Service, token: str, now: datetime) -> None:
    with service.database.writing() as session:
        row = session.get(SignIn, token_hash(token))
        if row is not None:
            row.used_at = now
