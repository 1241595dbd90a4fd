"""The data room's sandboxed child, run on an original within the limits of the service.

Checks run in the supervisor, which counts them itself; of those that a request waits for, two are at work in a process.
"""

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from postil.data.checks.overlay import Overlay
from postil.data.files.sandbox import Limits, run_in_child
from postil.errors import DataError, TooManyError
from postil.platform.datasets.options import DatasetOptions
from postil.platform.datasets.overlays import overlay_at
from postil.platform.datasets.views import checked_version, get_version, own_dataset
from postil.platform.service import Service
from postil.platform.settings import ServiceSettings
from postil.platform.store.tables import Dataset
from postil.platform.stored_errors import StoredError

AT_ONCE = 2
_CHILDREN = threading.BoundedSemaphore(AT_ONCE)
_PATIENCE_SECONDS = 20.0

_LARGEST_UNPACKED_BYTES = 1 << 30
_NICE = 5
"""Gives way to pages and answers, and runs give way to it."""
_WAIT_FACTOR = 3
"""A child that others leave no processor to is waited for so much longer than its own seconds."""


@dataclass(frozen=True, slots=True)
class Original:
    """The file of a data set.

    Args:
        file_name: how the user calls it; what the child says goes by this name.
    """

    dataset_id: str
    key: str
    file_name: str
    sha256: str

    @classmethod
    def of(cls, row: Dataset) -> "Original":
        """That of a row."""
        return cls(row.id, row.original_key, row.file_name, row.sha256)


@dataclass(frozen=True, slots=True)
class VersionState:
    """What a version of a data set is made of.

    Args:
        overlay: all edits so far.
        report_key: where its report lies; None until it is checked.
    """

    original: Original
    overlay: Overlay
    options: DatasetOptions
    number: int
    report_key: str | None


def find_state(
    service: Service, account_id: str, dataset_id: str, number: int | None = None, *, is_checked: bool = False
) -> VersionState:
    """That of a version; None is the newest.

    Args:
        is_checked: it has to be: only of a checked version it is certain that all its fixes are among the edits.

    Raises:
        MissingInputError: there is no such data set or version.
        TryAgainError, ConflictError, DataError: it has not been checked; see `checked_version`.
    """
    with service.database.reading() as session:
        row = own_dataset(session, account_id, dataset_id)
        version = get_version(session, row, number)
        if is_checked:
            checked_version(row, version)
        overlay, options = overlay_at(session, row, version.number), DatasetOptions.from_dict(version.options)
        return VersionState(Original.of(row), overlay, options, version.number, version.report_key)


@contextmanager
def place_for_child(original: Original) -> Iterator[None]:
    """A place among the children of this process; what they say goes by the name that the user knows.

    Raises:
        TooManyError: others have the places, and go on having them.
    """
    if not _CHILDREN.acquire(timeout=_PATIENCE_SECONDS):
        raise TooManyError("platform.datasets.busy", retry_after_seconds=_PATIENCE_SECONDS)
    try:
        yield
    except DataError as error:
        named = StoredError.of(error, path=original.file_name)
        raise DataError(named.key, **named.values) from error
    finally:
        _CHILDREN.release()


def run_on_original(
    service: Service,
    job: str,
    original: Original,
    options: DatasetOptions,
    arguments: Mapping[str, Any],
    scratch: Path | None = None,
) -> Iterator[Any]:
    """Runs a job of the child on the file and yields what it sends.

    Args:
        scratch: where the child may write; None is a folder that is deleted afterwards.

    Raises:
        DataError: what the child says of the file, or it died or took too much.
        CannotWriteError: the scratch folder is full.
    """
    limits = limits_of(service.settings)
    with (
        service.storage.local_path(original.key) as path,
        tempfile.TemporaryDirectory(prefix="postil-", ignore_cleanup_errors=True) as own,
    ):
        known = {
            "path": str(path),
            "name": original.file_name,
            "options": asdict(options.reading()),
            "scratch": str(scratch or own),
        }
        yield from run_in_child(job, {**known, **arguments}, limits)


def limits_of(settings: ServiceSettings) -> Limits:
    """What one child may use."""
    return Limits(
        cpu_seconds=settings.check_seconds,
        memory_bytes=settings.check_memory_bytes,
        wait_seconds=float(_WAIT_FACTOR * settings.check_seconds),
        file_bytes=_LARGEST_UNPACKED_BYTES,
        nice=_NICE,
    )
