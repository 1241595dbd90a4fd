"""Step 1: a file, rows that are pasted or an example become a data set."""

import shlex
from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import Response

from postil.data.files.kinds import likeliest_delimiter
from postil.errors import PostilError, UsageError
from postil.language import current_language, say
from postil.platform.datasets.uploads import start_upload
from postil.platform.datasets.views import DatasetView
from postil.platform.service import Service
from postil.platform.store.storage import CHUNK_BYTES
from postil.web.auth import Reader, TheService, Trainer
from postil.web.errors import describe_error
from postil.web.lanes import MOST_UPLOADS_OF_ACCOUNT, lanes_of
from postil.web.pages.code import Snippet, curl_snippet, python_call, python_snippet, service_address
from postil.web.pages.examples import EXAMPLES, example_file
from postil.web.pages.forms import Form, read_form
from postil.web.pages.rendering import page, see

router = APIRouter(include_in_schema=False)
ENDINGS = (".xlsx", ".xls", ".xlsb", ".ods", ".csv", ".tsv", ".txt", ".md", ".docx", ".json", ".jsonl", ".parquet")
"""What a file picker proposes; a .zip and every other text is taken as well."""
_TABLE = 0.9
_LOOKED_AT_LINES = 50


@router.get("/new")
def ask(request: Request, visitor: Reader, service: TheService) -> Response:
    """Three ways to begin."""
    return _page(request, service)


@router.post("/new")
async def take_file(request: Request, visitor: Trainer, service: TheService) -> Response:
    """Takes a file as a form without script sends it."""
    try:
        view = await _take_form(request, service, visitor.account.id)
    except PostilError as error:
        return _page(request, service, trouble=error)
    return see(f"/data/{view.id}")


@router.post("/new/paste")
async def take_rows(request: Request, visitor: Trainer, service: TheService) -> Response:
    """Takes rows that were pasted, as a file."""
    form = await read_form(request)
    rows = form.raw("rows")
    try:
        if not rows.strip():
            raise UsageError("new_page.no_rows")
        name = say("new_page.pasted_file") + ending_of(rows)
        data = rows.encode("utf-8", "surrogatepass")
        view = await _take(request, service, visitor.account.id, name, [data], form.get("name") or None)
    except PostilError as error:
        return _page(request, service, trouble=error, typed=form)
    return see(f"/data/{view.id}")


@router.post("/new/example")
async def take_example(request: Request, visitor: Trainer, service: TheService) -> Response:
    """Takes an example, in the language of the page."""
    name = (await read_form(request)).get("example")
    try:
        file_name, data = await anyio.to_thread.run_sync(example_file, name, current_language())
        view = await _take(request, service, visitor.account.id, file_name, [data])
    except PostilError as error:
        return _page(request, service, trouble=error)
    return see(f"/data/{view.id}")


def ending_of(rows: str) -> str:
    """The ending that says how pasted rows are laid out: spreadsheets put tabs between their cells."""
    first = rows.lstrip()[:1]
    if first in ("[", "{"):
        return ".json" if first == "[" else ".jsonl"
    mark, likeness = likeliest_delimiter(rows.split("\n")[:_LOOKED_AT_LINES])
    if mark == "\t" and likeness:
        return ".tsv"
    return ".csv" if likeness > _TABLE else ".txt"


async def _take_form(request: Request, service: Service, account_id: str) -> DatasetView:
    """The file goes to the disk of this machine while it comes, and from there into the storage."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise UsageError("new_page.no_file")  # another form would be held in memory, whatever its size
    service.limits.allow("upload", account_id)
    lanes = lanes_of(request)
    with lanes.place("uploads", account_id, MOST_UPLOADS_OF_ACCOUNT):
        async with request.form(max_files=1, max_fields=10) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile) or not file.filename:
                raise UsageError("new_page.no_file")
            take = partial(start_upload, service, account_id, file.filename, _pieces(file.file))
            return await anyio.to_thread.run_sync(take, limiter=lanes.uploads)


async def _take(
    request: Request, service: Service, account_id: str, file_name: str, chunks: list[bytes], name: str | None = None
) -> DatasetView:
    service.limits.allow("upload", account_id)
    take = partial(start_upload, service, account_id, file_name, chunks, name)
    return await anyio.to_thread.run_sync(take, limiter=lanes_of(request).uploads)


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(CHUNK_BYTES):
        yield piece


def _page(
    request: Request, service: Service, *, trouble: PostilError | None = None, typed: Form | None = None
) -> Response:
    reply = None if trouble is None else describe_error(trouble)
    values: dict[str, Any] = {
        "examples": EXAMPLES,
        "endings": ENDINGS,
        "max_bytes": service.settings.max_upload_bytes,
        "snippets": upload_snippets(service_address(request), "faq.csv"),
        "typed": typed or Form(),
    }
    return page(request, "new.html", 200 if reply is None else reply.status, trouble=reply, **values)


def upload_snippets(address: str, file_name: str) -> tuple[Snippet, ...]:
    """How a program sends a file."""
    python = (
        f"data = client.check({python_call('client.upload', file_name)})",
        "print(data.id, data.state, data.rows)",
    )
    name, first = curl_snippet(address, "POST", f"/api/datasets?file_name={quote(file_name, safe='')}")
    by_curl = name, f"{first} \\\n  --data-binary {shlex.quote('@' + file_name)}"
    return by_curl, python_snippet(address, *python)
