"""The noun between a file and its messages: a raw entry, with its place and what is known of its layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postil.data.shapes.columns import Layout
from postil.data.shapes.drafts import Draft
from postil.problems import Place


@dataclass(frozen=True, slots=True)
class Record:
    """A raw entry of a file.

    Args:
        fields: by header or JSON key, as written. Cells of a table are always text; a column without a name has its
            letter ("A", "B" ...).
        layout: what the fields are for, where the table as a whole or the user says so; None leaves it to the record.
        turns: a chat put together of several rows or lines, in place of fields.
        rows: the physical rows or lines that it is made of, where these are more than its place's.
        num_rows: how many entries of the ledger it stands for: a chat put together of 5 table rows counts 5, a question
            and its answer on 5 lines of text count 1.
    """

    place: Place
    fields: Mapping[str, Any]
    layout: Layout | None = None
    turns: tuple[Draft, ...] = ()
    rows: tuple[int, ...] = ()
    num_rows: int = 1
