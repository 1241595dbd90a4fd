"""A few hundred broken files; `make fuzz` reads twenty thousand. What was found once stands below for good."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from postil.data.records import read_records
from postil.errors import DataError
from tools.fuzz.judging import SLOW_ENDINGS, judge, make_file
from tools.fuzz.seeds import seeds

SEED = 20_241_124
ENDINGS = sorted({Path(name).suffix for name in seeds()})


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """One good file of every kind."""
    return seeds()


def test_the_seeds_themselves_are_read(files: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        assert judge(tmp_path / name) is None, name


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.timeout(120)
def test_broken_files_are_read_or_refused_in_words(files: dict[str, bytes], tmp_path: Path, ending: str) -> None:
    count = 3 if ending in SLOW_ENDINGS else 30
    of_kind = {name: data for name, data in files.items() if name.endswith(ending)}
    for number in range(count):
        path = make_file(number, SEED, of_kind, tmp_path)
        wrong = judge(path)
        assert wrong is None, f"number {number}, {path.name}: {wrong}"
        path.unlink()


def test_a_number_always_makes_the_same_file(files: dict[str, bytes], tmp_path: Path) -> None:
    def made() -> Iterator[tuple[str, bytes]]:
        for number in range(20):
            path = make_file(number, SEED, files, tmp_path)
            yield path.name, path.read_bytes()

    first = list(made())
    assert first == list(made())
    assert len({data for _, data in first}) > 15


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"</Relationships>", b"</Relation"), (b'Id="rId1"', b'Id="rId77"'), (b"<Relationship ", b"<Relationship <")],
)
def test_a_workbook_whose_relations_are_damaged_is_refused(
    files: dict[str, bytes], tmp_path: Path, old: bytes, new: bytes
) -> None:
    path = tmp_path / "book.xlsx"
    with zipfile.ZipFile(io.BytesIO(files["book.xlsx"])) as whole, zipfile.ZipFile(path, "w") as damaged:
        for name in whole.namelist():
            content = whole.read(name)
            damaged.writestr(name, content.replace(old, new) if name == "xl/_rels/workbook.xml.rels" else content)
    assert judge(path) is None
    with pytest.raises(DataError):
        read_records(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "names no file"), (b"\x00" * 9, "names no file")],
)
def test_a_refusal_that_names_no_file_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, reason: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert judge(path) is None
    monkeypatch.setattr("tools.fuzz.judging.say", lambda key, **values: "no name")
    assert reason in str(judge(path))
