"""Files in: whole, or in pieces that go on where they broke off. The body is the file itself, as it is."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from postil.platform.datasets import uploads as taken
from postil.web.auth import Reader, TheService, Trainer
from postil.web.document import REST_ERRORS
from postil.web.lanes import uploading
from postil.wire import datasets as wire

router = APIRouter(prefix="/api", tags=["data"], responses=REST_ERRORS)
FileName = Annotated[str, Query(min_length=1, max_length=1000, description="As the user's machine calls it.")]
Name = Annotated[str | None, Query(min_length=1, max_length=500, description="Of the data set; else the file's.")]
_BINARY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("/datasets", status_code=201, response_model=wire.Dataset, openapi_extra=_BINARY)
async def upload(
    visitor: Trainer, service: TheService, request: Request, file_name: FileName, name: Name = None
) -> Any:
    """Takes a file whole; its check begins at once, and `state` says how far it is."""
    account_id = visitor.account.id
    service.limits.allow("upload", account_id)
    return await uploading(
        request, account_id, lambda pieces: taken.start_upload(service, account_id, file_name, pieces, name)
    )


@router.post("/uploads", status_code=201, response_model=wire.UploadState)
def begin(body: wire.UploadStart, visitor: Trainer, service: TheService) -> Any:
    """Makes room for a file that comes in pieces."""
    service.limits.allow("upload", visitor.account.id)
    view = taken.begin_upload(service, visitor.account.id, body.file_name, body.name)
    return wire.UploadState(id=view.id, received_bytes=0)


@router.get("/uploads/{dataset_id}", response_model=wire.UploadState)
def received(dataset_id: str, visitor: Reader, service: TheService) -> Any:
    """How much of it has come."""
    num_bytes = taken.received_bytes(service, visitor.account.id, dataset_id)
    return wire.UploadState(id=dataset_id, received_bytes=num_bytes)


@router.put("/uploads/{dataset_id}", response_model=wire.UploadState, openapi_extra=_BINARY)
async def append(
    dataset_id: str,
    visitor: Trainer,
    service: TheService,
    request: Request,
    offset: Annotated[int, Query(ge=0, description="Where this piece begins: what has come so far.")],
) -> Any:
    """Takes the next piece; what came of it before it broke is kept."""
    account_id = visitor.account.id
    num_bytes = await uploading(
        request, account_id, lambda pieces: taken.append_upload(service, account_id, dataset_id, offset, pieces)
    )
    return wire.UploadState(id=dataset_id, received_bytes=num_bytes)


@router.post("/uploads/{dataset_id}/finish", response_model=wire.Dataset)
def finish(dataset_id: str, body: wire.UploadEnd, visitor: Trainer, service: TheService) -> Any:
    """Says that all of it is there; its check begins."""
    return taken.finish_upload(service, visitor.account.id, dataset_id, num_bytes=body.num_bytes, sha256=body.sha256)


@router.delete("/uploads/{dataset_id}", status_code=204)
def abandon(dataset_id: str, visitor: Trainer, service: TheService) -> None:
    """Takes a file that is not complete away; again does no harm."""
    taken.abandon_upload(service, visitor.account.id, dataset_id)
