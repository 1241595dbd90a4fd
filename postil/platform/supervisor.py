"""The supervisor: five times a second it compares what should run with what runs, and does what is missing.

    python -m postil.platform.supervisor --data DIR [--exit-with-parent]

It is no broker and keeps nothing that it cannot read again: jobs stand in the database, runs in their folders, and
whether a run lives says its lock. So it may be killed at any moment; the next one takes up the runs that live. There is
one for a data folder (`supervisor.lock`). When it is asked to end, runs go on.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import FrameType

from postil.errors import PostilError
from postil.platform.chores import Chores
from postil.platform.jobs.backends import Backend, LocalBackend
from postil.platform.jobs.reconciling import Reconciler
from postil.platform.jobs.slots import find_slots
from postil.platform.redaction import redact_logs
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.recipes.run_lock import take_lock

AFTER_ERROR_SECONDS = 1.0
_log = logging.getLogger(__name__)


def supervise(service: Service, should_stop: Callable[[], bool], backend: Backend | None = None) -> None:
    """Ticks until it is told to stop; runs go on then.

    Raises:
        TryAgainError: another supervisor looks after this data folder.
        CannotWriteError: the data folder cannot be written.
    """
    data_dir = service.settings.data_dir
    lock = take_lock(data_dir / "supervisor.lock", "platform.jobs.second_supervisor")
    slots = find_slots(service.settings)
    made = backend or LocalBackend(data_dir, needs_zygote=any(slot.kind == "cpu" for slot in slots))
    try:
        with closing(made):
            reconciler = Reconciler(service, made, slots)
            with closing(Chores(service, made)) as chores:
                while not should_stop():
                    time.sleep(service.settings.poll_seconds if _tick(reconciler, chores) else AFTER_ERROR_SECONDS)
    finally:
        os.close(lock)


def _tick(reconciler: Reconciler, chores: Chores) -> bool:
    try:
        reconciler.tick()
        chores.tick()
    except PostilError as error:
        _log.warning("%s %s", error.message, error.hint)
        return False
    except Exception:  # a bug of ours in one place is no reason to leave all runs alone
        _log.exception("unexpected")
        return False
    return True


def main() -> None:
    """The process."""
    parser = argparse.ArgumentParser(prog="python -m postil.platform.supervisor")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--exit-with-parent", action="store_true", help="also ends when standard input closes")
    given = parser.parse_args()
    data_dir: Path = given.data
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    redact_logs()
    stop = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask)
    if given.exit_with_parent:
        threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()
    try:
        supervise(open_service(load_settings(data_dir)), stop.is_set)
    except PostilError as error:
        sys.stderr.write(f"{error.message} {error.hint}\n")
        raise SystemExit(error.exit_code) from None


def _stop_with_parent(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


if __name__ == "__main__":
    main()
