"""Step 2, a cell: a row of the file with its texts, to be changed where it is looked at.

With a script the form takes the place of the cell in the table; without one it is a page of its own.
"""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from starlette.responses import HTMLResponse, Response

from postil.errors import PostilError
from postil.language import say
from postil.platform.datasets import edits
from postil.platform.datasets.rows import Cell, PreviewRow, preview
from postil.platform.datasets.views import DatasetView, get_dataset
from postil.platform.service import Service
from postil.problems import ADDED, Place
from postil.web.auth import Reader, TheService, Trainer
from postil.web.lanes import checking
from postil.web.pages.data import Code, Offset, problems_path, told
from postil.web.pages.forms import Form, read_form
from postil.web.pages.mending import number_in, place_in
from postil.web.pages.rendering import page, see

router = APIRouter(include_in_schema=False, prefix="/data/{dataset_id}")
MOST_CELLS = 40
_SHOWN_CHARS = 80
_ADDED_TEXT = re.compile(r"messages\[([0-9]{1,4})\]\.content")

Name = Annotated[str, Query(max_length=4096)]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The cell that is asked for, and the list of problems to which to go back.

    Args:
        column: "" where the row is meant.
    """

    place: Place
    column: str
    code: str
    offset: int


@router.get("/row")
async def show_row(
    request: Request,
    dataset_id: str,
    visitor: Reader,
    service: TheService,
    file: Name = "",
    sheet: Name = "",
    row: Annotated[int, Query(ge=0, le=10**9)] = 0,
    column: Name = "",
    code: Code = "",
    offset: Offset = 0,
) -> Response:
    """The texts of a row, each in a form."""
    wanted = _Wanted(Place(file, row, sheet or None), column, code, offset)
    return await _form(request, service, visitor.account.id, dataset_id, wanted)


@router.post("/cells")
async def write(request: Request, dataset_id: str, visitor: Trainer, service: TheService) -> Response:
    """Writes another text into a cell."""
    form, account_id = await read_form(request), visitor.account.id
    wanted = _Wanted(place_in(form), form.raw("column"), form.get("code"), number_in(form, "offset"))

    def change() -> DatasetView:
        get_dataset(service, account_id, dataset_id)
        return edits.edit_cell(
            service,
            account_id,
            dataset_id,
            version=number_in(form, "version"),
            place=wanted.place,
            column=wanted.column,
            text=form.raw("text"),
        )

    try:
        view = await anyio.to_thread.run_sync(change)
    except PostilError as error:
        return await _form(request, service, account_id, dataset_id, wanted, trouble=error, typed=form)
    if "hx-request" not in request.headers:
        return see(problems_path(dataset_id, wanted.code, wanted.offset))
    response = page(request, "data_saved.html", view=view, text=_beginning(form.raw("text")))
    response.headers["hx-trigger"] = json.dumps({"postil:version": view.version})
    return response


async def _form(
    request: Request,
    service: Service,
    account_id: str,
    dataset_id: str,
    wanted: _Wanted,
    *,
    trouble: PostilError | None = None,
    typed: Form | None = None,
) -> HTMLResponse:
    """The row as it stands now; after a refusal with why, and with what was typed."""
    view = await anyio.to_thread.run_sync(get_dataset, service, account_id, dataset_id)

    def read() -> tuple[PreviewRow, ...]:
        return preview(service, account_id, dataset_id, view.version, limit=1, places=[wanted.place])

    rows: tuple[PreviewRow, ...] = ()
    if wanted.place.row and view.version:
        rows = await checking(request, account_id, read)
    reply = None if trouble is None else told(trouble)
    cells = _ordered(_own_cells(rows[0]), wanted) if rows else []
    is_part = "hx-request" in request.headers
    values: dict[str, Any] = {
        "view": view,
        "is_part": is_part,
        "row": rows[0] if rows else None,
        "where": wanted.place.in_words(known_file=view.file_name),
        "cells": [(cell, _cell_name(cell, rows[0])) for cell in cells if cell.column][:MOST_CELLS],
        "wanted": wanted,
        "typed": typed,
        "trouble": reply,
        "back": problems_path(dataset_id, wanted.code, wanted.offset),
    }
    return page(
        request, "data_cell.html" if is_part else "data_row.html", 200 if reply is None else reply.status, **values
    )


def _own_cells(row: PreviewRow) -> tuple[Cell, ...]:
    """What can be edited: of a conversation that was added by hand its texts, not who says them."""
    return tuple(cell for cell in row.cells if row.place.file != ADDED or _ADDED_TEXT.fullmatch(cell.column))


def _cell_name(cell: Cell, row: PreviewRow) -> str:
    """The header; of what was added by hand, who says it."""
    found = _ADDED_TEXT.fullmatch(cell.column) if row.place.file == ADDED else None
    if found is None or int(found[1]) >= len(row.messages):
        return cell.column
    return say(f"data_page.cell_of.{row.messages[int(found[1])]['role']}")


def _ordered(cells: tuple[Cell, ...], wanted: _Wanted) -> list[Cell]:
    """The cell that is to blame first."""
    return sorted(cells, key=lambda cell: (cell.column, cell.place.row) != (wanted.column, wanted.place.row))


def _beginning(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]} …"
