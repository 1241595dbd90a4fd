"""Data sets: what was found in a file, what is mended, and the corrected file back."""

from typing import Any

from fastapi import APIRouter

from postil.platform import dataset_views as views
from postil.platform import datasets as kept
from postil.web.auth import Reader, TheService, Trainer
from postil.web.document import REST_ERRORS
from postil.web.lanes import Limit
from postil.wire import datasets as wire
from postil.wire.accounts import Freed

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
