"""The check of a data set: the data room's examination in its sandboxed child, for every new version.

The list of what waits is the database itself: data sets whose state is "validating". The supervisor calls `tend_checks`
in its loop, which keeps at most two checks at work in threads of its process. That survives a `kill -9` of anything:
of the web process, because it only writes the state; of the supervisor, because the next one finds the state as it was
and checks anew; of the child, because its end is noticed and it gets a second try. A check is idempotent: it writes
the same objects under the same keys, and its last step, one transaction, counts only while its version is the newest.
"""

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from postil.data.checks.overlay import Edit, Overlay
from postil.errors import DataError, PostilError
from postil.language import current_language
from postil.models.base_folder import STARTER
from postil.platform.datasets.child import Original, run_on_original
from postil.platform.datasets.datasets import finish_deletion, storage_prefix
from postil.platform.datasets.options import DatasetOptions
from postil.platform.datasets.overlays import overlay_at, read_edits
from postil.platform.datasets.uploads import clear_abandoned
from postil.platform.service import Service
from postil.platform.store.tables import Account, Dataset, DatasetVersion
from postil.platform.stored_errors import StoredError

AT_ONCE = 2
RETRY_SECONDS = 5.0
SWEEP_SECONDS = 600.0
TOKEN_SHARE = 0.4
"""Of a check's seconds, what counting tokens may take; the rest of the rows is guessed."""
_DIED = ("data.reader_died", "data.reader_out_of_memory")
_LOG = logging.getLogger(__name__)


@dataclass
class _Work:
    """What this process is at; identifiers are of no two services."""

    threads: dict[str, threading.Thread] = field(default_factory=dict)
    not_before: dict[str, float] = field(default_factory=dict)
    swept_at: float = 0.0


_WORK = _Work()


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be checked, read in one transaction.

    Args:
        overlay: all edits so far, those that the version adds included.
        base_edits: how many of them are of the versions before.
        fixes: codes of problems whose fixes are to be added.
    """

    original: Original
    number: int
    overlay: Overlay
    base_edits: int
    fixes: tuple[str, ...]
    options: DatasetOptions
    language: str


@dataclass
class _Found:
    """What the child has sent."""

    edits: list[Edit] = field(default_factory=list)
    problems: list[Any] = field(default_factory=list)
    rows: list[Any] = field(default_factory=list)
    has_all_rows: bool = False
    tokens: list[int] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)


def tend_checks(service: Service) -> int:
    """Starts checks that wait, as many as may be at work; returns how many are. Comes back at once."""
    for dataset_id in [key for key, thread in _WORK.threads.items() if not thread.is_alive()]:
        del _WORK.threads[dataset_id]
    _sweep(service)
    room = AT_ONCE - len(_WORK.threads)
    for dataset_id, state in _waiting(service) if room > 0 else ():
        if dataset_id in _WORK.threads or _WORK.not_before.get(dataset_id, 0.0) > time.monotonic():
            continue
        work = finish_deletion if state == "deleting" else check_dataset
        thread = threading.Thread(target=_guarded, args=(work, service, dataset_id), daemon=True)
        _WORK.threads[dataset_id] = thread
        thread.start()
        room -= 1
        if not room:
            break
    return len(_WORK.threads)


def check_dataset(service: Service, dataset_id: str) -> bool:
    """Checks the newest version; False where there is nothing to check, or it was changed or deleted meanwhile.

    Raises:
        CannotWriteError: the disk is full; the check is to be tried again.
    """
    task = _task(service, dataset_id)
    if task is None:
        return False
    try:
        found = _examine(service, task)
    except DataError as error:
        return _refuse(service, task, StoredError.of(error, path=task.original.file_name))
    return _keep(service, task, found)


def _waiting(service: Service) -> list[tuple[str, str]]:
    query = select(Dataset.id, Dataset.state).where(Dataset.state.in_(("validating", "deleting")))
    with service.database.reading() as session:
        return [(row.id, row.state) for row in session.execute(query.order_by(Dataset.updated_at).limit(50))]


def _guarded(work: Any, service: Service, dataset_id: str) -> None:
    """A thread's whole work. What may pass is tried again; a bug of ours ends the check, so that it does not go on."""
    try:
        work(service, dataset_id)
    except (PostilError, DBAPIError, OSError) as error:  # a full disk, a locked database, no room for a process
        _LOG.warning("check of %s: %s", dataset_id, error)
        _WORK.not_before[dataset_id] = time.monotonic() + RETRY_SECONDS
    except Exception as error:
        _LOG.exception("check of %s", dataset_id)
        _WORK.not_before[dataset_id] = time.monotonic() + RETRY_SECONDS
        task = _task(service, dataset_id)
        if task is not None and work is check_dataset:
            _refuse(service, task, StoredError("platform.datasets.check_failed", {"reason": type(error).__name__}))


def _sweep(service: Service) -> None:
    if time.monotonic() - _WORK.swept_at > SWEEP_SECONDS:
        _WORK.swept_at = time.monotonic()
        clear_abandoned(service)


def _task(service: Service, dataset_id: str) -> _Task | None:
    with service.database.reading() as session:
        row = session.get(Dataset, dataset_id)
        if row is None or row.state != "validating":
            return None
        version = session.get_one(DatasetVersion, (dataset_id, row.current_version))
        account = session.get_one(Account, row.account_id)
        overlay = overlay_at(session, row, version.number)
        return _Task(
            original=Original.of(row),
            number=version.number,
            overlay=overlay,
            base_edits=len(overlay.edits) - len(version.overlay["edits"]),
            fixes=tuple(version.overlay["fixes"]),
            options=DatasetOptions.from_dict(version.options),
            language=account.language or current_language(),
        )


def _examine(service: Service, task: _Task) -> _Found:
    """The child's findings; a child that dies gets a second try, since something else may have killed it."""
    try:
        return _examine_once(service, task)
    except DataError as error:
        if error.key not in _DIED:
            raise
    return _examine_once(service, task)


def _examine_once(service: Service, task: _Task) -> _Found:
    arguments = {
        "overlay": task.overlay.as_dict(),
        "fixes": list(task.fixes),
        "purpose": task.options.kind,
        "tokenizer": str(STARTER),
        "token_seconds": TOKEN_SHARE * service.settings.check_seconds,
        "language": task.language,
    }
    found = _Found()
    for part in run_on_original(service, "examine", task.original, task.options, arguments):
        found.edits += read_edits(part.get("edits", ()))
        found.problems += part.get("problems", ())
        found.rows += part.get("rows", ())
        found.has_all_rows |= part.get("has_all_rows", False)
        found.tokens += part.get("tokens", ())
        found.summary |= part.get("summary", {})
    return found


def _keep(service: Service, task: _Task, found: _Found) -> bool:
    """Writes the objects first, then the row that names them."""
    key = f"{storage_prefix(task.original.dataset_id)}/v{task.number}"
    overlay = Overlay(task.original.sha256, tuple(found.edits))
    service.storage.write(f"{key}/problems.jsonl", _lines(found.problems))
    service.storage.write(f"{key}/rows.jsonl", _lines([{"has_all_rows": found.has_all_rows}, *found.rows]))
    service.storage.write(f"{key}/tokens.json", [json.dumps(found.tokens).encode()])
    service.storage.write(f"{key}/overlay.json", [json.dumps(overlay.as_dict(), ensure_ascii=False).encode()])
    own = found.edits[task.base_edits :]
    summary = {**found.summary, "changes": dict(Counter(edit.code for edit in own))}
    state = "ready" if summary["trainable"] and not summary["num_errors"] else "needs_attention"
    with service.database.writing() as session:
        if _end(session, task, state, None):
            session.execute(
                update(DatasetVersion)
                .where(DatasetVersion.dataset_id == task.original.dataset_id, DatasetVersion.number == task.number)
                .values(
                    overlay={"edits": [edit.as_dict() for edit in own], "fixes": []},
                    num_edits=len(found.edits),
                    summary=summary,
                    report_key=key,
                    rows=summary["trainable"],
                )
            )
            return True
        is_gone = session.get(Dataset, task.original.dataset_id) is None
    service.storage.delete(storage_prefix(task.original.dataset_id) if is_gone else key)
    return False


def _refuse(service: Service, task: _Task, error: StoredError) -> bool:
    with service.database.writing() as session:
        return _end(session, task, "unreadable", error.as_dict())


def _end(session: Any, task: _Task, state: str, error: dict[str, Any] | None) -> bool:
    """Ends the check, unless the data set has gone on, or away, meanwhile."""
    done = session.execute(
        update(Dataset)
        .where(
            Dataset.id == task.original.dataset_id,
            Dataset.current_version == task.number,
            Dataset.state == "validating",
        )
        .values(state=state, error=error)
    )
    return bool(done.rowcount)


def _lines(values: Iterable[Any]) -> Iterator[bytes]:
    """One value a line; of a problem its code comes first: what is of other codes is passed over unread."""
    for value in values:
        yield json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace") + b"\n"
