"""What can go wrong, as a few kinds that a caller can act on. The shell exits with the number beside each.

    PostilError                 70  a bug of ours, when nothing below fits
    ├── UsageError              64  the command or the settings are wrong
    ├── DataError               65  the data, or an adapter's files, are wrong; `problems` lists every one
    ├── MissingInputError       66  a file, folder or model that was named is not there
    ├── UnavailableError        69  the hub, a device, memory or an optional package is not to be had
    ├── CannotWriteError        73  the output exists, is read-only, or the disk is full
    ├── ConflictError           73  the name is taken, or the thing is in a state that does not allow it
    ├── TryAgainError           75  it may work a moment later: a broken download, a busy folder
    │   └── TooManyError        75  too many requests or too much waiting already; `retry_after_seconds` says when
    ├── NotAllowedError         77  not signed in, a wrong password or key, or not this account's right
    ├── QuotaError              77  money, rows or disk of the account do not suffice
    └── Stopped            130/143  the user (SIGINT) or the system (SIGTERM) asked us to stop; nothing is lost

An error is a key into the catalogs plus the values that its sentence names: `MissingInputError("data.no_file")`.
`message` says where and what was found; `hint` (the sentence under `<key>.hint`) says what to do.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from postil.language import say

if TYPE_CHECKING:
    from postil.problems import Problem


class PostilError(Exception):
    """The root of the tree.

    Args:
        key: key of the sentence in the catalogs, such as "data.no_file"; `<key>.hint` must exist too.
        values: what the two sentences name.
    """

    exit_code = 70

    def __init__(self, key: str, **values: Any):
        super().__init__(key)
        self.key, self.values = key, values

    @property
    def message(self) -> str:
        """Where, and what was found, in the current language."""
        return say(self.key, **self.values)

    @property
    def hint(self) -> str:
        """What to do, in the current language."""
        return say(f"{self.key}.hint", **self.values)

    def __str__(self) -> str:
        message = self.message
        return f"{message}{self.hint}" if message.endswith("。") else f"{message} {self.hint}"


class UsageError(PostilError):
    """The command line or a setting is wrong."""

    exit_code = 64


class DataError(PostilError):
    """The user's data cannot be used as it is.

    Args:
        problems: everything that is wrong, in file order; empty when the sentence says it all.
    """

    exit_code = 65

    def __init__(self, key: str, *, problems: "Sequence[Problem]" = (), **values: Any):
        super().__init__(key, **values)
        self.problems = tuple(problems)


class MissingInputError(PostilError):
    """Something that was named does not exist."""

    exit_code = 66


class UnavailableError(PostilError):
    """A service, device, amount of memory or optional package is not to be had."""

    exit_code = 69


class CannotWriteError(PostilError):
    """The output cannot be written where it was asked for."""

    exit_code = 73


class ConflictError(PostilError):
    """The name is taken, or the thing is in a state that does not allow it."""

    exit_code = 73


class TryAgainError(PostilError):
    """The same call may work later.

    Args:
        retry_after_seconds: when it is worth another try.
    """

    exit_code = 75

    def __init__(self, key: str, *, retry_after_seconds: float = 5, **values: Any):
        super().__init__(key, **values)
        self.retry_after_seconds = retry_after_seconds


class TooManyError(TryAgainError):
    """Too many requests, or too much is waiting already."""


class NotAllowedError(PostilError):
    """Not signed in, or not allowed to.

    Args:
        is_signed_in: False where signing in would help.
    """

    exit_code = 77

    def __init__(self, key: str, *, is_signed_in: bool = True, **values: Any):
        super().__init__(key, **values)
        self.is_signed_in = is_signed_in


class QuotaError(PostilError):
    """Money, rows or disk space of the account do not suffice."""

    exit_code = 77


class Stopped(PostilError):
    """A stop was asked for and obeyed.

    Args:
        by_signal: 2 (SIGINT) or 15 (SIGTERM); the exit code is 128 plus it.
    """

    def __init__(self, key: str, *, by_signal: int, **values: Any):
        super().__init__(key, **values)
        self.by_signal = by_signal

    @property
    def exit_code(self) -> int:  # type: ignore[override]
        """130 or 143."""
        return 128 + self.by_signal
