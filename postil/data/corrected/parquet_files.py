"""Parquet again: the same columns and types, with rows left out and values changed."""

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from postil.data.corrected.changes import RecordChange
from postil.errors import DataError

_BATCH_ROWS = 256


def write_parquet(source: Path, target: Path, changes: Sequence[RecordChange]) -> None:
    """Writes the table at `source` with the changes in it.

    Raises:
        DataError: a new value does not fit its column's type.
    """
    from pyarrow import ArrowException, parquet

    by_row = {change.before.place.row: change for change in changes}
    with parquet.ParquetFile(source) as file, parquet.ParquetWriter(target, file.schema_arrow) as writer:
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
            here = {i: by_row[number + i + 1] for i in range(batch.num_rows) if number + i + 1 in by_row}
            number += batch.num_rows
            try:
                writer.write_batch(_corrected(batch, here) if here else batch)
            except ArrowException as error:
                raise DataError("data.unfit_for_column", path=str(source), reason=str(error).split("\n")[0]) from error


def _corrected(batch: Any, changes: dict[int, RecordChange]) -> Any:
    import pyarrow

    columns = {name: batch.column(name).to_pylist() for name in batch.schema.names}
    for i, change in changes.items():
        if change.after is not None:
            for name, old in change.before.fields.items():
                if change.after.fields[name] != old:
                    columns[name][i] = _stored(change.after.fields[name])
    kept = [i for i in range(batch.num_rows) if i not in changes or changes[i].after is not None]
    arrays = [
        pyarrow.array([columns[field.name][i] for i in kept], type=field.type, from_pandas=False)
        for field in batch.schema
    ]
    return pyarrow.record_batch(arrays, schema=batch.schema)


def _stored(value: Any) -> Any:
    """The opposite of the reader's `plain_value`, as far as types are concerned."""
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {key: _stored(item) for key, item in value.items()}
        case list():
            return [_stored(item) for item in value]
        case _:
            return value
