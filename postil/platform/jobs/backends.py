"""Where runs are carried out. `LocalBackend` is this machine; a cluster's will keep the same four verbs.

The run's folder is the contract (recipes/launch.py), so a backend only has to bring a process and the folder together.
"""

import logging
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, Protocol

from postil.errors import TryAgainError
from postil.recipes.launch import RunSpec, attempt_folder, find_pid, holds_lock, signal_run, start_run
from postil.recipes.run_lock import is_alive
from postil.recipes.zygote_door import is_ready, start_forked_run, start_zygote

Status = Literal["alive", "ended", "lost"]
"""Of a run: it holds its lock; nobody does; or its folder is gone and only its process may be left."""
LOG_BYTES = 64 << 10
RESTART_SECONDS = 1.0
_log = logging.getLogger(__name__)


class Backend(Protocol):
    """Starts runs, tells whether they live, and stops them."""

    def submit(self, folder: Path, spec: RunSpec) -> int:
        """Starts an attempt; returns a number by which the machine knows it.

        Raises:
            TryAgainError: not at this moment, or a run lives in the folder.
            CannotWriteError: the folder cannot be written.
        """

    def status(self, folder: Path) -> Status:
        """Whether a run lives in the folder."""

    def stop(self, folder: Path, attempt: int, pid: int | None, *, at_once: bool) -> bool:
        """Asks a run to save and end, or ends it at once.

        Returns:
            False where no process was reached: it has ended, or has hardly begun.
        """

    def logs(self, folder: Path, attempt: int) -> str:
        """The end of what an attempt printed."""

    def tend(self) -> bool:
        """Called again and again: looks after what runs are started from. True when they can be started."""

    def close(self) -> None:
        """Lets go of everything but the runs."""


class LocalBackend:
    """Runs on this machine: forks of the zygote on the CPU, fresh processes on a GPU and for tests.

    Args:
        data_dir: has the zygote's socket and its log.
        needs_zygote: False where no run trains on the CPU.
    """

    def __init__(self, data_dir: Path, *, needs_zygote: bool = True) -> None:
        self._socket, self._log_file = data_dir / "zygote.sock", data_dir / "logs" / "zygote.log"
        self._needs_zygote = needs_zygote
        self._zygote: subprocess.Popen[bytes] | None = None
        self._is_ready, self._started = False, -RESTART_SECONDS

    def submit(self, folder: Path, spec: RunSpec) -> int:
        """As `Backend.submit`."""
        if spec.kind == "fake" or spec.gpu is not None:
            return start_run(folder, spec)
        try:
            return start_forked_run(self._socket, folder, spec)
        except TryAgainError:
            self._is_ready = False
            raise

    def status(self, folder: Path) -> Status:
        """As `Backend.status`."""
        if is_alive(folder):
            return "alive"
        return "ended" if folder.is_dir() else "lost"

    def stop(self, folder: Path, attempt: int, pid: int | None, *, at_once: bool) -> bool:
        """As `Backend.stop`."""
        number = signal.SIGKILL if at_once else signal.SIGTERM
        found = find_pid(folder, attempt) or (pid if pid is not None and holds_lock(pid, folder) else None)
        return found is not None and signal_run(found, folder, number)

    def logs(self, folder: Path, attempt: int) -> str:
        """As `Backend.logs`."""
        parts = []
        for name in ("stdout", "stderr"):
            with suppress(OSError), (attempt_folder(folder, attempt) / name).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - LOG_BYTES))
                parts.append(file.read().decode("utf-8", "replace"))
        return "\n".join(part for part in parts if part)

    def tend(self) -> bool:
        """As `Backend.tend`: starts another zygote where the last one has died; runs go on meanwhile."""
        if not self._needs_zygote:
            return True
        if self._zygote is not None and self._zygote.poll() is not None:
            _log.warning("zygote ended with code %s; starting another", self._zygote.returncode)
            self._forget()
        if self._zygote is None and time.monotonic() - self._started >= RESTART_SECONDS:
            self._log_file.parent.mkdir(exist_ok=True)
            self._started, self._zygote = time.monotonic(), start_zygote(self._socket, self._log_file)
        if self._zygote is not None and not self._is_ready:
            self._is_ready = is_ready(self._socket)
        return self._is_ready

    def close(self) -> None:
        """As `Backend.close`."""
        zygote = self._zygote
        self._forget()
        if zygote is not None:
            with suppress(subprocess.TimeoutExpired):
                zygote.wait(5)

    def _forget(self) -> None:
        if self._zygote is not None and self._zygote.stdin is not None:
            self._zygote.stdin.close()
        self._zygote, self._is_ready = None, False
