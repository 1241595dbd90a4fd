"""A corrected .xlsx: with its look where that can be kept, and what no copy can hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from postil.data.corrected.changes import Change
from postil.data.corrected.table_edits import TableEdits
from postil.data.corrected.workbook_parts import Part, survey_parts
from postil.errors import DataError

Look = Literal["kept", "too_large", "not_kept"]


@dataclass(frozen=True, slots=True)
class WorkbookCopy:
    """How a workbook was copied.

    Args:
        look: whether fonts, formats and merged cells are the original's, or why they are not.
        left_out: what the original holds and the copy does not.
    """

    look: Look
    left_out: tuple[Part, ...]


def try_with_look(
    source: Path, target: Path, sheets: Sequence[str], edits: TableEdits, changes: Sequence[Change]
) -> WorkbookCopy:
    """Writes the workbook with its look; where that is not "kept", nothing that can be used was written.

    Args:
        sheets: titles of those whose rows the edits know.

    Raises:
        DataError: a text is longer than a workbook's cell can hold, or the archive goes beyond the limits.
    """
    parts = survey_parts(source)
    if parts.obstacle is not None:
        return WorkbookCopy(parts.obstacle, parts.left_out)
    from postil.data.corrected.workbook_look import TooMuchText, write_with_look

    try:
        reached_out = write_with_look(source, target, sheets, edits, changes)
    except DataError:
        raise
    except TooMuchText:
        return WorkbookCopy("too_large", parts.left_out)
    except Exception:  # openpyxl lets whatever its parsers meet escape; a full disk stops the plain copy too
        return WorkbookCopy("not_kept", parts.left_out)
    is_new = reached_out and "links" not in parts.left_out
    return WorkbookCopy("kept", (*parts.left_out, "links") if is_new else parts.left_out)
