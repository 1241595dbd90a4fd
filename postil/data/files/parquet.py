"""Parquet files, as data sets are published: records like those of JSON."""

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from postil.errors import DataError
from postil.problems import Place, Problem

MAX_GROUP_BYTES = 2 << 30
_BATCH_ROWS = 256


def check_parquet(path: Path) -> None:
    """Opens the file and reads its schema.

    Raises:
        DataError: it is damaged, or a group of its rows unpacks to more than the limit.
    """
    _open(path).close()


def read_parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]] | Problem]:
    """(row from 1, fields) of every row; damage ends the file with a problem."""
    file, number = _open(path), 0
    try:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            for fields in batch.to_pylist():
                number += 1
                yield number, {name: plain_value(value) for name, value in fields.items()}
    except (OSError, ValueError, ArithmeticError, NotImplementedError) as error:  # pyarrow's own are kinds of these
        reason = str(error).split("\n")[0][:80]
        yield Problem("damaged_rows", "error", Place(path.name, number + 1), excerpt=reason)
    finally:
        file.close()


def _open(path: Path) -> Any:
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path, memory_map=False)
        groups = [file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups)]
    except (OSError, ValueError, NotImplementedError) as error:
        raise DataError("data.broken_parquet", path=str(path)) from error
    if max(groups, default=0) > MAX_GROUP_BYTES:
        file.close()
        raise DataError("data.parquet_too_big", path=str(path))
    return file


def plain_value(value: Any) -> Any:
    """A value as a JSON file would hold it: numbers as they are written, times as text, nothing for "not a number"."""
    match value:
        case float():
            # "3.10" cannot be had back from a float; the shortest text that means the same number can.
            return Decimal(repr(value)) if value == value and abs(value) != float("inf") else None
        case datetime():
            return value.isoformat(" ")
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case bytes():
            return value.decode("utf-8", errors="backslashreplace")
        case dict():
            return {str(key): plain_value(item) for key, item in value.items()}
        case list() | tuple():
            return [plain_value(item) for item in value]
        case _:
            return value
