"""Uploads: streamed, capped, resumable, hashed. A broken one leaves nothing that counts.

At once (`start_upload`), or in pieces (`begin_upload`, `append_upload` at an offset, `finish_upload`). The row comes
first, as "uploading"; bytes go to a place that no reader looks at; when all are there, the object is moved into the
storage and the row becomes "validating" with its first version. What is abandoned is cleared away by `clear_abandoned`.
"""

import os
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from postil.errors import CannotWriteError, ConflictError, DataError, QuotaError
from postil.operating_system import os_reason
from postil.platform.dataset_names import check_dataset_name, name_of_file, shown_file_name
from postil.platform.dataset_views import DatasetView, own_dataset, view_of
from postil.platform.datasets import storage_prefix
from postil.platform.ids import new_id
from postil.platform.service import Service
from postil.platform.storage import CHUNK_BYTES, Stored, in_megabytes
from postil.platform.tables import Adapter, Dataset, DatasetVersion

ABANDONED_AFTER = timedelta(days=1)


def start_upload(
    service: Service, account_id: str, file_name: str, chunks: Iterable[bytes], name: str | None = None
) -> DatasetView:
    """Takes a whole file.

    Args:
        file_name: as the user's machine calls it, whatever stands in it.
        name: of the data set; None takes the file's.

    Raises:
        UsageError: no such name is taken.
        DataError: the file is empty, or larger than the service takes.
        QuotaError: it does not fit into what the account may store.
        CannotWriteError: the disk is full.
        Exception: what `chunks` raised. Nothing of the file is kept then.
    """
    view = begin_upload(service, account_id, file_name, name)
    try:
        limit, quota = _limit(service, account_id)
        stored = service.storage.write(_original_key(view.id), _capped(chunks, limit, quota))
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
    kept = check_dataset_name(name) if name is not None else check_dataset_name(name_of_file(shown))
    now = service.now()
    with service.database.writing() as session:
        _room_left(session, service, account_id)
        row = Dataset(
            id=new_id("ds"),
            account_id=account_id,
            name=kept,
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
        ConflictError: the bytes so far end elsewhere, or the upload is complete.
        DataError, QuotaError, CannotWriteError: as `start_upload`.
    """
    received = received_bytes(service, account_id, dataset_id)
    if offset != received:
        raise ConflictError("platform.uploads.other_offset", offset=offset, received=received)
    limit, quota = _limit(service, account_id)
    part = _part(service, dataset_id)
    try:
        part.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with part.open("ab") as file:
            for chunk in _capped(chunks, limit, quota, received):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CannotWriteError("platform.uploads.cannot_write", reason=os_reason(error)) from error
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
    part = _part(service, dataset_id)
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
    received = received_bytes(service, account_id, dataset_id)
    if num_bytes is not None and num_bytes != received:
        raise ConflictError("platform.uploads.other_offset", offset=num_bytes, received=received)
    part = _part(service, dataset_id)
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
    with service.database.writing() as session:
        row = session.get(Dataset, dataset_id)
        if row is None or row.account_id != account_id or row.state != "uploading":
            return
        session.delete(row)
    _part(service, dataset_id).unlink(missing_ok=True)
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


def _complete(service: Service, account_id: str, dataset_id: str, stored: Stored) -> DatasetView:
    """The quota is looked at again, in the transaction that counts: two uploads may have shared the last room."""
    if not stored.num_bytes:
        raise DataError("platform.uploads.empty")
    now = service.now()
    with service.database.writing() as session:
        row = own_dataset(session, account_id, dataset_id)
        if row.state != "uploading":
            raise ConflictError("platform.uploads.complete")
        if stored.num_bytes > _room_left(session, service, account_id):
            raise _over_quota(service)
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


def _limit(service: Service, account_id: str) -> tuple[int, int]:
    """The largest file that the service takes, and that the account has room for."""
    with service.database.reading() as session:
        return service.settings.max_upload_bytes, _room_left(session, service, account_id)


def _room_left(session: Session, service: Service, account_id: str) -> int:
    used = sum(
        int(session.scalar(select(func.sum(kept.num_bytes)).where(kept.account_id == account_id)) or 0)
        for kept in (Dataset, Adapter)
    )
    left = service.settings.max_account_bytes - used
    if left <= 0:
        raise _over_quota(service)
    return left


def _over_quota(service: Service) -> QuotaError:
    return QuotaError("platform.uploads.over_quota", limit=in_megabytes(service.settings.max_account_bytes))


def _capped(chunks: Iterable[bytes], limit: int, quota: int, received: int = 0) -> Iterator[bytes]:
    for chunk in chunks:
        received += len(chunk)
        if received > limit:
            raise DataError("platform.storage.too_large", limit=in_megabytes(limit))
        if received > quota:
            raise QuotaError("platform.uploads.no_room", left=in_megabytes(quota))
        yield chunk


def _read(part: Path) -> Iterator[bytes]:
    try:
        with part.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece
    except FileNotFoundError:
        return


def _original_key(dataset_id: str) -> str:
    return f"{storage_prefix(dataset_id)}/original"


def _part(service: Service, dataset_id: str) -> Path:
    return service.settings.data_dir / "uploads" / f"{dataset_id}.part"
