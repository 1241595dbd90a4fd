"""Uploads: streamed, capped, resumable, hashed. A broken one leaves nothing that counts.

At once (`start_upload`), or in pieces (`begin_upload`, `append_upload` at an offset, `finish_upload`). The row comes
first, as "uploading"; bytes go to a place that no reader looks at; when all are there, the object is moved into the
storage and the row becomes "validating" with its first version. What is abandoned is cleared away by `clear_abandoned`.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from filelock import FileLock, Timeout
from sqlalchemy import select

from postil.errors import ConflictError, DataError
from postil.platform.datasets.datasets import delete_pieces, pieces_path, storage_prefix
from postil.platform.datasets.names import check_dataset_name, free_name, name_of_file, shown_file_name
from postil.platform.datasets.upload_limits import capped, over_quota, room_left, upload_errors, upload_limits
from postil.platform.datasets.views import DatasetView, own_dataset, view_of
from postil.platform.ids import is_id, new_id
from postil.platform.service import Service
from postil.platform.store.storage import CHUNK_BYTES, Stored
from postil.platform.store.tables import Account, Dataset, DatasetVersion

ABANDONED_AFTER = timedelta(days=1)


def start_upload(
    service: Service, account_id: str, file_name: str, chunks: Iterable[bytes], name: str | None = None
) -> DatasetView:
    """Takes a whole file.

    Args:
        file_name: as the user's machine calls it, whatever stands in it.
        name: of the data set; None takes the file's, with a number where the account has this name already.

    Raises:
        UsageError: no such name is taken.
        DataError: the file is empty, or larger than the service takes.
        QuotaError: it does not fit into what the account may store.
        CannotWriteError: the disk is full.
        Exception: what `chunks` raised. Nothing of the file is kept then.
    """
    view = begin_upload(service, account_id, file_name, name)
    try:
        limit, quota = upload_limits(service, account_id)
        with upload_errors():
            stored = service.storage.write(_original_key(view.id), capped(chunks, limit, quota))
        return _complete(service, account_id, view.id, stored)
    except BaseException:
        abandon_upload(service, account_id, view.id)
        raise


def begin_upload(service: Service, account_id: str, file_name: str, name: str | None = None) -> DatasetView:
    """Makes room for a file that comes in pieces.

    Raises:
        UsageError: no such name is taken.
        QuotaError: the account's files take all that they may.
    """
    shown = shown_file_name(file_name)
    kept = check_dataset_name(name if name is not None else name_of_file(shown))
    now = service.now()
    with service.database.writing() as session:
        room_left(session, service, account_id)
        taken = select(Dataset.name).where(Dataset.account_id == account_id, Dataset.state != "deleting")
        row = Dataset(
            id=new_id("ds"),
            account_id=account_id,
            name=kept if name is not None else free_name(kept, set(session.scalars(taken))),
            file_name=shown,
            original_key="",
            sha256="",
            num_bytes=0,
            state="uploading",
            error=None,
            options={},
            current_version=0,
            created_at=now,
            updated_at=now,
        )
        session.add(row)
        session.flush()
        return view_of(session, row)


def append_upload(service: Service, account_id: str, dataset_id: str, offset: int, chunks: Iterable[bytes]) -> int:
    """Writes on at `offset`, which must be where the bytes so far end; returns how many there are now.

    What came of `chunks` before they broke is kept: ask `received_bytes`, and go on from there.

    Raises:
        MissingInputError: the account has no such data set.
        ConflictError: the bytes so far end elsewhere, another piece is on its way, or the upload is complete.
        DataError, QuotaError, CannotWriteError: as `start_upload`.
    """
    part = pieces_path(service, dataset_id)
    with _alone(service, account_id, dataset_id):
        received = received_bytes(service, account_id, dataset_id)
        if offset != received:
            raise ConflictError("platform.uploads.other_offset", offset=offset, received=received)
        _append(part, capped(chunks, *upload_limits(service, account_id), received))
    with service.database.writing() as session:
        own_dataset(session, account_id, dataset_id).updated_at = service.now()
    return part.stat().st_size


def received_bytes(service: Service, account_id: str, dataset_id: str) -> int:
    """How many bytes of an upload in pieces have come.

    Raises:
        MissingInputError: the account has no such data set.
        ConflictError: the upload is complete.
    """
    with service.database.reading() as session:
        if own_dataset(session, account_id, dataset_id).state != "uploading":
            raise ConflictError("platform.uploads.complete")
    part = pieces_path(service, dataset_id)
    return part.stat().st_size if part.exists() else 0


def finish_upload(
    service: Service, account_id: str, dataset_id: str, *, num_bytes: int | None = None, sha256: str | None = None
) -> DatasetView:
    """Says that all pieces are there; the check begins.

    Args:
        num_bytes, sha256: what the file has at the sender's; compared where they are given.

    Raises:
        MissingInputError: the account has no such data set.
        ConflictError: bytes are missing, the sum differs, or the upload is complete.
        DataError, QuotaError, CannotWriteError: as `start_upload`.
    """
    part = pieces_path(service, dataset_id)
    with _alone(service, account_id, dataset_id):
        received = received_bytes(service, account_id, dataset_id)
        if num_bytes is not None and num_bytes != received:
            raise ConflictError("platform.uploads.other_offset", offset=num_bytes, received=received)
        with upload_errors():
            stored = service.storage.write(_original_key(dataset_id), _read(part))
        if sha256 is not None and sha256.lower() != stored.sha256:
            service.storage.delete(stored.key)
            part.unlink(missing_ok=True)
            raise ConflictError("platform.uploads.other_sum")
        view = _complete(service, account_id, dataset_id, stored)
        part.unlink(missing_ok=True)
    return view


def abandon_upload(service: Service, account_id: str, dataset_id: str) -> None:
    """Takes an upload that is not complete away, with its bytes; nothing happens to a complete one."""
    if not is_id(dataset_id, "ds"):
        return
    with service.database.writing() as session:
        row = session.get(Dataset, dataset_id)
        if row is not None and (row.account_id != account_id or row.state != "uploading"):
            return
        if row is not None:  # deleted while its bytes came, otherwise
            session.delete(row)
    delete_pieces(service, dataset_id)
    service.storage.delete(storage_prefix(dataset_id))


def clear_abandoned(service: Service) -> int:
    """Takes uploads away to which nothing has come for a day; returns how many."""
    before = service.now() - ABANDONED_AFTER
    query = select(Dataset.account_id, Dataset.id).where(Dataset.state == "uploading", Dataset.updated_at < before)
    with service.database.reading() as session:
        found = session.execute(query).all()
    for account_id, dataset_id in found:
        abandon_upload(service, account_id, dataset_id)
    return len(found)


@contextmanager
def _alone(service: Service, account_id: str, dataset_id: str) -> Iterator[None]:
    """One request at a time for one upload; the lock goes with the process that holds it."""
    with service.database.reading() as session:
        own_dataset(session, account_id, dataset_id)
    part = pieces_path(service, dataset_id)
    part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(part.with_suffix(".lock"), timeout=0)
    try:
        with lock:
            yield
    except Timeout:
        raise ConflictError("platform.uploads.busy") from None
    if not part.exists():
        Path(lock.lock_file).unlink(missing_ok=True)


def _append(part: Path, chunks: Iterator[bytes]) -> None:
    with upload_errors(), part.open("ab") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _complete(service: Service, account_id: str, dataset_id: str, stored: Stored) -> DatasetView:
    """The quota is looked at again, in the transaction that counts: two uploads may have shared the last room."""
    if not stored.num_bytes:
        raise DataError("platform.uploads.empty")
    now = service.now()
    with service.database.writing() as session:
        session.get(Account, account_id, with_for_update=True)  # one after the other also on PostgreSQL
        row = own_dataset(session, account_id, dataset_id)
        if row.state != "uploading":
            raise ConflictError("platform.uploads.complete")
        if stored.num_bytes > room_left(session, service, account_id):
            raise over_quota(service)
        row.original_key, row.sha256, row.num_bytes = stored.key, stored.sha256, stored.num_bytes
        row.state, row.current_version, row.updated_at = "validating", 1, now
        first = DatasetVersion(
            dataset_id=dataset_id,
            number=1,
            account_id=account_id,
            what="upload",
            overlay={"edits": [], "fixes": []},
            num_edits=0,
            options={},
            summary=None,
            report_key=None,
            undoes=None,
            rows=0,
            created_at=now,
        )
        session.add(first)
        session.flush()
        return view_of(session, row)


def _read(part: Path) -> Iterator[bytes]:
    try:
        with part.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece
    except FileNotFoundError:
        return


def _original_key(dataset_id: str) -> str:
    return f"{storage_prefix(dataset_id)}/original"
