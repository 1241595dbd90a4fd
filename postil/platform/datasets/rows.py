"""Rows of a data set as a page shows them, with their edits.

A check keeps the first thousand beside its report, so most of these questions are answered from there at once. Rows
further down, and those of a version whose check is not done, are read from the file again by the sandboxed child.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from postil.data.checks.plain_problems import plain_place, read_place
from postil.data.viewing import is_learned
from postil.platform.datasets.child import VersionState, find_state, place_for_child, run_on_original
from postil.platform.service import Service
from postil.platform.store.storage import lines_of
from postil.problems import Place

MOST_IN_PAGE = 500


@dataclass(frozen=True, slots=True)
class Cell:
    """One text of a row, and how an edit names it."""

    place: Place
    column: str
    text: str


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """A row with its edits.

    Args:
        messages: role, content, is_cut, weight, calls; as chat bubbles. None where the row cannot train.
    """

    place: Place
    cells: tuple[Cell, ...]
    messages: tuple[Mapping[str, Any], ...]
    is_edited: bool
    is_left_out: bool


def preview(
    service: Service,
    account_id: str,
    dataset_id: str,
    number: int | None = None,
    *,
    offset: int = 0,
    limit: int = 20,
    places: Sequence[Place] = (),
    unlearned: bool = False,
) -> tuple[PreviewRow, ...]:
    """Rows of the file with the edits of a version, in file order; the summary's `records_in` says how many there are.

    Args:
        places: only the rows that stand there.
        unlearned: only rows that do not train, because they are left out or cannot.
        limit: at most 500.

    Raises:
        MissingInputError: there is no such data set or version.
        DataError: the file cannot be read.
        TooManyError: others are looking at files already.
    """
    state = find_state(service, account_id, dataset_id, number)
    offset, limit = max(offset, 0), min(max(limit, 0), MOST_IN_PAGE)
    wanted = [plain_place(Place(p.file or state.original.file_name, p.row, p.sheet)) for p in places]
    rows = _kept(service, state, range(offset, offset + limit), wanted, unlearned)
    if rows is None:
        page = {"offset": offset, "limit": limit, "places": wanted, "unlearned": unlearned}
        arguments = {"overlay": state.overlay.as_dict(), **page}
        with place_for_child(state.original):
            rows = list(run_on_original(service, "view", state.original, state.options, arguments))
    return tuple(_row(plain) for plain in rows)


def _kept(
    service: Service, state: VersionState, page: range, places: Sequence[Any], unlearned: bool
) -> list[Mapping[str, Any]] | None:
    """The same from what the check has kept; None where the file has to be read."""
    key = f"{state.report_key}/rows.jsonl"
    if state.report_key is None or not service.storage.exists(key):
        return None
    lines = (json.loads(line) for line in lines_of(service.storage.open(key)))
    has_all = next(lines)["has_all_rows"]
    rows = (row for row in lines if not places or any(place in row["stands_at"] for place in places))
    wanted = (row for row in rows if not (unlearned and is_learned(row)))
    found = list(islice(wanted, page.start, page.stop))
    return found if has_all or len(found) == len(page) else None


def _row(plain: Mapping[str, Any]) -> PreviewRow:
    return PreviewRow(
        place=read_place(plain["place"]),
        cells=tuple(Cell(read_place(cell["place"]), cell["column"], cell["text"]) for cell in plain["cells"]),
        messages=tuple(plain["messages"]),
        is_edited=plain["is_edited"],
        is_left_out=plain["is_left_out"],
    )
