"""Rows taken out of a sheet that was opened as a whole, with heights, merged cells, rules, tables and names.

Imported only where a workbook is written.
"""

from collections.abc import Mapping
from typing import Any

from openpyxl.formatting.formatting import ConditionalFormatting, ConditionalFormattingList
from openpyxl.worksheet.cell_range import CellRange, MultiCellRange
from openpyxl.worksheet.print_settings import PrintArea, RowRange
from openpyxl.worksheet.views import Selection

from postil.data.corrected.workbook_shifts import (
    RowShift,
    next_cell,
    reaches_out,
    shifted_area,
    shifted_formula,
    shifted_reference,
)

Shifts = Mapping[str, RowShift]


def take_out_rows(book: Any, shifts: Shifts) -> None:
    """Moves what stands below rows that leave, in every sheet, and whatever names a row of it in others.

    Args:
        shifts: sheet's title -> the rows that leave it.
    """
    for sheet in book.worksheets:
        if shift := shifts.get(sheet.title):
            _move_cells(sheet, shift)
            _move_heights(sheet, shift)
            _move_merged(sheet, shift)
            _move_tables(sheet, shift)
            _move_view(sheet, shift)
            _move_print(sheet, shift)
        _move_validations(sheet, shifts)
        _move_formatting(sheet, shifts)
        _move_names(sheet.defined_names, sheet.title, shifts)
    _move_names(book.defined_names, "", shifts)


def drop_outside_formulas(book: Any) -> bool:
    """Takes out rules and names that reach other workbooks, programs or addresses; True where there were any."""
    num_before = _num_rules(book)
    for sheet in book.worksheets:
        validations = sheet.data_validations
        validations.dataValidation = [v for v in validations.dataValidation if not _any_outside(v.formula1, v.formula2)]
        kept = ConditionalFormattingList()
        for formatting in sheet.conditional_formatting:
            for rule in formatting.rules:
                values = [mark.val for scale in _scales(rule) for mark in scale.cfvo]
                if not _any_outside(*rule.formula, *values):
                    kept.add(_like(formatting, str(formatting.sqref)), rule)
        sheet.conditional_formatting = kept
    for names in (book.defined_names, *(sheet.defined_names for sheet in book.worksheets)):
        for name in [name for name, defined in names.items() if _any_outside(defined.value)]:
            del names[name]
    return _num_rules(book) < num_before


def _num_rules(book: Any) -> int:
    in_sheets = (
        len(s.data_validations.dataValidation)
        + sum(len(formatting.rules) for formatting in s.conditional_formatting)
        + len(s.defined_names)
        for s in book.worksheets
    )
    return sum(in_sheets) + len(book.defined_names)


def _any_outside(*formulas: Any) -> bool:
    return any(reaches_out(str(formula)) for formula in formulas if formula)


def _scales(rule: Any) -> list[Any]:
    return [scale for scale in (rule.colorScale, rule.dataBar, rule.iconSet) if scale is not None]


def _like(formatting: Any, area: str) -> Any:
    return ConditionalFormatting(area, pivot=formatting.pivot)


def _move_cells(sheet: Any, shift: RowShift) -> None:
    moved = {}
    for (row, column), cell in sheet._cells.items():
        if not shift.drops(row):
            cell.row = shift.first(row)
            moved[cell.row, column] = cell
            if cell._hyperlink is not None:
                cell._hyperlink.ref = shifted_reference(cell._hyperlink.ref, shift) or cell.coordinate
    sheet._cells = moved
    sheet._current_row = max((row for row, _ in moved), default=0)


def _move_heights(sheet: Any, shift: RowShift) -> None:
    rows = dict(sheet.row_dimensions)
    sheet.row_dimensions.clear()
    for row, dimension in rows.items():
        if not shift.drops(row):
            dimension.index = shift.first(row)
            sheet.row_dimensions[dimension.index] = dimension


def _move_merged(sheet: Any, shift: RowShift) -> None:
    moved = []
    for merged in sheet.merged_cells.ranges:
        span = shift.span(merged.min_row, merged.max_row)
        if span is not None and (span[0] < span[1] or merged.min_col < merged.max_col):
            corners = {"min_col": merged.min_col, "max_col": merged.max_col, "min_row": span[0], "max_row": span[1]}
            moved.append(CellRange(**corners))
    sheet.merged_cells = MultiCellRange(moved)


def _move_tables(sheet: Any, shift: RowShift) -> None:
    """A table without its header, or without a row below it, is none: its cells stay."""
    for table in list(sheet.tables.values()):
        area = CellRange(table.ref)
        if table.totalsRowCount and shift.drops(area.max_row):
            table.totalsRowCount = None
        span = shift.span(area.min_row, area.max_row)
        has_header = bool(table.headerRowCount)
        fixed_rows = has_header + (table.totalsRowCount or 0)
        if span is None or (has_header and shift.drops(area.min_row)) or span[1] - span[0] + 1 <= fixed_rows:
            del sheet.tables[table.name]
            continue
        table.ref = shifted_reference(table.ref, shift)
        table.sortState = None
        _move_filter(table.autoFilter, shift)
    _move_filter(sheet.auto_filter, shift)


def _move_filter(auto_filter: Any, shift: RowShift) -> None:
    if auto_filter is not None and auto_filter.ref:
        auto_filter.ref = shifted_reference(auto_filter.ref, shift)
        auto_filter.sortState = None


def _move_view(sheet: Any, shift: RowShift) -> None:
    for view in sheet.views.sheetView:
        view.topLeftCell = view.topLeftCell and next_cell(view.topLeftCell, shift)
        pane = view.pane
        if pane is not None and pane.topLeftCell:
            pane.topLeftCell = next_cell(pane.topLeftCell, shift)
        if pane is not None and pane.state != "split" and pane.ySplit:
            pane.ySplit = shift.first(int(pane.ySplit) + 1) - 1
            if not pane.ySplit:
                view.pane, view.selection = None, [Selection()]
        for selection in view.selection:
            if selection.activeCell:
                selection.activeCell = selection.sqref = next_cell(selection.activeCell, shift)


def _move_print(sheet: Any, shift: RowShift) -> None:
    if sheet.print_title_rows:
        moved = shifted_reference(sheet.print_title_rows, shift)
        sheet._print_rows = RowRange(moved) if moved else None
    areas = (shifted_reference(str(area), shift) for area in sheet._print_area.ranges)
    sheet._print_area = PrintArea([area for area in areas if area is not None])
    # A page ends after the row that a break names.
    breaks = [mark for mark in sheet.row_breaks.brk if mark.id]
    for mark in breaks:
        mark.id = shift.last(mark.id)
    sheet.row_breaks.brk = [mark for mark in breaks if mark.id > 0]


def _move_validations(sheet: Any, shifts: Shifts) -> None:
    shift = shifts.get(sheet.title, RowShift(()))
    for validation in sheet.data_validations.dataValidation:
        validation.sqref = MultiCellRange(shifted_area(str(validation.sqref), shift))
        for name in ("formula1", "formula2"):
            if formula := getattr(validation, name):
                setattr(validation, name, shifted_formula(formula, sheet.title, shifts))


def _move_formatting(sheet: Any, shifts: Shifts) -> None:
    shift, moved = shifts.get(sheet.title, RowShift(())), ConditionalFormattingList()
    for formatting in sheet.conditional_formatting:
        if area := shifted_area(str(formatting.sqref), shift):
            for rule in formatting.rules:
                rule.formula = [shifted_formula(formula, sheet.title, shifts) for formula in rule.formula]
                for mark in (mark for scale in _scales(rule) for mark in scale.cfvo if mark.type == "formula"):
                    mark.val = shifted_formula(mark.val, sheet.title, shifts)
                moved.add(_like(formatting, area), rule)
    sheet.conditional_formatting = moved


def _move_names(names: Any, title: str, shifts: Shifts) -> None:
    for defined in names.values():
        if defined.value:
            defined.value = shifted_formula(defined.value, title, shifts)
