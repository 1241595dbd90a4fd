import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from postil.data.files.parquet import check_parquet, plain_value, read_parquet
from postil.errors import DataError
from postil.problems import Problem


def write(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    parquet.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def test_rows_are_records_like_those_of_json(tmp_path: Path) -> None:
    rows = [
        {"question": "q1", "answer": "a1", "n": 1, "messages": [{"role": "user", "content": "x"}]},
        {"question": "q2", "answer": None, "n": 2, "messages": None},
    ]
    path = write(tmp_path / "a.parquet", rows)
    check_parquet(path)
    assert list(read_parquet(path)) == list(enumerate(rows, start=1))


def test_values_are_plain() -> None:
    assert str(plain_value(3.1)) == "3.1" and isinstance(plain_value(3.1), Decimal)
    assert plain_value(float("nan")) is None
    assert plain_value(Decimal("3.10")) == Decimal("3.10")
    assert plain_value(datetime.datetime(2024, 1, 2, 3, 4)) == "2024-01-02 03:04:00"
    assert plain_value(datetime.date(2024, 1, 2)) == "2024-01-02"
    assert plain_value(b"text \xff") == "text \\xff"
    assert plain_value({1: [(1.5, True)]}) == {"1": [[Decimal("1.5"), True]]}


def test_many_batches_are_counted_through(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [{"i": i} for i in range(1000)], row_group_size=300)
    assert [(number, fields["i"]) for number, fields in read_parquet(path)] == [(i + 1, i) for i in range(1000)]  # type: ignore[misc]


@pytest.mark.parametrize("size", [4, 8, 100, -20])
def test_a_truncated_file_cannot_be_opened(tmp_path: Path, size: int) -> None:
    path = write(tmp_path / "a.parquet", [{"question": "q" * 50, "answer": "a"}])
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError) as caught:
        check_parquet(path)
    assert caught.value.key == "data.broken_parquet"


def test_damage_in_the_middle_ends_with_a_located_problem(tmp_path: Path) -> None:
    rows = [{"text": f"question {i} " * 20} for i in range(600)]
    path = write(tmp_path / "a.parquet", rows, row_group_size=300, compression="gzip", use_dictionary=False)
    data = bytearray(path.read_bytes())
    second = parquet.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data[second + 40 : second + 400] = bytes(360)
    path.write_bytes(data)
    *good, problem = read_parquet(path)
    assert len(good) >= 256
    assert isinstance(problem, Problem)
    assert (problem.code, problem.place.row) == ("damaged_rows", len(good) + 1)


def test_a_group_of_rows_larger_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", [{"text": "x" * 1000}])
    monkeypatch.setattr("postil.data.files.parquet.MAX_GROUP_BYTES", 50)
    with pytest.raises(DataError) as caught:
        check_parquet(path)
    assert caught.value.key == "data.parquet_too_big"
