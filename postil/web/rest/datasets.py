"""Data sets: what was found in a file, what it looks like, and the corrected file back."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from postil.platform.datasets import datasets as kept
from postil.platform.datasets import reports as reports
from postil.platform.datasets import views as views
from postil.platform.datasets.rows import preview
from postil.web.auth import Reader, TheService, Trainer
from postil.web.document import REST_ERRORS
from postil.web.downloads import attachment
from postil.web.lanes import Limit, checking
from postil.web.rest.edits import place_of
from postil.wire import datasets as wire
from postil.wire.accounts import Freed

VersionNumber = Annotated[int | None, Query(ge=1, le=10**9, description="None takes the newest.")]
Offset = Annotated[int, Query(ge=0, le=10**9)]

router = APIRouter(prefix="/api/datasets", tags=["data"], responses=REST_ERRORS)


@router.get("", response_model=wire.DatasetList)
def list_own(visitor: Reader, service: TheService, limit: Limit = 50, after: str | None = None) -> Any:
    """The account's data sets, the newest first."""
    found = views.list_datasets(service, visitor.account.id, limit=limit, after=after)
    return {"datasets": found, "next_after": found[-1].id if len(found) == limit else None}


@router.get("/{dataset_id}", response_model=wire.Dataset)
def get_one(dataset_id: str, visitor: Reader, service: TheService) -> Any:
    """One data set: its state, and after the check what was found."""
    return views.get_dataset(service, visitor.account.id, dataset_id)


@router.patch("/{dataset_id}", response_model=wire.Dataset)
def rename(dataset_id: str, body: wire.DatasetRename, visitor: Trainer, service: TheService) -> Any:
    """Gives it another name; the file keeps its own."""
    return views.rename_dataset(service, visitor.account.id, dataset_id, body.name)


@router.delete("/{dataset_id}", response_model=Freed)
def delete(dataset_id: str, visitor: Trainer, service: TheService) -> Any:
    """Deletes the original, all versions and what was made of them."""
    return Freed(freed_bytes=kept.delete_dataset(service, visitor.account.id, dataset_id))


@router.get("/{dataset_id}/versions", response_model=wire.VersionList)
def versions(dataset_id: str, visitor: Reader, service: TheService) -> Any:
    """Every version, the newest first, with the jobs that name it."""
    return {"versions": views.list_versions(service, visitor.account.id, dataset_id)}


@router.get("/{dataset_id}/report", response_model=wire.Report)
def report(
    dataset_id: str,
    visitor: Reader,
    service: TheService,
    version: VersionNumber = None,
    code: Annotated[str | None, Query(max_length=100, description="Problems of this kind only.")] = None,
    offset: Offset = 0,
    limit: Limit = 50,
) -> Any:
    """The problems of a version, page by page, with how many there are of each kind."""
    page = reports.get_report(service, visitor.account.id, dataset_id, version, code=code, offset=offset, limit=limit)
    return wire.Report(
        version=page.version,
        counts=[wire.CodeCount.model_validate(count) for count in page.counts],
        total=page.total,
        offset=page.offset,
        problems=[wire.Problem.model_validate(problem.as_dict()) for problem in page.problems],
    )


@router.get("/{dataset_id}/rows", response_model=wire.RowList)
async def rows(
    dataset_id: str,
    visitor: Reader,
    service: TheService,
    request: Request,
    version: VersionNumber = None,
    offset: Offset = 0,
    limit: Limit = 20,
) -> Any:
    """Rows of the file with the edits of a version: cells, and what they say as chat bubbles."""
    account_id = visitor.account.id

    def look() -> Any:
        return preview(service, account_id, dataset_id, version, offset=offset, limit=limit)

    return {"rows": await checking(request, account_id, look)}


@router.post("/{dataset_id}/rows", response_model=wire.RowList)
async def rows_at(
    dataset_id: str, body: wire.RowsWanted, visitor: Reader, service: TheService, request: Request
) -> Any:
    """The same for rows that are named by their places; nothing is changed."""
    account_id = visitor.account.id
    places = [place_of(place) for place in body.places]

    def look() -> Any:
        return preview(service, account_id, dataset_id, body.version, limit=len(places), places=places)

    return {"rows": await checking(request, account_id, look)}


@router.get("/{dataset_id}/file", response_class=StreamingResponse)
async def corrected(
    dataset_id: str, visitor: Reader, service: TheService, request: Request, version: VersionNumber = None
) -> StreamingResponse:
    """The file with all edits of a version, in its own format."""
    account_id = visitor.account.id
    found = await checking(request, account_id, reports.corrected_file, service, account_id, dataset_id, version)
    changes = {"x-postil-changes": str(found.num_changes)}
    return attachment(found.file_name, found.chunks, "application/octet-stream", found.num_bytes, changes)
