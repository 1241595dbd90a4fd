"""The library of adapters: listing, renaming, sharing, aliases, download, deletion."""

from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from postil.platform.adapters import adapters as library
from postil.platform.adapters import aliases as aliases
from postil.platform.adapters import sharing as sharing
from postil.platform.adapters.downloads import open_download
from postil.web.auth import Reader, TheService, Trainer
from postil.web.document import REST_ERRORS
from postil.web.downloads import attachment
from postil.web.lanes import Limit
from postil.wire import adapters as wire
from postil.wire.accounts import Freed

router = APIRouter(prefix="/api", tags=["adapters"], responses=REST_ERRORS)


@router.get("/adapters", response_model=wire.AdapterList)
def list_all(
    visitor: Reader, service: TheService, limit: Limit = 50, after: str | None = None, base: str | None = None
) -> Any:
    """Adapters of the account and those shared with it, the newest first."""
    found = library.list_adapters(service, visitor.account.id, limit=limit, after=after, base=base)
    return {"adapters": found, "next_after": found[-1].id if len(found) == limit else None}


@router.get("/adapters/{adapter_id}", response_model=wire.Adapter)
def get_one(adapter_id: str, visitor: Reader, service: TheService) -> Any:
    """One adapter."""
    return library.get_adapter(service, visitor.account.id, adapter_id)


@router.patch("/adapters/{adapter_id}", response_model=wire.Adapter)
def rename(adapter_id: str, body: wire.AdapterRename, visitor: Trainer, service: TheService) -> Any:
    """Gives it another name."""
    return library.rename_adapter(service, visitor.account.id, adapter_id, body.name)


@router.delete("/adapters/{adapter_id}", response_model=Freed)
async def delete(
    adapter_id: str,
    visitor: Trainer,
    service: TheService,
    request: Request,
    force: Annotated[bool, Query(description="Also while it is in use.")] = False,
) -> Any:
    """Deletes it with its files, and takes it out of the process that answers."""

    def work() -> int:
        return library.delete_adapter(service, visitor.account.id, adapter_id, force=force)

    freed = await anyio.to_thread.run_sync(work)
    await request.app.state.door.detach(adapter_id)
    return Freed(freed_bytes=freed)


@router.get("/adapters/{adapter_id}/download", response_class=StreamingResponse)
def download(adapter_id: str, visitor: Reader, service: TheService) -> StreamingResponse:
    """The adapter as a zip: weights, settings, manifest, tokenizer and card."""
    found = open_download(service, visitor.account.id, adapter_id)
    return attachment(found.file_name, found.chunks, "application/zip")


@router.post("/adapters/{adapter_id}/shares", response_model=wire.Adapter)
def share(adapter_id: str, body: wire.ShareRequest, visitor: Trainer, service: TheService) -> Any:
    """Lets another account use it; it may not change it, and never sees the data."""
    service.limits.allow("lookup", visitor.account.id)
    return sharing.share_adapter(service, visitor.account.id, adapter_id, body.account)


@router.delete("/adapters/{adapter_id}/shares/{account}", response_model=wire.Adapter)
def unshare(adapter_id: str, account: str, visitor: Trainer, service: TheService) -> Any:
    """Takes it back from an account, at once."""
    return sharing.unshare_adapter(service, visitor.account.id, adapter_id, account)


@router.post("/adapters/{adapter_id}/leave", status_code=204)
def leave(adapter_id: str, visitor: Trainer, service: TheService) -> None:
    """Takes an adapter that somebody else shares off the account's list."""
    sharing.leave_adapter(service, visitor.account.id, adapter_id)


@router.get("/aliases", response_model=wire.AliasList)
def list_aliases(visitor: Reader, service: TheService) -> Any:
    """The account's aliases."""
    return {"aliases": aliases.list_aliases(service, visitor.account.id)}


@router.put("/aliases/{name}", response_model=wire.Alias)
def set_alias(name: str, body: wire.AliasTarget, visitor: Trainer, service: TheService) -> Any:
    """Points an alias such as `shop-bot@prod` at an adapter; requests that come from now on go there."""
    return aliases.set_alias(service, visitor.account.id, name, body.adapter_id)


@router.post("/aliases/{name}/back", response_model=wire.Alias)
def turn_back(name: str, visitor: Trainer, service: TheService) -> Any:
    """Points it where it pointed before."""
    return aliases.turn_back_alias(service, visitor.account.id, name)


@router.delete("/aliases/{name}", status_code=204)
def delete_alias(name: str, visitor: Trainer, service: TheService) -> None:
    """Deletes an alias; its adapter stays."""
    aliases.delete_alias(service, visitor.account.id, name)
