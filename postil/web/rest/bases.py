"""Bases that may be trained here, and fetching them. Names hold slashes, so they stand in bodies or at the end."""

from typing import Any

from fastapi import APIRouter

from postil.platform.bases import bases as kept
from postil.web.auth import Admin, Reader, TheService, Trainer
from postil.web.document import REST_ERRORS
from postil.wire import bases as wire

router = APIRouter(prefix="/api", tags=["bases"], responses=REST_ERRORS)


@router.get("/bases", response_model=wire.BaseList)
def list_allowed(visitor: Reader, service: TheService) -> Any:
    """Every base that may be trained here: recommended ones first, then by size."""
    return {"bases": kept.list_bases(service)}


@router.post("/bases/download", status_code=202, response_model=wire.Base)
def download(body: wire.DownloadRequest, visitor: Trainer, service: TheService) -> Any:
    """Asks for a base to be fetched; nothing happens where it is here, or on its way."""
    return kept.start_download(service, body.name, hub=body.hub)


@router.get("/bases/{name:path}", response_model=wire.Base)
def get_one(name: str, visitor: Reader, service: TheService) -> Any:
    """One base, with how far its download is."""
    return kept.get_base(service, name)


@router.get("/admin/bases", response_model=wire.BaseList)
def list_known(visitor: Admin, service: TheService) -> Any:
    """The same with those that are forbidden."""
    return {"bases": kept.list_bases(service, all_known=True)}


@router.post("/admin/bases/hub", status_code=201, response_model=wire.Base)
def allow_hub(body: wire.HubBase, visitor: Admin, service: TheService) -> Any:
    """Allows a hub's model; it is fetched when somebody asks for it."""
    return kept.allow_base(service, body.name, hub=body.hub, revision=body.revision)


@router.post("/admin/bases/folder", status_code=201, response_model=wire.Base)
def allow_folder(body: wire.FolderBase, visitor: Admin, service: TheService) -> Any:
    """Allows a base in a folder of this machine; it is read and checked first."""
    return kept.allow_folder(service, body.folder, name=body.name)


@router.post("/admin/bases/forbid", status_code=204)
def forbid(body: wire.BaseRef, visitor: Admin, service: TheService) -> None:
    """Takes a base off the list; files that were fetched stay."""
    kept.forbid_base(service, body.name)
