"""Accounts: signing up, what is known of them, and what an admin changes.

A name is a user name or an e-mail address; both sign in. There is no default account and no default password: the first
admin comes from `postil admin create` or from the link that the first start prints.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from postil.errors import ConflictError, MissingInputError, NotAllowedError, UsageError
from postil.language import LANGUAGES
from postil.platform.accounts.passwords import check_password, hash_password
from postil.platform.ids import is_id, new_id
from postil.platform.service import Service
from postil.platform.store.tables import Account, SignIn

Role = Literal["user", "admin"]
ROLES: tuple[Role, ...] = ("user", "admin")
MAX_NAME_LETTERS = 200
_USER_NAME = re.compile(r"[^\W_][\w.-]{1,62}[^\W_]")
_ADDRESS = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True)
class AccountView:
    """What is known of an account; never its password.

    Args:
        language: "zh" or "en"; None follows the browser.
        monthly_cap_micro, job_cap_micro: None takes the settings' value.
        hold_reason: why no job may start, "" where nothing holds it.
    """

    id: str
    name: str
    role: Role
    language: str | None
    created_at: datetime
    disabled_at: datetime | None
    monthly_cap_micro: int | None
    job_cap_micro: int | None
    balance_limit_micro: int | None
    hold_reason: str

    @property
    def is_admin(self) -> bool:
        """True for who may see to the machine and to accounts; not to other people's data."""
        return self.role == "admin"


def register(
    service: Service, name: str, password: str, *, language: str | None = None, address: str = ""
) -> AccountView:
    """Signs up.

    Args:
        address: where the request comes from; counted.

    Raises:
        NotAllowedError: this service takes no sign-ups.
        TooManyError: too many from this address.
        UsageError, ConflictError: as `create_account`.
    """
    if not service.settings.is_sign_up_open:
        raise NotAllowedError("platform.accounts.closed")
    service.limits.allow("sign_up", address)
    return create_account(service, name, password, language=language)


def create_account(
    service: Service, name: str, password: str, *, role: Role = "user", language: str | None = None
) -> AccountView:
    """Makes an account, also where sign-up is closed: for the shell and for admins.

    Raises:
        UsageError: no such name, password, role or language is taken.
        ConflictError: the name is somebody's.
    """
    name = check_name(name)
    check_password(password, name)
    check_role(role)
    check_language(language)
    with service.database.reading() as session:  # said before the hashing, which takes a fifth of a second
        _refuse_taken(session, name)
    password_hash = hash_password(password)
    with service.database.writing() as session:
        return add_account(session, name, password_hash, role, service.now(), language)


def add_account(
    session: Session, name: str, password_hash: str, role: Role, now: datetime, language: str | None = None
) -> AccountView:
    """The row of a new account; `name` is checked already.

    Raises:
        ConflictError: the name is somebody's.
    """
    _refuse_taken(session, name)
    account = Account(
        id=new_id("acc"),
        name=name,
        name_key=name_key(name),
        password_hash=password_hash,
        role=role,
        language=language,
        created_at=now,
        hold_reason="",
    )
    session.add(account)
    try:
        session.flush()
    except IntegrityError:  # two who wanted the same name at once
        raise ConflictError("platform.accounts.name_taken", name=name) from None
    return view_account(account)


def check_name(name: str) -> str:
    """The name as it is kept: NFKC, no blanks around it.

    Raises:
        UsageError: it is neither a user name nor an e-mail address.
    """
    kept = unicodedata.normalize("NFKC", name).strip()
    if len(kept) > MAX_NAME_LETTERS or not (_USER_NAME.fullmatch(kept) or _ADDRESS.fullmatch(kept)):
        raise UsageError("platform.accounts.bad_name")
    return kept


def check_role(role: str) -> None:
    """Sees to it that a role is one of ours.

    Raises:
        UsageError: it is not.
    """
    if role not in ROLES:
        raise UsageError("platform.accounts.no_such_role", role=role, roles=", ".join(ROLES))


def check_language(language: str | None) -> None:
    """Sees to it that pages exist in a language.

    Raises:
        UsageError: they do not.
    """
    if language not in (None, *LANGUAGES):
        raise UsageError("platform.accounts.no_such_language", language=language, languages=", ".join(LANGUAGES))


def name_key(name: str) -> str:
    """What names are compared by: "Ann@Example.com" and "ann@example.com" are one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).strip().casefold())


def get_account(service: Service, account_id: str) -> AccountView:
    """An account by its identifier.

    Raises:
        MissingInputError: there is none.
    """
    with service.database.reading() as session:
        return view_account(account_row(session, account_id))


def find_account(service: Service, name: str) -> AccountView | None:
    """An account by its name, for sharing with it; not one that is disabled."""
    with service.database.reading() as session:
        account = session.scalar(
            select(Account).where(Account.name_key == name_key(name), Account.disabled_at.is_(None))
        )
        return None if account is None else view_account(account)


def get_account_by_name(service: Service, name: str) -> AccountView:
    """An account by its name, disabled or not.

    Raises:
        MissingInputError: there is none.
    """
    with service.database.reading() as session:
        account = session.scalar(select(Account).where(Account.name_key == name_key(name)))
        if account is None:
            raise MissingInputError("platform.accounts.no_such_name", name=name)
        return view_account(account)


def list_accounts(
    service: Service, *, limit: int = 50, after: str | None = None, search: str = ""
) -> Sequence[AccountView]:
    """Accounts by name, for an admin.

    Args:
        after: the name that ended the page before.
        search: what stands somewhere in the name; upper and lower case are one.
    """
    query = select(Account).order_by(Account.name_key).limit(limit)
    if search.strip():
        query = query.where(Account.name_key.contains(name_key(search), autoescape=True))
    if after is not None:
        query = query.where(Account.name_key > name_key(after))
    with service.database.reading() as session:
        return [view_account(account) for account in session.scalars(query)]


def has_admin(service: Service) -> bool:
    """False on a service that nobody can look after yet; it then listens on loopback only."""
    with service.database.reading() as session:
        found = select(Account.id).where(Account.role == "admin", Account.disabled_at.is_(None)).limit(1)
        return session.scalar(found) is not None


def set_language(service: Service, account_id: str, language: str | None) -> AccountView:
    """Chooses the language of an account's pages; None follows the browser.

    Raises:
        UsageError: there is no such language.
        MissingInputError: there is no such account.
    """
    check_language(language)
    with service.database.writing() as session:
        account = account_row(session, account_id)
        account.language = language
        return view_account(account)


def set_role(service: Service, account_id: str, role: Role) -> AccountView:
    """Makes an account an admin, or a user again; its sessions end.

    Raises:
        UsageError: there is no such role.
        MissingInputError: there is no such account.
        ConflictError: it is the last admin.
    """
    check_role(role)
    with service.database.writing() as session:
        account = account_row(session, account_id)
        if account.role != role:
            if role != "admin":
                refuse_last_admin(session, account)
            account.role = role
            end_sessions(session, account_id)
        return view_account(account)


def set_disabled(service: Service, account_id: str, is_disabled: bool) -> AccountView:
    """Shuts an account out, with its sessions and keys, or lets it in again. Its jobs run on.

    Raises:
        MissingInputError: there is no such account.
        ConflictError: it is the last admin, or is being deleted.
    """
    with service.database.writing() as session:
        account = account_row(session, account_id)
        if account.deleting_at is not None:
            raise ConflictError("platform.accounts.deleting", name=account.name)
        if is_disabled and account.disabled_at is None:
            refuse_last_admin(session, account)
            account.disabled_at = service.now()
            end_sessions(session, account_id)
        elif not is_disabled:
            account.disabled_at = None
        return view_account(account)


def account_row(session: Session, account_id: str) -> Account:
    """The row.

    Raises:
        MissingInputError: there is none.
    """
    account = session.get(Account, account_id) if is_id(account_id, "acc") else None
    if account is None:
        raise MissingInputError("platform.accounts.no_such")
    return account


def end_sessions(session: Session, account_id: str) -> None:
    """Signs an account out everywhere."""
    session.execute(delete(SignIn).where(SignIn.account_id == account_id))


def refuse_last_admin(session: Session, account: Account) -> None:
    """Keeps a service from being left without anybody who can look after it.

    Raises:
        ConflictError: no other admin can sign in.
    """
    # The rows are locked: two admins who take each other's right at the same moment must not both succeed.
    admins = session.scalars(
        select(Account)
        .where(Account.role == "admin", Account.disabled_at.is_(None))
        .order_by(Account.id)
        .with_for_update()
    ).all()
    if [admin.id for admin in admins] == [account.id]:
        raise ConflictError("platform.accounts.last_admin", name=account.name)


def view_account(account: Account) -> AccountView:
    """What leaves this room."""
    return AccountView(
        id=account.id,
        name=account.name,
        role="admin" if account.role == "admin" else "user",
        language=account.language,
        created_at=account.created_at,
        disabled_at=account.disabled_at,
        monthly_cap_micro=account.monthly_cap_micro,
        job_cap_micro=account.job_cap_micro,
        balance_limit_micro=account.balance_limit_micro,
        hold_reason=account.hold_reason,
    )


def _refuse_taken(session: Session, name: str) -> None:
    found = select(func.count()).select_from(Account).where(Account.name_key == name_key(name))
    if session.scalar(found):
        raise ConflictError("platform.accounts.name_taken", name=name)
