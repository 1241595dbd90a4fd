"""The data room's sandboxed child, run on an original within the limits of the service."""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from postil.data.files.sandbox import Limits, run_in_child
from postil.platform.datasets.options import DatasetOptions
from postil.platform.service import Service
from postil.platform.settings import ServiceSettings
from postil.platform.store.tables import Dataset

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
