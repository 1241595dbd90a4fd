"""A foreign workbook opened as a whole: values with their look, without what only draws, fetches or calculates.

Imported only where a workbook is written. That the archive is small enough was seen to before (`survey_parts`).
"""

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from openpyxl.comments.comment_sheet import CommentSheet
from openpyxl.packaging.relationship import RelationshipList, get_dependents, get_rels_path
from openpyxl.reader.excel import ExcelReader
from openpyxl.styles.stylesheet import apply_stylesheet
from openpyxl.utils import coordinate_to_tuple
from openpyxl.worksheet._reader import WorksheetReader
from openpyxl.worksheet.cell_range import CellRange, MultiCellRange
from openpyxl.worksheet.scenario import ScenarioList
from openpyxl.worksheet.table import Table
from openpyxl.xml.constants import COMMENTS_NS
from openpyxl.xml.functions import fromstring


def open_whole(path: Path) -> Any:
    """The workbook, to be changed and saved: cells with formulas hold the values that were calculated last.

    Pictures, charts, pivot tables, macros and links to other workbooks are not even read.

    Raises:
        Exception: whatever openpyxl meets in a damaged or unusual workbook.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # what is left out is told by `survey_parts`
        file = stack.enter_context(path.open("rb"))
        reader = ExcelReader(file, data_only=True, keep_links=False, rich_text=True)
        stack.enter_context(reader.archive)
        reader.read_manifest()
        reader.read_strings()
        reader.read_workbook()
        reader.read_theme()
        apply_stylesheet(reader.archive, reader.wb)
        _read_sheets(reader)
    reader.wb.template = False
    return reader.wb


def _read_sheets(reader: Any) -> None:
    """Every sheet of cells; names count all sheets, so others hold their places until names are bound."""
    book, parts = reader.wb, _Parts(reader)
    others = []
    for found, rel in reader.parser.find_sheets():
        if rel.target not in reader.valid_files or "chartsheet" in rel.Type or "dialogsheet" in rel.Type:
            others.append(book.create_sheet())
            continue
        sheet = book.create_sheet(found.name)
        if sheet.title != found.name:
            raise ValueError(f"{found.name} is there twice")
        _read_sheet(sheet, parts, rel.target)
        sheet.sheet_state = found.state
    reader.parser.assign_names()
    remove_sheets(book, others)


def remove_sheets(book: Any, sheets: list[Any]) -> None:
    """Takes sheets out; the one that was shown first stays so, if it is there, and is the only one selected."""
    shown = book.active
    for sheet in sheets:
        book.remove(sheet)
    visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    if visible:
        book.active = shown if shown in visible else visible[0]
    for sheet in book.worksheets:
        for view in sheet.views.sheetView:
            view.tabSelected = sheet is book.active


class _Parts:
    """The archive's parts, each given once: a sheet named a thousand times would be read a thousand times."""

    def __init__(self, reader: Any):
        self.reader = reader
        self._taken: set[str] = set()

    def open(self, name: str) -> Any:
        if name in self._taken:
            raise ValueError(f"{name} is used twice")
        self._taken.add(name)
        return self.reader.archive.open(name)

    def relations(self, name: str) -> Any:
        path = get_rels_path(name)
        return get_dependents(self.reader.archive, path) if path in self.reader.valid_files else RelationshipList()


def _read_sheet(sheet: Any, parts: _Parts, name: str) -> None:
    sheet._rels = parts.relations(name)
    with parts.open(name) as source:
        reading = WorksheetReader(sheet, source, parts.reader.shared_strings, data_only=True, rich_text=True)
        reading.bind_cells()
    # Not `bind_all`: that makes a cell of every place under a merged one or a link, of which there may be billions.
    reading.bind_formatting()
    reading.bind_col_dimensions()
    reading.bind_row_dimensions()
    reading.bind_tables()
    reading.bind_properties()
    sheet.legacy_drawing, sheet.scenarios = None, ScenarioList()
    merged = reading.parser.merged_cells
    sheet.merged_cells = MultiCellRange([CellRange(cell.ref) for cell in merged.mergeCell] if merged else ())
    _bind_links(sheet, reading.parser.hyperlinks.hyperlink)
    _bind_tables(sheet, parts, reading.tables)
    for rel in sheet._rels.find(COMMENTS_NS):
        with parts.open(rel.target) as source:
            _bind_comments(sheet, CommentSheet.from_tree(fromstring(source.read())))


def _bind_links(sheet: Any, links: Any) -> None:
    for link in links:
        if link.id:
            link.target = sheet._rels.get(link.id).Target
        row, column = coordinate_to_tuple(link.ref.partition(":")[0])
        # Not by the property, which would write the address into an empty cell.
        sheet.cell(row, column)._hyperlink = link


def _bind_tables(sheet: Any, parts: _Parts, names: list[str]) -> None:
    for name in names:
        with parts.open(name) as source:
            table = Table.from_tree(fromstring(source.read()))
        if table.tableType in (None, "worksheet"):  # others are filled by a query that is not kept
            for column in table.tableColumns:
                column.calculatedColumnFormula = column.totalsRowFormula = column.xmlColumnPr = None
                column.totalsRowFunction = None if column.totalsRowFunction == "custom" else column.totalsRowFunction
            sheet.add_table(table)


def _bind_comments(sheet: Any, comments: Any) -> None:
    for reference, comment in comments.comments:
        sheet.cell(*coordinate_to_tuple(reference)).comment = comment
