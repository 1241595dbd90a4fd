"""The lock of a run's folder: whoever trains in it holds `run.lock`, and the kernel lets go when the last process ends.

Being alive is having the lock: no heartbeat, no process number that another process may have by now, no clock. A
descriptor of a locked file can be handed to another process, and the lock goes with it.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from postil.errors import CannotWriteError, TryAgainError
from postil.operating_system import os_reason

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not kept apart there
    fcntl = None  # type: ignore[assignment]

LOCK_NAME = "run.lock"
# Somebody who only asks holds the lock for an instant.
_TRIES, _WAIT_SECONDS = 5, 0.02


def take_lock(path: Path, key: str = "recipes.run_is_alive") -> int:
    """Locks a file and returns its descriptor; closing it, or ending, lets go.

    Args:
        key: of the sentence that says what the other one is; it names the folder as `path`.

    Raises:
        TryAgainError: another process holds it.
        CannotWriteError: the file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotWriteError("recipes.cannot_write", path=path, reason=os_reason(error)) from error
    for _ in range(_TRIES):
        if _try(descriptor):
            return descriptor
        time.sleep(_WAIT_SECONDS)
    os.close(descriptor)
    raise TryAgainError(key, path=path.parent)


def take_run_lock(folder: Path) -> int:
    """`take_lock` for the run of a folder."""
    return take_lock(folder / LOCK_NAME)


def is_alive(folder: Path) -> bool:
    """True while a process trains in the folder. It touches the lock for an instant where none does."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _try(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def run_locked(folder: Path, is_held: bool = False) -> Iterator[None]:
    """Holds the folder's lock for the length of a block.

    Args:
        is_held: this process has it already, from the one that started it.

    Raises:
        TryAgainError: another run trains in the folder.
    """
    if is_held:
        yield
        return
    descriptor = take_run_lock(folder)
    try:
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)


def _try(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
