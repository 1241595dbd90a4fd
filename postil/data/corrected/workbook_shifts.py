"""Rows that leave a sheet: the rows below move up, and with them everything that names a row."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from typing import Any

from openpyxl.formula import Tokenizer
from openpyxl.formula.tokenizer import Token, TokenizerError

_CELLS = re.compile(r"(\$?[A-Za-z]{1,3}\$?)(\d{1,7})(?::(\$?[A-Za-z]{1,3}\$?)(\d{1,7}))?")
_ROWS = re.compile(r"(\$?)(\d{1,7}):(\$?)(\d{1,7})")
_OTHER_BOOK = re.compile(r"\[[^\]]*\][^\]!]*!")
# Functions that fetch or start something.
_REACHING_OUT = frozenset(("WEBSERVICE", "IMAGE", "RTD", "CALL", "REGISTER", "REGISTER.ID", "EXEC", "STOCKHISTORY"))


class RowShift:
    """Where each row of a sheet is when some have left.

    Args:
        dropped: the rows that leave, counted from 1.
    """

    def __init__(self, dropped: Iterable[int]):
        self._dropped = sorted(set(dropped))
        self._staying_before = [row - i for i, row in enumerate(self._dropped)]

    def __bool__(self) -> bool:
        return bool(self._dropped)

    def drops(self, row: int) -> bool:
        """True where the row leaves."""
        at = bisect_left(self._dropped, row)
        return at < len(self._dropped) and self._dropped[at] == row

    def first(self, row: int) -> int:
        """The new number of the row; where it leaves, of the next one that stays."""
        return row - bisect_left(self._dropped, row)

    def last(self, row: int) -> int:
        """The new number of the row; where it leaves, of the one before it that stays."""
        return row - bisect_right(self._dropped, row)

    def staying(self, row: int) -> int:
        """The old number of the row; where it leaves, of the next one that stays."""
        first = self.first(row)
        return first + bisect_right(self._staying_before, first)

    def span(self, top: int, bottom: int) -> tuple[int, int] | None:
        """The rows that are left of those from `top` to `bottom`, both included; None where all leave."""
        first, last = self.first(top), self.last(bottom)
        return (first, last) if first <= last else None


def shifted_reference(reference: str, shift: RowShift) -> str | None:
    """A reference such as "A2:$B$9" or "2:9" with its new rows; None where all of them leave, others as they are."""
    if found := _CELLS.fullmatch(reference):
        start, top, end, bottom = found.groups()
        span = shift.span(int(top), int(bottom or top))
        if span is None:
            return None
        return f"{start}{span[0]}:{end}{span[1]}" if end else f"{start}{span[0]}"
    if found := _ROWS.fullmatch(reference):
        start, top, end, bottom = found.groups()
        span = shift.span(int(top), int(bottom))
        return None if span is None else f"{start}{span[0]}:{end}{span[1]}"
    return reference


def next_cell(reference: str, shift: RowShift) -> str:
    """A reference to one cell with its new row; where that leaves, to the row that comes in its place."""
    found = _CELLS.fullmatch(reference)
    return f"{found[1]}{shift.first(int(found[2]))}" if found else reference


def shifted_area(area: str, shift: RowShift) -> str:
    """References with blanks between, without those that leave."""
    pieces = (shifted_reference(piece, shift) for piece in area.split())
    return " ".join(piece for piece in pieces if piece is not None)


def shifted_formula(formula: str, title: str, shifts: Mapping[str, RowShift]) -> str:
    """A formula of the sheet `title` with the new rows of every sheet that it names.

    One that names a row by itself, and that row leaves, names the next: rules stand relative to their first row.
    """
    return "".join(_shifted_token(token, title, shifts) for token in _tokens(formula))


def _shifted_token(token: Token, title: str, shifts: Mapping[str, RowShift]) -> str:
    text: str = token.value
    if token.type != Token.OPERAND or token.subtype != Token.RANGE:
        return text
    sheet, mark, reference = text.rpartition("!")
    shift = shifts.get(_plain_title(sheet) if mark else title)
    if not shift:
        return text
    moved = shifted_reference(reference, shift) if ":" in reference else next_cell(reference, shift)
    return f"{sheet}{mark}{moved or '#REF!'}"


def _plain_title(sheet: str) -> str:
    return sheet[1:-1].replace("''", "'") if sheet[:1] == "'" else sheet


def reaches_out(formula: str) -> bool:
    """True where a formula names another workbook, a program or an address; and where nobody can tell."""
    try:
        tokens = _tokens(formula)
    except (TokenizerError, IndexError):
        return True
    for token in tokens:
        is_range = token.type == Token.OPERAND and token.subtype == Token.RANGE
        if is_range and ("|" in token.value or _OTHER_BOOK.search(token.value)):
            return True
        if token.type == Token.FUNC and token.value.rstrip("(").upper().removeprefix("_XLFN.") in _REACHING_OUT:
            return True
    return False


def _tokens(formula: str) -> list[Any]:
    return list(Tokenizer("=" + formula.removeprefix("=")).items)
