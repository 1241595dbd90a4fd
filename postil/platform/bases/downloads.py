"""Downloads of bases, one at a time, each in a child process; the list of what waits is the database.

The supervisor calls `tend_downloads` in its loop. A download that was cut off by a `kill -9` of the supervisor, of the
child or of both is "downloading" without anybody at work: it is started again and goes on where it stopped. A broken
connection is tried again after the waits of the settings; what brings new bytes renews the tries.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from postil.models.catalog import find_entry
from postil.platform.service import Service
from postil.platform.store.hub_tokens import find_hub_token
from postil.platform.store.tables import BaseModelEntry
from postil.platform.stored_errors import StoredError

WRITE_SECONDS = 1.0
CHILD_MODULE = "postil.platform.bases.downloading"
AT_WORK = ("waiting", "downloading")
_KEPT_VARIABLES = ("PATH", "HOME", "USERPROFILE", "SYSTEMROOT", "TMPDIR", "TEMP", "LANG", "LC_ALL", "POSTIL_CACHE")
_KEPT_BEGINNINGS = ("HF_", "HUGGING", "MODELSCOPE_", "XDG_", "SSL_", "REQUESTS_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_LOG = logging.getLogger(__name__)


@dataclass
class _Work:
    """What this process is at.

    Args:
        tries: broken downloads of a base in a row that brought nothing.
    """

    thread: threading.Thread | None = None
    not_before: dict[str, float] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)


_WORK = _Work()


@dataclass(frozen=True, slots=True)
class _Wanted:
    id: str
    model: str
    revision: str | None
    hub: str
    token: str | None = field(default=None, repr=False)


def tend_downloads(service: Service) -> bool:
    """Starts the download that has waited longest, unless one is at work; True while one is. Comes back at once."""
    if _WORK.thread is not None and _WORK.thread.is_alive():
        return True
    _WORK.thread = None
    wanted = next((w for w in _waiting(service) if _WORK.not_before.get(w.id, 0.0) <= time.monotonic()), None)
    if wanted is None:
        return False
    _WORK.thread = threading.Thread(target=_guarded, args=(service, wanted), daemon=True)
    _WORK.thread.start()
    return True


def download(service: Service, wanted: _Wanted) -> None:
    """Fetches one base; its row says how far it is and what came of it."""
    if not _set(service, wanted, AT_WORK, state="downloading", error=None):
        return
    last: Mapping[str, Any] = {}
    written_at = 0.0
    for told in _run_child(replace(wanted, token=find_hub_token(service, wanted.hub))):
        if "done" not in told:
            last = told
        elif time.monotonic() - written_at >= WRITE_SECONDS:
            written_at = time.monotonic()
            if not _set(service, wanted, AT_WORK, num_bytes=told["total"], done_bytes=told["done"]):
                return  # forbidden meanwhile; leaving the loop ends the child
            _note_progress(wanted, told["done"])
    _finish(service, wanted, last)


def _waiting(service: Service) -> Iterator[_Wanted]:
    query = select(BaseModelEntry).where(
        BaseModelEntry.state.in_(AT_WORK), BaseModelEntry.source.in_(("hf", "modelscope"))
    )
    with service.database.reading() as session:
        rows = session.scalars(query.order_by(BaseModelEntry.updated_at)).all()
    for row in rows:
        entry = find_entry(row.name)
        model = entry.modelscope_id if entry and row.source == "modelscope" else row.name
        yield _Wanted(row.id, model, row.revision, row.source)


def _guarded(service: Service, wanted: _Wanted) -> None:
    try:
        download(service, wanted)
    except Exception:  # the database is locked, say: the row stays as it is, and is taken up again
        _LOG.exception("download of %s", wanted.model)
        _WORK.not_before[wanted.id] = time.monotonic() + WRITE_SECONDS


def _run_child(wanted: _Wanted) -> Iterator[Mapping[str, Any]]:
    """What the child tells, line by line; it does not outlive this."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", CHILD_MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_environment(),
        text=True,
        encoding="utf-8",
    )
    assert child.stdin is not None and child.stdout is not None
    try:
        # A token goes through the pipe: command lines and environments of processes can be looked at.
        request = {"model": wanted.model, "revision": wanted.revision, "hub": wanted.hub, "token": wanted.token}
        child.stdin.write(json.dumps(request) + "\n")
        child.stdin.flush()
        for line in child.stdout:
            if line.endswith("\n"):
                yield json.loads(line)
    except BrokenPipeError:  # it died already
        return
    finally:
        child.kill()
        child.stdin.close()
        child.stdout.close()
        child.wait()


def _environment() -> dict[str, str]:
    """What a hub's client reads, and nothing of the service's own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT_VARIABLES or name.startswith(_KEPT_BEGINNINGS) or name.upper() in _PROXIES
    }
    kept.pop("HF_HUB_OFFLINE", None)  # runs are offline; this process is the one that is not
    modules = [str(Path(entry or ".").resolve()) for entry in sys.path]
    return kept | {"PYTHONPATH": os.pathsep.join(modules), "PYTHONUTF8": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}


def _finish(service: Service, wanted: _Wanted, told: Mapping[str, Any]) -> None:
    if "path" in told:
        size = told["facts"]["stored_bytes"]
        values = {"path": told["path"], "revision": told["revision"], "facts": told["facts"]}
        with_sizes = {"num_bytes": size, "done_bytes": size}
        _set(service, wanted, AT_WORK, state="ready", error=None, **values, **with_sizes)
        _forget(wanted)
    elif "error" in told and not told["may_pass"]:
        _set(service, wanted, AT_WORK, state="failed", error=told["error"])
        _forget(wanted)
    else:
        killed = StoredError("platform.bases.download_died", {"name": wanted.model}).as_dict()
        _try_again(service, wanted, told.get("error") or killed)


def _try_again(service: Service, wanted: _Wanted, error: Mapping[str, Any]) -> None:
    waits = service.settings.retry_seconds
    tried = _WORK.tries.get(wanted.id, 0)
    if tried >= len(waits):
        _set(service, wanted, AT_WORK, state="failed", error=dict(error))
        _forget(wanted)
        return
    _WORK.tries[wanted.id] = tried + 1
    _WORK.not_before[wanted.id] = time.monotonic() + waits[tried]
    _set(service, wanted, AT_WORK, state="waiting", error=dict(error))


def _note_progress(wanted: _Wanted, done: int) -> None:
    if done > _WORK.done.get(wanted.id, 0):
        _WORK.tries[wanted.id] = 0
    _WORK.done[wanted.id] = done


def _forget(wanted: _Wanted) -> None:
    for notes in (_WORK.tries, _WORK.not_before, _WORK.done):
        notes.pop(wanted.id, None)


def _set(service: Service, wanted: _Wanted, states: tuple[str, ...], **values: Any) -> bool:
    """Changes the row, if it is still wanted."""
    with service.database.writing() as session:
        found = session.execute(
            update(BaseModelEntry)
            .where(BaseModelEntry.id == wanted.id, BaseModelEntry.state.in_(states))
            .values(**values, updated_at=service.now())
        )
        return bool(found.rowcount)  # type: ignore[attr-defined]
