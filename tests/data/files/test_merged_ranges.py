"""Merged cells of workbooks that only their archives tell of."""

import zipfile
from pathlib import Path

import pytest

from postil.data.files import merged_ranges as ranges
from postil.data.files.merged_ranges import merged_ranges
from postil.data.files.old_workbooks import old_workbook_sheets, read_old_workbook
from postil.data.files.tables import Row
from postil.data.files.workbook_xml import MergedRange
from postil.data.records import read_records
from postil.data.validation import validate_dataset
from postil.errors import DataError
from tests.data.files.office import write_ods, write_xlsb, write_xlsx_parts, write_zip

CHATS = [
    ["Chat", "question", "answer"],
    ["c1", "Do you have lamps?", "Yes."],
    ["", "And big ones?", "Those too."],
    ["c2", "When do you open?", "At nine."],
    ["wide", "", ""],
]


def rows_of(path: Path, *sheets: str) -> list[Row]:
    return [row for _, row in read_old_workbook(path, sheets) if isinstance(row, Row)]


def test_merged_cells_of_ods_are_filled(tmp_path: Path) -> None:
    path = write_ods(tmp_path / "a.ods", {"One": CHATS}, spans={"One": {(1, 0): (2, 1), (4, 0): (1, 3)}})
    rows = rows_of(path, "One")
    assert [row.cells[0] for row in rows] == ["Chat", "c1", "c1", "c2", "wide"]
    assert [row.continued for row in rows] == [(), (), (0,), (), ()]
    assert rows[4].cells == ("wide", "wide", "wide") and rows[4].spread == (1, 2)


def test_merged_cells_of_xlsb_are_filled(tmp_path: Path) -> None:
    path = write_xlsb(tmp_path / "a.xlsb", CHATS, merged=[(1, 2, 0, 0), (4, 4, 0, 2)])
    rows = rows_of(path, *old_workbook_sheets(path).visible)
    assert [row.cells[0] for row in rows] == ["Chat", "c1", "c1", "c2", "wide"]
    assert [row.continued for row in rows] == [(), (), (0,), (), ()]
    assert rows[4].spread == (1, 2)


@pytest.mark.parametrize("kind", ["ods", "xlsb"])
def test_a_merged_answer_is_one_entry_of_several_rows(tmp_path: Path, kind: str) -> None:
    rows = [["question", "answer"], ["Is it open?", "At nine."], ["When?", ""], ["Where?", "Here."]]
    path = tmp_path / f"a.{kind}"
    if kind == "ods":
        write_ods(path, {"S": rows}, spans={"S": {(1, 1): (2, 1)}})
    else:
        write_xlsb(path, rows, merged=[(1, 2, 1, 1)])
    report = validate_dataset(read_records(path))
    assert [(c.question, c.answer) for c in report.conversations] == [
        ("Is it open?", "At nine."),
        ("When?", "At nine."),
        ("Where?", "Here."),
    ]
    assert not report.errors


def test_repeated_rows_and_cells_count(tmp_path: Path) -> None:
    """Office writes a run of equal rows, or cells, once and how often it stands there."""
    cell = '<table:table-cell {}office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    twice = cell.format('table:number-columns-repeated="2" ', "x")
    row = f'<table:table-row table:number-rows-repeated="3">{twice}</table:table-row>'
    merged = cell.format('table:number-rows-spanned="2" table:number-columns-spanned="1" ', "m")
    rows = [row, [twice, merged], [twice, "<table:covered-table-cell/>"]]
    path = write_ods(tmp_path / "a.ods", {"S": rows})
    assert merged_ranges(path) == {"S": [MergedRange(4, 2, 5, 2)]}
    assert [r.cells for r in rows_of(path, "S")] == [("x", "x")] * 3 + [("x", "x", "m")] * 2


def test_tables_of_charts_and_other_sheets_do_not_count(tmp_path: Path) -> None:
    inner = (
        '<table:table-row><table:table-cell><table:table table:name="One"><table:table-row>'
        '<table:table-cell table:number-rows-spanned="9"/></table:table-row></table:table></table:table-cell>'
        "</table:table-row>"
    )
    sheets = {"One": [inner, ["a", "b"]], "Two": [["c"], [""]]}
    path = write_ods(tmp_path / "a.ods", sheets, spans={"One": {(1, 0): (2, 1)}, "Two": {(0, 0): (2, 1)}})
    assert merged_ranges(path) == {"One": [MergedRange(2, 0, 3, 0)], "Two": [MergedRange(1, 0, 2, 0)]}


def test_pieces_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ods = write_ods(tmp_path / "a.ods", {"S": CHATS}, spans={"S": {(1, 0): (2, 1)}})
    xlsb = write_xlsb(tmp_path / "a.xlsb", CHATS, merged=[(1, 2, 0, 0), (4, 4, 0, 2)])
    expected = merged_ranges(ods), merged_ranges(xlsb)
    for size in (1, 7, 10, 64):
        monkeypatch.setattr(ranges, "_CHUNK_BYTES", size)
        assert (merged_ranges(ods), merged_ranges(xlsb)) == expected
    assert expected[1] == {"S": [MergedRange(2, 0, 3, 0), MergedRange(5, 0, 5, 2)]}


def test_there_may_be_only_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "MAX_RANGES", 1)
    spans = {"S": {(1, 0): (2, 1), (4, 0): (1, 3)}}
    assert len(merged_ranges(write_ods(tmp_path / "a.ods", {"S": CHATS}, spans=spans))["S"]) == 1
    xlsb = write_xlsb(tmp_path / "a.xlsb", CHATS, merged=[(1, 2, 0, 0), (4, 4, 0, 2)])
    assert len(merged_ranges(xlsb)["S"]) == 1


@pytest.mark.parametrize("value", ["", "-1", "two", "9" * 40, "²"])
def test_a_count_that_is_none_is_one(tmp_path: Path, value: str) -> None:
    cell = f'<table:table-cell table:number-rows-spanned="{value}" office:value-type="string"/>'
    ((title, found),) = merged_ranges(write_ods(tmp_path / "a.ods", {"S": [[cell]]})).items()
    assert (title, found) == ("S", [])


def test_entities_are_refused(tmp_path: Path) -> None:
    path = write_ods(tmp_path / "a.ods", {"S": CHATS}, spans={"S": {(1, 0): (2, 1)}})
    with zipfile.ZipFile(path) as archive:
        content = archive.read("content.xml").decode()
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>'
    head, _, rest = content.partition("?>")
    write_zip(tmp_path / "b.ods", {"content.xml": f"{head}?>{bomb}{rest}"})
    with pytest.raises(DataError) as caught:
        merged_ranges(tmp_path / "b.ods")
    assert caught.value.key == "data.broken_workbook"


def test_damaged_parts_are_damaged_workbooks(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.ods", {"content.xml": "<a table:number-rows-spanned='2'>"})
    with pytest.raises(DataError) as caught:
        merged_ranges(tmp_path / "a.ods")
    assert caught.value.key == "data.broken_workbook"
    write_zip(tmp_path / "a.xlsb", {"xl/workbook.bin": b"\x9c\x01\x20\xff" * 9, "xl/worksheets/sheet1.bin": b""})
    assert merged_ranges(tmp_path / "a.xlsb") == {}


def test_other_files_have_none(tmp_path: Path) -> None:
    (tmp_path / "a.xls").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600))
    assert merged_ranges(tmp_path / "a.xls") == {}
    assert merged_ranges(write_xlsx_parts(tmp_path / "a.xlsx", "<worksheet/>")) == {}
