"""Changes of records as changes of the physical rows of a table: which rows go, and which cells say something else."""

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from postil.data.corrected.changes import RecordChange, pair_drafts
from postil.data.files.tables import Row

_Where = tuple[str | None, int]


@dataclass(frozen=True, slots=True)
class CellEdit:
    """A cell's new text.

    Args:
        position: of the column, from 0, where it is known; else the cell is found by its old text.
    """

    old: str
    new: str
    position: int | None = None


class TableEdits:
    """What changes in each row of a table, found by its sheet (None in a CSV file) and its number.

    Args:
        chat_rows: rows in which a merged cell says "still the same chat": there it is left blank, not filled.
    """

    def __init__(self, changes: Iterable[RecordChange], chat_rows: Container[_Where] = ()):
        self._chat_rows = chat_rows
        self._dropped: set[_Where] = set()
        self._cells: dict[_Where, list[CellEdit]] = defaultdict(list)
        for change in changes:
            sheet = change.before.place.sheet
            if change.after is None:
                self._dropped.update((sheet, row) for row in change.rows)
            elif change.before.turns:
                self._edit_chat(change)
            else:
                self._edit_row(change)

    def drops(self, sheet: str | None, row: int) -> bool:
        """True where the row is left out."""
        return (sheet, row) in self._dropped

    def cells_of(self, sheet: str | None, row: Row) -> tuple[list[str], set[int]]:
        """The row's cells as they should be, and the positions of those that were changed.

        Cells merged with the one to their left are blank; those merged with the one above hold its text.
        """
        where = sheet, row.number
        blank = {*row.spread, *(row.continued if where in self._chat_rows else ())}
        edited = ["" if i in blank else cell for i, cell in enumerate(row.cells)]
        changed: set[int] = set()
        for edit in self._cells.get(where, ()):
            if edit.position is not None and not edit.old:  # short rows leave their last, empty cells out
                edited += [""] * (edit.position + 1 - len(edited))
            at = _find_cell(edited, edit)
            if at is not None:
                edited[at] = _replaced(edited[at], edit)
                changed.add(at)
        return edited, changed

    def _edit_row(self, change: RecordChange) -> None:
        before, after = change.before, change.after
        assert after is not None
        # Fields stand in the order of the columns; of a record made of several rows each holds some of them.
        for position, (name, old) in enumerate(before.fields.items()):
            new = after.fields.get(name, "")
            if old != new:
                known = position if len(change.rows) == 1 else None
                for row in change.rows:
                    self._cells[before.place.sheet, row].append(CellEdit(_text(old), _text(new), known))

    def _edit_chat(self, change: RecordChange) -> None:
        assert change.after is not None
        sheet = change.before.place.sheet
        has_message: dict[int, bool] = defaultdict(bool)
        for draft, left in pair_drafts(change.before.turns, change.after.turns):
            row = (draft.place or change.before.place).row
            has_message[row] |= left is not None
            new = "" if left is None else _text(left.content)
            if new != _text(draft.content):
                self._cells[sheet, row].append(CellEdit(_text(draft.content), new))
        self._dropped.update((sheet, row) for row, stays in has_message.items() if not stays)


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _find_cell(cells: Sequence[str], edit: CellEdit) -> int | None:
    """The cell with the old text: at its known position, else the first that is it, else the first that holds it."""
    at = edit.position
    if at is not None and at < len(cells) and cells[at] == edit.old:
        return at
    for fits in (
        lambda cell: cell == edit.old,
        lambda cell: cell.strip() == edit.old.strip(),
        lambda cell: bool(edit.old.strip()) and edit.old.strip() in cell,
    ):
        found = next((i for i, cell in enumerate(cells) if fits(cell)), None)
        if found is not None:
            return found
    return None


def _replaced(cell: str, edit: CellEdit) -> str:
    if cell.strip() == edit.old.strip():
        return edit.new
    return cell.replace(edit.old.strip(), edit.new, 1)
