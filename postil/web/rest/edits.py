"""Changes of a data set: fixes, cells, rows left out, how it is read, and undoing. The original never changes.

Each makes a new version and comes back at once; its check follows, and `state` says when it is done.
"""

from typing import Any

from fastapi import APIRouter

from postil.platform.datasets import edits as edits
from postil.platform.datasets.options import DatasetOptions
from postil.problems import Place
from postil.web.auth import TheService, Trainer
from postil.web.document import REST_ERRORS
from postil.wire import datasets as wire

router = APIRouter(prefix="/api/datasets/{dataset_id}", tags=["data"], responses=REST_ERRORS)


@router.post("/fixes", response_model=wire.Dataset)
def fix(dataset_id: str, body: wire.FixRequest, visitor: Trainer, service: TheService) -> Any:
    """Lets a machine mend problems: single ones, all of a kind, or all that need no asking."""
    return edits.apply_fixes(
        service,
        visitor.account.id,
        dataset_id,
        version=body.version,
        problems=body.problems,
        codes=body.codes,
        automatic=body.automatic,
    )


@router.post("/cells", response_model=wire.Dataset)
def edit_cell(dataset_id: str, body: wire.CellEdit, visitor: Trainer, service: TheService) -> Any:
    """Writes another text into a cell."""
    return edits.edit_cell(
        service,
        visitor.account.id,
        dataset_id,
        version=body.version,
        place=place_of(body.place),
        column=body.column,
        text=body.text,
    )


@router.post("/left-out", response_model=wire.Dataset)
def leave_out(dataset_id: str, body: wire.LeaveOut, visitor: Trainer, service: TheService) -> Any:
    """Takes rows out of the training."""
    places = [place_of(place) for place in body.places]
    return edits.leave_out(service, visitor.account.id, dataset_id, version=body.version, places=places)


@router.put("/options", response_model=wire.Dataset)
def set_options(dataset_id: str, body: wire.OptionsChange, visitor: Trainer, service: TheService) -> Any:
    """Says how the file is to be read from now on, in place of what was said before."""
    options = DatasetOptions(body.encoding, body.columns, body.single_turn, body.kind)
    return edits.set_options(service, visitor.account.id, dataset_id, version=body.version, options=options)


@router.post("/undo", response_model=wire.Dataset)
def undo(dataset_id: str, body: wire.Undo, visitor: Trainer, service: TheService) -> Any:
    """Goes back to what an earlier version was; that is a new version, so it can be undone as well."""
    return edits.undo(service, visitor.account.id, dataset_id, version=body.version, to=body.to)


def place_of(place: wire.RowPlace) -> Place:
    """The place as the platform names it."""
    return Place(place.file, place.row, place.sheet)
