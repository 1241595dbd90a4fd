import io
import re
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from openpyxl import Workbook
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont

from postil.data.files.tables import Row
from postil.data.files.workbook_xml import MergedCells, MergedRange, scan_sheet
from postil.data.files.workbooks import read_sheet_rows, workbook_sheets
from postil.errors import DataError
from postil.problems import Problem

Save = Callable[[Workbook], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def write(book: Workbook) -> Path:
        path = tmp_path / "book.xlsx"
        book.save(path)
        return path

    return write


def rows(path: Path, *sheets: str) -> list[Row]:
    return [row for _, row in read_sheet_rows(path, sheets or ("Sheet",)) if isinstance(row, Row)]


def problems(path: Path, *sheets: str) -> list[Problem]:
    return [row for _, row in read_sheet_rows(path, sheets or ("Sheet",)) if isinstance(row, Problem)]


def rewrite(path: Path, change: Callable[[str], str], part: str = "xl/worksheets/sheet1.xml") -> Path:
    """The workbook with one of its parts changed as text."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts[part].decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def test_every_visible_sheet_is_read_at_its_true_rows(save: Save) -> None:
    book = Workbook()
    first = book.active
    first.title = "一月"
    first["A1"], first["B1"], first["A4"], first["B4"] = "问题", "答案", "q4", "a4"
    second = book.create_sheet("二月")
    second.append(["q", "a"])
    book.create_sheet("secret").sheet_state = "hidden"
    book.create_sheet("deep").sheet_state = "veryHidden"
    book.create_chartsheet("chart")
    for title in ("Postil changes", "Postil 修改记录"):  # as users of either language have written them
        book.create_sheet(title).append(["what", "where"])
    path = save(book)
    assert workbook_sheets(path) == (("一月", "二月"), ("secret", "deep"))
    found = [
        (sheet, row.number, row.cells) for sheet, row in read_sheet_rows(path, ("一月", "二月")) if isinstance(row, Row)
    ]
    assert found == [("一月", 1, ("问题", "答案")), ("一月", 4, ("q4", "a4")), ("二月", 1, ("q", "a"))]


def test_values_of_every_kind(save: Save) -> None:
    book = Workbook()
    rich = CellRichText("plain ", TextBlock(InlineFont(b=True), "bold"))
    book.active.append(["00123", 7, 0.5, True, datetime(2024, 5, 1, 9, 30), rich, "#N/A", None, "x\ny"])
    (row,) = rows(save(book))
    assert row.cells == ("00123", "7", "0.5", "TRUE", "2024-05-01 09:30:00", "plain bold", "#N/A", "", "x\ny")


def test_merged_cells_hold_their_text_in_every_row(save: Save) -> None:
    book = Workbook()
    sheet = book.active
    for line in (
        ["产品问答", None, None],
        ["分类", "问题", "答案"],
        ["售后", "q1", "a1"],
        [None, "q2", "a2"],
        [None, "q3", "a3"],
    ):
        sheet.append(line)
    sheet["A9"], sheet["B10"] = "left alone", "b"
    sheet.merge_cells("A1:C1")
    sheet.merge_cells("A3:A5")
    sheet.merge_cells("B6:C8")
    found = {row.number: row for row in rows(save(book))}
    assert found[1] == Row(1, ("产品问答",) * 3, spread=(1, 2))
    assert found[4] == Row(4, ("售后", "q2", "a2"), continued=(0,))
    assert found[5] == Row(5, ("售后", "q3", "a3"), continued=(0,))
    assert found[9].cells == ("left alone",) and found[10].cells == ("", "b")
    assert not {6, 7, 8} & found.keys() or all(found[n].is_blank for n in {6, 7, 8} & found.keys())


def test_merged_over_rows_and_columns() -> None:
    merged = MergedCells([MergedRange(1, 0, 2, 1), MergedRange(2, 3, 1000, 3)])

    def fill(number: int, cells: dict[int, str]) -> tuple[dict[int, str], tuple[int, ...], tuple[int, ...]]:
        return cells, *merged.fill(number, cells)

    assert fill(1, {0: "x"}) == ({0: "x", 1: "x"}, (), (1,))
    assert fill(2, {2: "y", 3: "z"}) == ({2: "y", 3: "z", 0: "x", 1: "x"}, (0,), (1,))
    assert fill(500, {0: "v"}) == ({0: "v", 3: "z"}, (3,), ())
    assert fill(1001, {0: "w"}) == ({0: "w"}, (), ())


def test_a_sheet_merged_as_a_whole_is_bounded() -> None:
    cells = {0: "x"}
    _, spread = MergedCells([MergedRange(1, 0, 1048576, 16383)]).fill(1, cells)
    assert len(cells) == len(spread) + 1 < 100


def test_formulas_without_a_value_are_known(save: Save) -> None:
    book = Workbook()
    book.active.append(["q", "a", "n"])
    book.active.append(["q1", '="a"&"1"', 3])
    book.active.append(["=A2"])
    path = save(book)
    assert [(row.number, row.uncalculated) for row in rows(path)] == [(1, ()), (2, (1,)), (3, (0,))]
    assert not rows(path)[2].is_blank
    # With values beside the formulas there is nothing to say: a number, a text, a text of no letters.
    path = rewrite(path, lambda xml: re.sub(r"(</f>)<v\s*/?>(?:</v>)?", r"\1<v>5</v>", xml))
    assert [row.uncalculated for row in rows(path)] == [(), (), ()]
    path = rewrite(
        path, lambda xml: xml.replace('<c r="B2"><f>', '<c r="B2" t="str"><f>').replace("<v>5</v>", "<v></v>")
    )
    assert rows(path)[1].uncalculated == ()


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_the_xml_is_scanned_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr("postil.data.files.workbook_xml._CHUNK_BYTES", chunk)
    lines = "".join(
        f'<row r="{i}"><c r="A{i}"><f>B{i}</f><v></v></c><c r="B{i}"><v>1</v></c></row>' for i in range(1, 40)
    )
    merges = "".join(f'<mergeCell ref="A{i}:A{i + 1}"/>' for i in range(1, 40, 2))
    xml = f"<worksheet><sheetData>{lines}</sheetData><mergeCells>{merges}</mergeCells></worksheet>"
    for text in (xml, re.sub(r"<(/?)(\w)", r"<\1x:\2", xml)):
        notes = scan_sheet(io.BytesIO(text.encode()))
        assert notes.uncalculated == {i: [0] for i in range(1, 40)}
        assert notes.merged == [MergedRange(i, 0, i + 1, 0) for i in range(1, 40, 2)]


def test_numbers_that_lost_digits_are_named_once_per_column(save: Save) -> None:
    book = Workbook()
    book.active.append(["order", "q", "a"])
    book.active.append([1234567890123456789, "q", "a"])
    book.active.append([99999999999999, "q", 2.0**53])
    book.active.append([6222021234567890, "q", 1e15])
    found = problems(save(book))
    assert [(p.code, p.severity, p.place.row, p.column, p.values["count"]) for p in found] == [
        ("lost_precision", "warning", 2, "A", 2),
        ("lost_precision", "warning", 3, "C", 2),
    ]
    assert "text" in found[0].hint


def test_a_far_cell_widens_nothing_and_is_named(save: Save) -> None:
    book = Workbook()
    book.active.append(["q", "a"])
    book.active.cell(row=1048576, column=16384, value="far")
    path = save(book)
    assert [(row.number, row.cells) for row in rows(path)] == [(1, ("q", "a"))]
    (problem,) = problems(path)
    assert (problem.code, problem.severity, problem.values["cell"]) == ("far_cell", "warning", "XFD1048576")


@pytest.mark.parametrize("dimension", ["A1", "A1:XFD1048576", "B7:C9"])
def test_a_wrong_dimension_changes_nothing(save: Save, dimension: str) -> None:
    book = Workbook()
    book.active.append(["q", "a"])
    book.active.append(["q1", "a1"])
    path = rewrite(save(book), lambda xml: re.sub(r'<dimension ref="[^"]*"', f'<dimension ref="{dimension}"', xml))
    assert [row.cells for row in rows(path)] == [("q", "a"), ("q1", "a1")]


def test_cells_without_references_are_counted(save: Save) -> None:
    book = Workbook()
    book.active.append(["q", "a"])
    path = rewrite(save(book), lambda xml: re.sub(r' r="\w+"', "", xml))
    assert [(row.number, row.cells) for row in rows(path)] == [(1, ("q", "a"))]


@pytest.mark.parametrize("number", ["-1", "0", "-1e9", ""])
def test_a_row_number_that_no_sheet_can_have_is_counted(save: Save, number: str) -> None:
    book = Workbook()
    for text in "abc":
        book.active.append([text])
    path = rewrite(save(book), lambda xml: xml.replace('<row r="2"', f'<row r="{number}"'))
    assert [(row.number, row.cells) for row in rows(path)] == [(1, ("a",)), (2, ("b",)), (3, ("c",))]


def test_a_damaged_sheet_is_located_and_the_others_are_read(save: Save) -> None:
    book = Workbook()
    for i in range(1, 2001):
        book.active.append([f"q{i}", f"a{i}"])
    book.create_sheet("Second").append(["q", "a"])
    path = rewrite(save(book), lambda xml: xml[: xml.index('<row r="1500"')] + "<row><<<")
    (problem,) = problems(path, "Sheet", "Second")
    assert (problem.code, problem.severity, problem.place.sheet) == ("broken_sheet", "error", "Sheet")
    assert 1000 < problem.place.row <= 1500
    assert rows(path, "Sheet", "Second")[-1].cells == ("q", "a")


def test_a_damaged_workbook_is_refused(tmp_path: Path, save: Save) -> None:
    book = Workbook()
    book.active.append(["q", "a"])
    path = rewrite(save(book), lambda xml: "<no", "xl/workbook.xml")
    for read in (workbook_sheets, lambda p: list(read_sheet_rows(p, ("Sheet",)))):
        with pytest.raises(DataError) as caught:
            read(path)
        assert caught.value.key == "data.broken_workbook"
    (tmp_path / "a.xlsx").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(DataError):
        workbook_sheets(tmp_path / "a.xlsx")


def test_entities_do_not_grow(save: Save) -> None:
    book = Workbook()
    book.active.append(["q", "a"])
    laughs = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">' + "".join(
        f'<!ENTITY {chr(i + 1)} "' + f"&{chr(i)};" * 10 + '">' for i in range(98, 110)
    )
    path = rewrite(save(book), lambda xml: laughs + "]>" + xml.replace("<t>q</t>", "<t>&m;</t>"))
    assert [p.code for p in problems(path)] == ["broken_sheet"]
