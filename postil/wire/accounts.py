"""Accounts, sessions, keys."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from postil.wire.shape import Answer, Request

Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Password = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
KeyScope = Literal["read", "train", "chat"]


class SignUp(Request):
    """A new account."""

    name: Name = Field(description="A user name or an e-mail address.")
    password: Password = Field(description="Ten letters or more.")
    language: Literal["en", "zh"] | None = Field(None, description="None follows the browser.")


class SignInRequest(Request):
    """A name and its password."""

    name: Name
    password: Password


class PasswordChange(Request):
    """The old password and the new one; every session ends but the one that asks."""

    old_password: Password
    new_password: Password


class LinkUse(Request):
    """A one-time link: of a reset, or of the first admin, who also takes a name."""

    token: str = Field(min_length=1, max_length=200)
    new_password: Password
    name: Name | None = None


class AccountChange(Request):
    """What an account changes about itself."""

    language: Literal["en", "zh"] | None = Field(description="None follows the browser.")


class PasswordProof(Request):
    """The password once more, for what cannot be undone."""

    password: Password


class Account(Answer):
    """What is known of an account."""

    id: str
    name: str
    role: Literal["user", "admin"]
    language: str | None
    created_at: datetime
    disabled_at: datetime | None
    monthly_cap_micro: int | None = Field(description="Millionths of the currency; None takes the service's.")
    job_cap_micro: int | None
    balance_limit_micro: int | None
    hold_reason: str


class SignedIn(Answer):
    """A session; the cookie says the same to a browser."""

    account: Account


class Freed(Answer):
    """What was really deleted."""

    freed_bytes: int


class KeyRequest(Request):
    """A new key."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(description="What it is for.")
    scopes: list[KeyScope] = Field(
        default=["read", "train", "chat"], min_length=1, max_length=3, description="What it allows."
    )
    expires_at: datetime | None = Field(None, description="None: until it is revoked.")


class Key(Answer):
    """A key, without its secret."""

    id: str
    name: str
    start: str = Field(description="How the key begins, to know it by.")
    scopes: list[KeyScope]
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKey(Key):
    """A key at the moment of its making, the only time that its secret is shown."""

    secret: str = Field(description="Send it as `Authorization: Bearer ...`.")


class KeyList(Answer):
    """Keys, the newest first."""

    keys: list[Key]


class AccountList(Answer):
    """A page of accounts."""

    accounts: list[Account]
    next_after: str | None = Field(description="Ask with after= this for the next page; None at the end.")


class ResetLink(Answer):
    """A link that sets a password once; it is shown this one time."""

    token: str
    path: str = Field(description="Append it to the service's address.")


class NewAccount(Request):
    """An account that an admin makes; its owner chooses the password."""

    name: Name = Field(description="A user name or an e-mail address.")
    role: Literal["user", "admin"] = "user"


class Invitation(ResetLink):
    """A new account, and the link for its owner."""

    account: Account
