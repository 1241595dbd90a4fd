"""The cells of a sheet, straight from openpyxl's parser: its texts by a shorter way, everything else by its own.

Imported only where a workbook is read.
"""

from functools import lru_cache
from typing import Any

from openpyxl.worksheet._reader import INLINE_STRING, VALUE_TAG, WorkSheetParser
from openpyxl.xml.constants import SHEET_MAIN_NS

from postil.data.files.tables import column_index

_TEXT_TAG = f"{{{SHEET_MAIN_NS}}}t"
_DIGITS = "0123456789"


@lru_cache(maxsize=20_000)
def _index(letters: str) -> int:
    if not (letters.isascii() and letters.isalpha() and len(letters) <= 3):
        raise ValueError(f"{letters} is no column")
    return column_index(letters)


class CellParser(WorkSheetParser):  # type: ignore[misc]
    """Gives each row as [(column from 0, value)] without empty cells.

    `iter_rows` pads every row and every gap up to the last cell, and knows no row without its neighbours.
    """

    row_counter: int
    col_counter: int

    def parse_row(self, row: Any) -> tuple[int, list[tuple[int, Any]]]:
        """(the row's number, its cells)."""
        number = int(float(row.get("r") or 0))
        self.row_counter = number if number > 0 else self.row_counter + 1  # a number that no sheet can have is none
        self.col_counter = 0
        cells = []
        for element in row:
            index, value = self._text(element) or self._any(element)
            if value is not None:
                cells.append((index, value))
        return self.row_counter, cells

    def _text(self, element: Any) -> tuple[int, str | None] | None:
        """A cell of plain text; None for any other."""
        kind = element.get("t")
        if kind == "s":
            number = element.findtext(VALUE_TAG)
            value = self.shared_strings[int(number)] if number else None
        elif kind == "inlineStr":
            inline = element.find(INLINE_STRING)
            if inline is None or len(inline) != 1 or inline[0].tag != _TEXT_TAG:
                return None
            value = inline[0].text or ""
        else:
            return None
        reference = element.get("r")
        self.col_counter = _index(reference.rstrip(_DIGITS)) + 1 if reference else self.col_counter + 1
        return self.col_counter - 1, value

    def _any(self, element: Any) -> tuple[int, Any]:
        cell = self.parse_cell(element)
        return cell["column"] - 1, cell["value"]
