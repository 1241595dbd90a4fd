"""Links that set a password once, where there is no mail server: an admin makes one and hands it over.

The link of a first start makes the first admin; it is printed by the process that starts the service.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from postil.errors import ConflictError, NotAllowedError
from postil.platform.accounts.accounts import (
    AccountView,
    Role,
    account_row,
    add_account,
    check_name,
    create_account,
    has_admin,
)
from postil.platform.accounts.passwords import check_password, hash_password
from postil.platform.accounts.sign_ins import SignedIn, begin_session, renew, token_hash
from postil.platform.service import Service
from postil.platform.store.tables import Account, OneTimeLink

LIFETIME = timedelta(days=3)
_RESET, _FIRST_ADMIN = "reset", "first_admin"


@dataclass(frozen=True, slots=True)
class LinkView:
    """A link that can still be used.

    Args:
        account: whose password it sets; None where it makes the first admin, who also chooses a name.
    """

    account: str | None


def make_reset_link(service: Service, account_id: str) -> str:
    """A token with which an account sets a new password; an older one no longer works.

    Raises:
        MissingInputError: there is no such account.
    """
    with service.database.writing() as session:
        account = account_row(session, account_id)
        return _make_link(session, _RESET, account.id, service.now())


def make_first_admin_link(service: Service) -> str | None:
    """A token with which whoever started the service becomes its first admin; None where there is one already."""
    if has_admin(service):
        return None
    with service.database.writing() as session:
        return _make_link(session, _FIRST_ADMIN, None, service.now())


def invite(service: Service, name: str, *, role: Role = "user") -> tuple[AccountView, str]:
    """Makes an account, also where sign-up is closed, and the token with which its owner chooses a password.

    Nobody knows a password of it before, not even the admin who makes it.

    Raises:
        UsageError: no such name or role is taken.
        ConflictError: the name is somebody's.
    """
    account = create_account(service, name, secrets.token_urlsafe(32), role=role)
    return account, make_reset_link(service, account.id)


def find_link(service: Service, token: str) -> LinkView | None:
    """What a link is for, for the page that asks for the new password; None where it cannot be used (any more)."""
    with service.database.reading() as session:
        link = _find_link(session, token, service.now())
        if link is None:
            return None
        return LinkView(None if link.account_id is None else account_row(session, link.account_id).name)


def use_link(
    service: Service, token: str, new_password: str, name: str | None = None, client: str = "", *, address: str = ""
) -> SignedIn:
    """Sets the password, ends every session, and signs in. The first admin also chooses a name.

    Raises:
        TooManyError: too many tries from this address.
        NotAllowedError: the link was used, has run out, or never was; or the account is disabled.
        UsageError: the password or the name is not accepted; the link still works.
        ConflictError: the name is somebody's, or there is an admin by now.
    """
    service.limits.allow("link", address)
    with service.database.reading() as session:
        link = _get_link(session, token, service.now())
        kept_name = account_row(session, link.account_id).name if link.account_id else check_name(name or "")
    check_password(new_password, kept_name)
    password_hash = hash_password(new_password)
    if link.account_id is None and has_admin(service):
        raise ConflictError("platform.one_time_links.has_admin")
    with service.database.writing() as session:
        now = service.now()
        link = _get_link(session, token, now)
        link.used_at = now
        if link.account_id is not None:
            account = account_row(session, link.account_id)
            if account.disabled_at is not None:
                raise NotAllowedError("platform.sign_ins.disabled", is_signed_in=False)
            return renew(session, account, password_hash, now, client)
        view = add_account(session, kept_name, password_hash, "admin", now)
        return begin_session(session, session.get_one(Account, view.id), now, client)


def _make_link(session: Session, purpose: str, account_id: str | None, now: datetime) -> str:
    token = secrets.token_urlsafe(32)
    of_account = OneTimeLink.account_id.is_(None) if account_id is None else OneTimeLink.account_id == account_id
    session.execute(delete(OneTimeLink).where(of_account, OneTimeLink.purpose == purpose))
    session.add(
        OneTimeLink(
            token_hash=token_hash(token),
            account_id=account_id,
            purpose=purpose,
            created_at=now,
            expires_at=now + LIFETIME,
        )
    )
    return token


def _find_link(session: Session, token: str, now: datetime) -> OneTimeLink | None:
    # The row is locked: of two who use a link at the same moment one succeeds.
    return session.scalar(
        select(OneTimeLink)
        .where(OneTimeLink.token_hash == token_hash(token), OneTimeLink.used_at.is_(None), OneTimeLink.expires_at > now)
        .with_for_update()
    )


def _get_link(session: Session, token: str, now: datetime) -> OneTimeLink:
    link = _find_link(session, token, now)
    if link is None:
        raise NotAllowedError("platform.one_time_links.invalid", is_signed_in=False)
    return link
