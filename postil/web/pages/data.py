"""Step 2, looking: the list of data sets, and the page of one: what was found, how it was read, what needs a look."""

from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.responses import Response

from postil.data.options import PURPOSES
from postil.data.purposes import DATA_PURPOSES
from postil.data.splits import MIN_ROWS_TO_SPLIT
from postil.errors import PostilError
from postil.language import say
from postil.platform.datasets import reports
from postil.platform.datasets.rows import PreviewRow, preview
from postil.platform.datasets.views import DatasetView, find_same_file, get_dataset, list_datasets, list_versions
from postil.platform.service import Service
from postil.web.auth import Reader, TheService
from postil.web.downloads import attachment
from postil.web.errors import Reply, describe_error
from postil.web.lanes import checking
from postil.web.pages.code import Snippet, curl_snippet, python_call, python_snippet, service_address
from postil.web.pages.data_findings import (
    GOOD_NUMBER_OF_ROWS,
    PROBLEMS_IN_PAGE,
    Findings,
    change_in_words,
    find_findings,
    headline,
    num_to_see,
    place_query,
    version_to_undo,
)
from postil.web.pages.forms import Form
from postil.web.pages.rendering import page, polled

router = APIRouter(include_in_schema=False)
STATES = ("ready", "needs_attention", "validating", "unreadable")
ENCODINGS = ("utf-8", "gb18030", "big5", "utf-16", "shift_jis", "euc-kr", "cp1252")
_TEXT_FORMATS = ("csv", "tsv", "txt", "md", "json", "jsonl")
_ENCODING_TROUBLES = ("data.unknown_encoding", "data.broken_bytes", "data.other_encoding", "data.unknown_codec")
_IN_LIST, _ROWS_IN_PAGE, _MOST_VERSIONS = 30, 20, 30

Code = Annotated[str, Query(max_length=100)]
Offset = Annotated[int, Query(ge=0, le=10**9)]


@router.get("/data")
def list_own(
    request: Request, visitor: Reader, service: TheService, state: str = "", after: str | None = None
) -> Response:
    """The account's data sets, the newest first."""
    chosen = state if state in STATES else ""
    found = list_datasets(service, visitor.account.id, limit=_IN_LIST, after=after, state=chosen or None)
    values: dict[str, Any] = {"datasets": found, "states": STATES, "chosen": chosen}
    values["to_see"] = {view.id: num_to_see(view) for view in found}
    return page(request, "data_list.html", more=found[-1].id if len(found) == _IN_LIST else "", **values)


@router.get("/data/{dataset_id}")
def look(
    request: Request, dataset_id: str, visitor: Reader, service: TheService, code: Code = "", offset: Offset = 0
) -> Response:
    """One data set: its check in words, and everything that can be done about what it found."""
    return show_dataset(request, service, visitor.account.id, dataset_id, code=code, offset=offset)


@router.get("/data/{dataset_id}/state")
def look_again(request: Request, dataset_id: str, visitor: Reader, service: TheService, then: str = "") -> Response:
    """How far the check is, for a page that waits for it.

    Args:
        then: "tell" says at the end what was found; otherwise the page is loaded anew.
    """
    view = get_dataset(service, visitor.account.id, dataset_id)
    is_done = view.state != "validating"
    is_told = is_done and then == "tell"
    findings = find_findings(service, visitor.account.id, view) if is_told else None
    values = {"view": view, "is_told": is_told, "num_to_see": findings.num_to_see if findings else None}
    response = polled(request, "data_checking.html", is_last=is_done, **values)
    if is_done and not is_told:
        response.headers["hx-refresh"] = "true"
    return response


@router.get("/data/{dataset_id}/rows")
async def look_at_rows(
    request: Request, dataset_id: str, visitor: Reader, service: TheService, offset: Offset = 0, only: str = ""
) -> Response:
    """The rows as they will be learned, page by page.

    Args:
        only: "left-out" shows those that are not learned.
    """
    account_id, unlearned = visitor.account.id, only == "left-out"

    def read() -> tuple[DatasetView, tuple[PreviewRow, ...]]:
        view = get_dataset(service, account_id, dataset_id)
        found = preview(service, account_id, dataset_id, offset=offset, limit=_ROWS_IN_PAGE, unlearned=unlearned)
        return view, found

    view, rows = await checking(request, account_id, read)
    shown = [(row, row.place.in_words(known_file=view.file_name), place_query(row.place)) for row in rows]
    total = (view.summary or {}).get("dropped" if unlearned else "records_in", offset + len(rows))
    values = {"rows": shown, "offset": offset, "step_size": _ROWS_IN_PAGE, "total": max(total, offset + len(rows))}
    values["unlearned"] = unlearned
    return page(request, "data_rows.html", view=view, **values)


@router.get("/data/{dataset_id}/file")
async def corrected(request: Request, dataset_id: str, visitor: Reader, service: TheService) -> StreamingResponse:
    """The file with all edits, in its own format."""
    account_id = visitor.account.id
    found = await checking(request, account_id, reports.corrected_file, service, account_id, dataset_id)
    return attachment(found.file_name, found.chunks, "application/octet-stream", found.num_bytes)


def show_dataset(
    request: Request,
    service: Service,
    account_id: str,
    dataset_id: str,
    *,
    code: str = "",
    offset: int = 0,
    trouble: PostilError | None = None,
    typed: Form | None = None,
) -> Response:
    """The page of a data set as it is now.

    Args:
        code, offset: which problems are listed.
        trouble: why a change was refused; its status is the page's.
        typed: the form that was refused, so that nothing in it is lost.
    """
    view = get_dataset(service, account_id, dataset_id)
    reply = None if trouble is None else told(trouble)
    findings = find_findings(service, account_id, view, code=code, offset=offset)
    versions = list_versions(service, account_id, dataset_id)
    values: dict[str, Any] = {
        "view": view,
        "findings": findings,
        "headline": headline(view) if findings else "",
        "versions": versions[:_MOST_VERSIONS],
        "undo_to": version_to_undo(versions, view.version),
        "changes": [change_in_words(*pair) for pair in zip(versions, [*versions[1:], None], strict=True)],
        "same": None if view.num_edits else find_same_file(service, account_id, view),
        "snippets": _snippets(service_address(request), view),
        "typed": typed or Form(),
        "enough": GOOD_NUMBER_OF_ROWS,
        "least": MIN_ROWS_TO_SPLIT,
        "pages": _pages(findings),
        "purposes": PURPOSES,
        "data_kinds": DATA_PURPOSES,
        "encodings": ENCODINGS if _is_text(view) else (),
    }
    return page(request, "data.html", 200 if reply is None else reply.status, trouble=reply, **values)


def told(error: PostilError) -> Reply:
    """Why a change was refused. A page that comes with it is the newest already, and need not be loaded again."""
    reply = describe_error(error)
    if reply.code == "platform.datasets.changed_meanwhile":
        return replace(reply, hint=say("data_page.changed_meanwhile"))
    return reply


def problems_path(dataset_id: str, code: str = "", offset: int = 0) -> str:
    """The address of the problems of one kind."""
    named = {"code": code, "offset": str(offset) if offset else ""}
    query = urlencode({name: value for name, value in named.items() if value})
    return f"/data/{dataset_id}{f'?{query}' if query else ''}#problems"


def _pages(findings: Findings | None) -> dict[str, int | None]:
    """Offsets of the pages before and after the one that is shown; None where there is none."""
    if findings is None:
        return {"before": None, "after": None}
    before, after = findings.offset - PROBLEMS_IN_PAGE, findings.offset + PROBLEMS_IN_PAGE
    return {"before": max(before, 0) if findings.offset else None, "after": after if after < findings.total else None}


def _is_text(view: DatasetView) -> bool:
    """True where another encoding would show other characters."""
    if view.summary is not None and view.state != "unreadable":
        return str(view.summary["format"]) in _TEXT_FORMATS
    return view.error is not None and (view.error.key in _ENCODING_TROUBLES or view.options.encoding is not None)


def _snippets(address: str, view: DatasetView) -> tuple[Snippet, ...]:
    """How a program mends what needs no asking, and fetches the corrected file."""
    path = f"/api/datasets/{view.id}"
    python = (
        f"data = {python_call('client.dataset', view.id)}",
        "data = client.check(client.fix(data))",
        "print(data.state, data.rows)",
        python_call("client.corrected_file", view.id, "."),
    )
    by_curl = curl_snippet(address, "POST", f"{path}/fixes", {"version": view.version, "automatic": True})
    return by_curl, python_snippet(address, *python)
