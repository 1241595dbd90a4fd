"""Passwords: what is accepted, and how they are kept (Argon2id, at most two computed at a time).

One computation takes 64 MiB for a fifth of a second: fifty sign-ins at once would take more memory than a small machine
has. What waits too long is told to come again.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import BoundedSemaphore

from pwdlib import PasswordHash

from postil.errors import TooManyError, UsageError

MIN_LETTERS, MAX_LETTERS = 10, 1024
NUM_AT_A_TIME, MAX_WAIT_SECONDS = 2, 10.0

_hasher = PasswordHash.recommended()
_places = BoundedSemaphore(NUM_AT_A_TIME)

# Those of ten letters and more that are guessed first; compared without case.
_COMMON = frozenset(Path(__file__).with_name("common_passwords.txt").read_text("utf-8").split())


def check_password(password: str, name: str) -> None:
    """Sees to it that a new password is none that is guessed first.

    Args:
        name: of the account; a password that is made of it is refused.

    Raises:
        UsageError: too short, too long, common, or made of the name or of very few signs.
    """
    if len(password) < MIN_LETTERS:
        raise UsageError("platform.passwords.short", least=MIN_LETTERS)
    if len(password) > MAX_LETTERS:
        raise UsageError("platform.passwords.long", most=MAX_LETTERS)
    small = password.casefold()
    parts = [part for part in (name.casefold(), name.casefold().partition("@")[0]) if len(part) > 3]
    rest = min((len(small.replace(part, "")) for part in parts), default=len(small))
    if small in _COMMON or len(set(small)) < 4 or rest < 4:
        raise UsageError("platform.passwords.common")


def hash_password(password: str) -> str:
    """The password as it is kept.

    Raises:
        TooManyError: too many sign-ins wait already.
    """
    with _place():
        return _hasher.hash(password)


def verify_password(password: str, kept: str | None) -> tuple[bool, str | None]:
    """Compares; takes as long for an account that does not exist.

    Args:
        kept: as `hash_password` made it; None where there is no such account.

    Returns:
        True for the right password, and a new hash to keep where the old one was made with weaker settings.

    Raises:
        TooManyError: too many sign-ins wait already.
    """
    with _place():
        if kept is None:
            _hasher.verify(password, _nobodys())
            return False, None
        return _hasher.verify_and_update(password, kept)


@cache
def _nobodys() -> str:
    return _hasher.hash(secrets.token_hex(16))


@contextmanager
def _place() -> Iterator[None]:
    if not _places.acquire(timeout=MAX_WAIT_SECONDS):
        raise TooManyError("platform.passwords.busy", retry_after_seconds=MAX_WAIT_SECONDS)
    try:
        yield
    finally:
        _places.release()
