"""Where the service of a data folder listens: `web.json` says it, and `web.lock` is held for as long as it is true.

A port may come from the command line, or be whichever was free, so the settings do not tell. The kernel lets go of the
lock however `postil web` ends; a file that was left behind is not believed.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postil.errors import TryAgainError
from postil.models.manifest import write_text_atomically
from postil.recipes.run_lock import take_lock

_FILE, _LOCK = "web.json", "web.lock"


def address_of(host: str, port: int) -> str:
    """What to type on this machine for a host and a port; a service that listens everywhere is reached by loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def listening_at(data_dir: Path, address: str) -> Iterator[None]:
    """Tells other processes the address for the length of a block; a second service on the folder tells nothing.

    Raises:
        CannotWriteError: the data folder cannot be written.
    """
    try:
        lock = take_lock(data_dir / _LOCK)
    except TryAgainError:
        yield
        return
    try:
        write_text_atomically(data_dir / _FILE, json.dumps({"address": address}) + "\n")
        yield
    finally:
        (data_dir / _FILE).unlink(missing_ok=True)
        os.close(lock)


def find_running_address(data_dir: Path) -> str | None:
    """Where the service listens that runs on this folder; None where none runs.

    Raises:
        CannotWriteError: the data folder cannot be written.
    """
    try:
        os.close(take_lock(data_dir / _LOCK))
    except TryAgainError:
        return _told(data_dir / _FILE)
    return None


def _told(file: Path) -> str | None:
    try:
        return str(json.loads(file.read_text("utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
