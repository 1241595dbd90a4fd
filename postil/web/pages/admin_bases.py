"""Bases, for an admin: which may be trained here, from a hub or a folder, their downloads, and tokens of hubs."""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.errors import PostilError
from postil.platform.bases import bases as kept
from postil.platform.bases.downloads import AT_WORK
from postil.platform.service import Service
from postil.platform.store.hub_tokens import list_hub_tokens, set_hub_token
from postil.web.auth import Admin, TheService
from postil.web.errors import describe_error
from postil.web.pages.forms import Form
from postil.web.pages.rendering import page, polled, see
from postil.web.pages.typed import TheForm

router = APIRouter(include_in_schema=False)
_DONE = ("hub", "folder", "kept", "forgotten")


@router.get("/admin/bases")
def show(request: Request, visitor: Admin, service: TheService, done: str = "") -> Response:
    """Every base that is known here, the forbidden ones too."""
    return _bases(request, service, done=done if done in _DONE else "")


@router.get("/admin/bases/rows")
def rows(request: Request, visitor: Admin, service: TheService) -> Response:
    """The table alone, for the page that stays open while something is fetched."""
    values = _known(service)
    return polled(request, "admin_bases_rows.html", is_last=not values["is_at_work"], **values)


@router.post("/admin/bases/hub")
def allow_hub(request: Request, visitor: Admin, service: TheService, form: TheForm) -> Response:
    """Allows a hub's model; it is fetched when somebody asks for it."""
    name, hub, revision = form.get("name"), form.get("hub"), form.get("revision")
    try:
        kept.allow_base(service, name, hub=hub, revision=revision or None)
    except PostilError as error:
        return _bases(request, service, at="hub", error=error, form=form)
    return see("/admin/bases?done=hub")


@router.post("/admin/bases/folder")
def allow_folder(request: Request, visitor: Admin, service: TheService, form: TheForm) -> Response:
    """Allows a folder of this machine, after it was read and checked."""
    try:
        kept.allow_folder(service, form.get("folder"), name=form.get("name") or None)
    except PostilError as error:
        return _bases(request, service, at="folder", error=error, form=form)
    return see("/admin/bases?done=folder")


@router.post("/admin/bases/fetch")
def fetch(request: Request, visitor: Admin, service: TheService, form: TheForm) -> Response:
    """Asks for a base to be downloaded; again after a failure."""
    return _do(request, service, partial(kept.start_download, hub=form.get("hub") or None), form.get("name"))


@router.post("/admin/bases/forbid")
def forbid(request: Request, visitor: Admin, service: TheService, form: TheForm) -> Response:
    """Takes a base off the list; files stay."""
    return _do(request, service, kept.forbid_base, form.get("name"))


@router.post("/admin/bases/allow")
def allow_again(request: Request, visitor: Admin, service: TheService, form: TheForm) -> Response:
    """Puts a base on the list again that was taken off it."""
    return _do(request, service, _allow_again, form.get("name"))


@router.post("/admin/bases/token")
def keep_token(request: Request, visitor: Admin, service: TheService, form: TheForm) -> Response:
    """Keeps a hub's token, or forgets it; nobody is shown one."""
    token = None if form.has("forget") else form.get("token")
    try:
        set_hub_token(service, form.get("hub"), token)
    except PostilError as error:
        return _bases(request, service, at="token", error=error, form=form)
    return see(f"/admin/bases?done={'kept' if token else 'forgotten'}")


def _do(request: Request, service: Service, work: Any, name: str) -> Response:
    """Something with a base of the list; what is wrong is said above it."""
    try:
        work(service, name)
    except PostilError as error:
        return _bases(request, service, at="list", error=error)
    return see("/admin/bases")


def _allow_again(service: Service, name: str) -> None:
    known = next((base for base in kept.list_bases(service, all_known=True) if base.name == name), None)
    if known is not None and known.source == "folder":
        kept.allow_folder(service, str(known.path), name=name)
    else:
        hub = known.source if known is not None and known.source in kept.HUBS else "hf"
        kept.allow_base(service, name, hub=hub, revision=known.revision if known else None)


def _bases(
    request: Request,
    service: Service,
    *,
    at: str = "",
    done: str = "",
    error: PostilError | None = None,
    form: Form | None = None,
) -> Response:
    """The page.

    Args:
        at: the part of it in which something went wrong: "list", "hub", "folder" or "token".
        done: what went well.
        form: what was typed there.
    """
    trouble = describe_error(error) if error else None
    return page(
        request,
        "admin_bases.html",
        trouble.status if trouble else 200,
        at=at,
        done=done,
        trouble=trouble,
        form=form or Form(),
        tokens=list_hub_tokens(service),
        **_known(service),
    )


def _known(service: Service) -> dict[str, Any]:
    """Bases that are here or on their way first, then those that could be fetched."""
    bases = sorted(kept.list_bases(service, all_known=True), key=lambda base: base.state == "absent")
    return {"bases": bases, "hubs": kept.HUBS, "is_at_work": any(base.state in AT_WORK for base in bases)}
