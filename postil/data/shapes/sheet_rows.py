"""The rows of a planned sheet: which are entries, and which are titles, totals, notes or repeated headers."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from postil.data.files.tables import Row, column_letter
from postil.data.shapes import column_names as words
from postil.data.shapes.column_contents import NUMBER, asks
from postil.data.shapes.columns import Layout, normalize_name
from postil.data.shapes.sheet_columns import SheetPlan
from postil.problems import Place, Problem

ERROR_VALUES = frozenset(
    [
        "#N/A",
        "#REF!",
        "#NAME?",
        "#DIV/0!",
        "#NULL!",
        "#NUM!",
        "#VALUE!",
        "#SPILL!",
        "#CALC!",
        "#GETTING_DATA",
        "#FIELD!",
        "#BLOCKED!",
        "#UNKNOWN!",
    ]
)
_TOTAL = re.compile(
    r"(?:合计|总计|小计|共计|总数|合計|總計|小計|grand total|sub-?total|total|sum)\s*[:：]?\s*[\d,.]*", re.IGNORECASE
)
_NOTE = re.compile(
    r"\s*[*（(]?(?:注|备注|说明|附注|温馨提示|数据来源|来源|制表人?|更新时间|填写说明|備註|說明|注意事项|注意"
    r"|notes?|remarks?|source|last updated)\s*[:：]",
    re.IGNORECASE,
)
_SECTION = re.compile(
    r"[一二三四五六七八九十]{1,3}[、.．]|第[一二三四五六七八九十\d]{1,3}[章节部篇类]|【.*】$|\[.*\]$"
    r"|(?:section|chapter|part)\s+\w+\b",
    re.IGNORECASE,
)
_FORM_HINT = re.compile(
    r"[(（【\[]?(?:必填|选填|非必填|必選|選填|required\b|optional\b|示例|例如|例[:：]|填写|请填写|不超过|e\.g\.)",
    re.IGNORECASE,
)

_MAX_HEADING_CHARS = 60


@dataclass(frozen=True, slots=True)
class TableRow:
    """An entry of a table.

    Args:
        fields: by column name.
        continued: columns merged with the cell above.
        is_repeat: everything that is learned from it stands, merged, in the row above.
        after_gap: blank rows stand above it.
        uncalculated: the first column it needs whose formula was never calculated.
    """

    number: int
    fields: Mapping[str, str]
    continued: frozenset[str] = frozenset()
    is_repeat: bool = False
    after_gap: bool = False
    uncalculated: str | None = None


def used_columns(layout: Layout) -> tuple[str, ...]:
    """The columns that something is learned from."""
    texts = (layout.question, layout.answer, layout.extra_input, layout.speaker, layout.content)
    return (*(n for n in texts if n is not None), *layout.turns, *layout.chosen, *layout.rejected)


class RowJudge:
    """Judges the rows of one sheet.

    Args:
        file: its name, for places.
        plan: with a layout.
    """

    def __init__(self, file: str, sheet: str | None, plan: SheetPlan, layout: Layout):
        self._file, self._sheet, self._plan, self._layout = file, sheet, plan, layout
        self._kept = [(i, name) for i, name in enumerate(plan.names) if name]
        used = set(used_columns(layout))
        self._used = [(i, name) for i, name in self._kept if name in used]
        self._names_of: dict[tuple[int, ...], frozenset[str]] = {}
        self._used_indices = {i for i, _ in self._used}
        self._header = [normalize_name(name) for _, name in self._used]
        self._watched = [(i, name) for i, name in self._kept if name in used or name == layout.system]

    def judge(self, rows: Iterable[Row | Problem]) -> Iterator[TableRow | Problem]:
        """Entries, and problems in the place of rows that are none or beside them."""
        last = line_breaks = 0
        for row in rows:
            if isinstance(row, Problem):
                yield row if row.place.file == self._file else replace(row, place=replace(row.place, file=self._file))
                continue
            if row.is_blank or row is self._plan.header:
                continue
            after_gap = bool(last) and row.number > last + 1 + line_breaks
            line_breaks = sum(cell.count("\n") for cell in row.cells) if self._sheet is None else 0
            last = row.number
            if row.number < self._plan.start or self._is_no_entry(row):
                yield skipped_row(self._file, self._sheet, row)
            elif (wide := self._too_wide(row)) is not None:
                yield wide
            else:
                entry = self._entry(row, after_gap)
                if any(i < len(row.cells) and row.cells[i][:1] == "#" for i, _ in self._watched):
                    yield from self._errors(row)
                yield entry

    def _entry(self, row: Row, after_gap: bool) -> TableRow:
        cells, width = row.cells, len(row.cells)
        fields = {name: cells[i] if i < width else "" for i, name in self._kept}
        if not row.continued and not row.uncalculated:
            return TableRow(row.number, fields, after_gap=after_gap)
        continued = self._names_of.get(row.continued)
        if continued is None:
            continued = frozenset(name for i, name in self._kept if i in row.continued)
            self._names_of[row.continued] = continued
        uncalculated = None
        if row.uncalculated:
            uncalculated = next((name for i, name in self._watched if i in row.uncalculated), None)
        is_touched = not self._used_indices.isdisjoint(row.continued)
        is_repeat = is_touched and not any(self._is_own(row, i) for i, _ in self._used)
        return TableRow(row.number, fields, continued, is_repeat, after_gap, uncalculated)

    def _is_own(self, row: Row, index: int) -> bool:
        """True where the row itself says something in a column."""
        if index in row.uncalculated:
            return True
        is_filled = index < len(row.cells) and bool(row.cells[index].strip())
        return is_filled and index not in row.continued and index not in row.spread

    def _is_no_entry(self, row: Row) -> bool:
        cells, width = row.cells, len(row.cells)
        if not row.spread and not row.uncalculated and self._used_indices.isdisjoint(row.continued):
            needed = [cells[i].strip() if i < width else "" for i, _ in self._used]
            if len(needed) > 1 and all(needed):
                return self._is_full_row_no_entry(cells, needed)
        used = [i for i, _ in self._used if self._is_own(row, i)]
        if not used:
            return not any(i in row.continued for i, _ in self._used)
        if row.spread and len({cell for cell in cells if cell.strip()}) == 1:
            return True
        own = [cell.strip() for i, cell in enumerate(cells) if cell.strip() and self._is_own(row, i)]
        return bool(own) and (self._is_heading(row, own) or self._is_header_again(row))

    def _is_full_row_no_entry(self, cells: Sequence[str], needed: Sequence[str]) -> bool:
        """The same for a row that has all it needs: short of totals, hints and headers it is an entry."""
        if len(needed[0]) > _MAX_HEADING_CHARS:
            return False
        if all(_FORM_HINT.match(cell) and len(cell) <= 60 for cell in needed):
            return True
        first = next(cell for cell in cells if cell.strip()).strip()
        if _TOTAL.fullmatch(first) and all(NUMBER.fullmatch(c.strip()) for c in cells if c.strip() not in ("", first)):
            return True
        return self._repeats_header(needed)

    def _is_heading(self, row: Row, own: list[str]) -> bool:
        """Totals, notes below the table, and titles of sections."""
        if _TOTAL.fullmatch(own[0]) and all(NUMBER.fullmatch(cell) for cell in own[1:]):
            return len(own) > 1 or len(self._used) > 1
        if len(own) == 1 and len(self._used) > 1:
            is_section = _SECTION.match(own[0]) is not None and len(own[0]) <= 40 and not asks(own[0])
            return is_section or _NOTE.match(own[0]) is not None
        return False

    def _is_header_again(self, row: Row) -> bool:
        return self._repeats_header([row.cells[i].strip() if i < len(row.cells) else "" for i, _ in self._used])

    def _repeats_header(self, needed: Sequence[str]) -> bool:
        """True for the header once more, also in another language."""
        if any(len(cell) > 40 for cell in needed):
            return False
        if self._plan.header is not None and [normalize_name(cell) for cell in needed] == self._header:
            return True
        found = {name: cell for cell, (_, name) in zip(needed, self._used, strict=True)}
        question, answer = found.get(self._layout.question or "", ""), found.get(self._layout.answer or "", "")
        return (
            len(question) > 1
            and normalize_name(question) in words.QUESTIONS
            and normalize_name(answer) in words.ANSWERS
        )

    def _too_wide(self, row: Row) -> Problem | None:
        """In CSV an unquoted comma in an answer does this, and the answer would be cut; in a sheet it is a note."""
        names = self._plan.names
        if self._sheet is not None or len(row.cells) <= len(names):
            return None
        extra = [cell for cell in row.cells[len(names) :] if cell.strip()]
        if not extra:
            return None
        values = {"cells": len(row.cells), "columns": len(names)}
        return Problem("too_many_cells", "error", Place(self._file, row.number), excerpt=extra[0][:80], values=values)

    def _errors(self, row: Row) -> Iterator[Problem]:
        for i, name in self._watched:
            if i < len(row.cells) and row.cells[i].strip() in ERROR_VALUES:
                place = Place(self._file, row.number, self._sheet)
                values = {"cell": f"{column_letter(i)}{row.number}", "found": row.cells[i].strip()}
                yield Problem("cell_error", "warning", place, name, excerpt=row.cells[i], values=values)


def skipped_row(file: str, sheet: str | None, row: Row) -> Problem:
    """Names a row that is no entry."""
    text = " ".join(dict.fromkeys(cell.strip() for cell in row.cells if cell.strip()))
    excerpt = " ".join(text[:200].split())[:80]
    return Problem("skipped_row", "warning", Place(file, row.number, sheet), excerpt=excerpt, values={"text": excerpt})
