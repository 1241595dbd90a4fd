"""What bounds an upload: the largest file, the account's room on the disk, and how either side's end is told."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session

from postil.errors import CannotWriteError, DataError, QuotaError
from postil.operating_system import os_reason
from postil.platform.service import Service
from postil.platform.store.storage import in_megabytes
from postil.platform.usage import used_bytes


def upload_limits(service: Service, account_id: str) -> tuple[int, int]:
    """The largest file that the service takes, and that the account has room for."""
    with service.database.reading() as session:
        return service.settings.max_upload_bytes, room_left(session, service, account_id)


def room_left(session: Session, service: Service, account_id: str) -> int:
    """Bytes that the account's files may still take.

    Raises:
        QuotaError: none.
    """
    left = service.settings.max_account_bytes - used_bytes(session, account_id)
    if left <= 0:
        raise over_quota(service)
    return left


def over_quota(service: Service) -> QuotaError:
    """The error of an account whose room is taken."""
    return QuotaError("platform.uploads.over_quota", limit=in_megabytes(service.settings.max_account_bytes))


def capped(chunks: Iterable[bytes], limit: int, quota: int, received: int = 0) -> Iterator[bytes]:
    """The chunks, as long as they fit.

    Raises:
        DataError: more than the service takes.
        QuotaError: more than the account has room for.
    """
    for chunk in _sent(chunks):
        received += len(chunk)
        if received > limit:
            raise DataError("platform.storage.too_large", limit=in_megabytes(limit))
        if received > quota:
            raise QuotaError("platform.uploads.no_room", left=in_megabytes(quota))
        yield chunk


class _SenderBroke(Exception):
    """The bytes stopped coming; what was raised is the cause, and no trouble of our disk."""


@contextmanager
def upload_errors() -> Iterator[None]:
    """Says what the disk refuses, without our paths; lets through what the sender's side raised."""
    try:
        yield
    except _SenderBroke as broken:
        raise broken.__cause__ or broken from None
    except CannotWriteError as error:
        raise CannotWriteError("platform.uploads.cannot_write", reason=error.values["reason"]) from error
    except OSError as error:
        raise CannotWriteError("platform.uploads.cannot_write", reason=os_reason(error)) from error


def _sent(chunks: Iterable[bytes]) -> Iterator[bytes]:
    try:
        yield from chunks
    except OSError as error:
        raise _SenderBroke from error
