"""Step 2, mending: each change makes a new version of the data set, and names the one that was seen.

Where somebody was quicker nothing is changed; the page is shown as it is now, with why and with what was typed.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from postil.errors import PostilError, UsageError
from postil.platform.datasets import edits
from postil.platform.datasets.datasets import delete_dataset
from postil.platform.datasets.options import DatasetOptions
from postil.platform.datasets.reports import MOST_IN_PAGE, get_report
from postil.platform.datasets.views import DatasetView, get_dataset, rename_dataset
from postil.platform.service import Service
from postil.problems import Place
from postil.web.auth import TheService, Trainer, Visitor
from postil.web.pages.data import problems_path, show_dataset
from postil.web.pages.data_columns import chosen_columns
from postil.web.pages.forms import Form, read_form
from postil.web.pages.rendering import see

router = APIRouter(include_in_schema=False, prefix="/data/{dataset_id}")
TheForm = Annotated[Form, Depends(read_form)]
MOST_LEFT_OUT = 10_000


@router.post("/fixes")
def fix(request: Request, dataset_id: str, visitor: Trainer, service: TheService, form: TheForm) -> Response:
    """Lets a machine mend one problem, all of a kind, or all that need no asking."""

    def change(view: DatasetView) -> None:
        edits.apply_fixes(
            service,
            visitor.account.id,
            view.id,
            version=number_in(form, "version"),
            problems=[number_in(form, "problem")] if form.has("problem") else [],
            codes=[form.get("all_of")] if form.has("all_of") else [],
            automatic=form.has("automatic"),
        )

    return _changed(request, service, visitor, dataset_id, form, change)


@router.post("/left-out")
def leave_out(request: Request, dataset_id: str, visitor: Trainer, service: TheService, form: TheForm) -> Response:
    """Takes the rows that the form names, or those of all problems of a kind, out of the training."""

    def change(view: DatasetView) -> None:
        version, account_id = number_in(form, "version"), visitor.account.id
        places = places_in(form)
        if form.has("all_of"):
            places = _places(service, account_id, view.id, version, form.get("all_of"))
        edits.leave_out(service, account_id, view.id, version=version, places=places)

    return _changed(request, service, visitor, dataset_id, form, change)


@router.post("/options")
def set_options(request: Request, dataset_id: str, visitor: Trainer, service: TheService, form: TheForm) -> Response:
    """Says how the file is to be read: its columns, its encoding, single questions, what the data are for."""

    def change(view: DatasetView) -> None:
        options = options_in(form, view.options)
        edits.set_options(service, visitor.account.id, view.id, version=number_in(form, "version"), options=options)

    return _changed(request, service, visitor, dataset_id, form, change)


@router.post("/undo")
def undo(request: Request, dataset_id: str, visitor: Trainer, service: TheService, form: TheForm) -> Response:
    """Goes back to an earlier version; that can be undone as well."""

    def change(view: DatasetView) -> None:
        to = number_in(form, "to") if form.has("to") else None
        edits.undo(service, visitor.account.id, view.id, version=number_in(form, "version"), to=to)

    return _changed(request, service, visitor, dataset_id, form, change)


@router.post("/name")
def rename(request: Request, dataset_id: str, visitor: Trainer, service: TheService, form: TheForm) -> Response:
    """Gives it another name; the file keeps its own."""

    def change(view: DatasetView) -> None:
        rename_dataset(service, visitor.account.id, view.id, form.get("name"))

    return _changed(request, service, visitor, dataset_id, form, change)


@router.post("/delete")
def delete(request: Request, dataset_id: str, visitor: Trainer, service: TheService, form: TheForm) -> Response:
    """Deletes it for good."""

    def change(view: DatasetView) -> None:
        delete_dataset(service, visitor.account.id, view.id)

    return _changed(request, service, visitor, dataset_id, form, change, then="/data")


def number_in(form: Form, name: str) -> int:
    """A number that a form carries; 0 where it is none, which no version, row or problem has."""
    text = form.get(name)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def place_in(form: Form) -> Place:
    """The row that a form names."""
    return Place(form.raw("file"), number_in(form, "row"), form.raw("sheet") or None)


def places_in(form: Form) -> list[Place]:
    """The rows that a form names, each by three fields."""
    names = zip(form.all("file"), form.all("sheet"), form.all("row"), strict=False)
    several = [place_in(Form((("file", file), ("sheet", sheet), ("row", row)))) for file, sheet, row in names]
    return several or [place_in(form)]


def options_in(form: Form, now: DatasetOptions) -> DatasetOptions:
    """The options with the part that the form is about.

    Raises:
        UsageError: it is about none of them, or takes two columns for the same.
    """
    match form.get("part"):
        case "columns":
            return replace(now, columns={} if form.has("automatic") else chosen_columns(form))
        case "encoding":
            return replace(now, encoding=form.get("encoding") or None)
        case "kind":
            return replace(now, kind=form.get("kind") or None)
        case "turns":
            return replace(now, single_turn=form.get("single_turn") == "yes")
        case _:
            raise UsageError("data_page.no_change")


def _changed(
    request: Request,
    service: Service,
    visitor: Visitor,
    dataset_id: str,
    form: Form,
    change: Callable[[DatasetView], None],
    then: str = "",
) -> Response:
    """Changes and shows what has come of it.

    Args:
        then: where to go afterwards; "" is the page with the problems that were listed.
    """
    account_id, code, offset = visitor.account.id, form.get("code"), number_in(form, "offset")
    view = get_dataset(service, account_id, dataset_id)
    try:
        change(view)
    except PostilError as error:
        return show_dataset(
            request, service, account_id, dataset_id, code=code, offset=offset, trouble=error, typed=form
        )
    return see(then or (problems_path(dataset_id, code, offset) if form.has("code") else f"/data/{dataset_id}"))


def _places(service: Service, account_id: str, dataset_id: str, version: int, code: str) -> list[Place]:
    """The rows of all problems of a kind."""
    places: dict[Place, None] = {}
    offset, total = 0, 1
    while offset < total:
        report = get_report(service, account_id, dataset_id, version, code=code, offset=offset, limit=MOST_IN_PAGE)
        total, offset = report.total, offset + MOST_IN_PAGE
        found = (numbered.problem.place for numbered in report.problems)
        places.update(dict.fromkeys(place for place in found if place.row))
        if len(places) > MOST_LEFT_OUT:
            raise UsageError("data_page.too_many_rows", most=MOST_LEFT_OUT)
    return list(places)
