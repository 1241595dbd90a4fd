"""Keys for programs: a list, a form, and the page that shows a new one this one time."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.errors import PostilError
from postil.platform.accounts.api_keys import MAX_NAME_LETTERS, SCOPES, ApiKeyView, list_keys, make_key, revoke_key
from postil.platform.service import Service
from postil.web.auth import Person, TheService
from postil.web.errors import Reply, describe_error
from postil.web.pages.forms import Form
from postil.web.pages.rendering import page, see
from postil.web.pages.typed import TheForm, Typed

router = APIRouter(include_in_schema=False)
_EMPTY = Form(tuple(("scopes", scope) for scope in SCOPES))


@dataclass(frozen=True, slots=True)
class _NewKey:
    """A key at the moment of its making."""

    key: ApiKeyView
    secret: str


@router.get("/account/keys")
def show(request: Request, visitor: Person, service: TheService) -> Response:
    """The account's keys."""
    return _keys(request, service, visitor.account.id, Typed(_EMPTY))


@router.post("/account/keys")
def make(request: Request, visitor: Person, service: TheService, form: TheForm) -> Response:
    """Makes a key; its text stands in this answer and nowhere else."""
    typed, account_id = Typed(form), visitor.account.id
    typed.needed("name")
    name, expires_at = typed.text("name", MAX_NAME_LETTERS), typed.day_end("ends")
    if expires_at is not None and expires_at <= service.now():
        typed.blame("ends", "account_page.wrong.past")
    if not form.all("scopes"):
        typed.blame("scopes", "account_page.wrong.no_scope")
    if typed.wrong:
        return _keys(request, service, account_id, typed, status=422)
    try:
        made = _NewKey(*make_key(service, account_id, name, form.all("scopes"), expires_at))
    except PostilError as error:
        reply = describe_error(error)
        return _keys(request, service, account_id, typed, status=reply.status, trouble=reply)
    return _keys(request, service, account_id, Typed(_EMPTY), status=201, made=made)


@router.post("/account/keys/{key_id}/revoke")
def revoke(key_id: str, visitor: Person, service: TheService) -> Response:
    """Ends a key at once."""
    revoke_key(service, visitor.account.id, key_id)
    return see("/account/keys")


def _keys(
    request: Request,
    service: Service,
    account_id: str,
    typed: Typed,
    *,
    status: int = 200,
    trouble: Reply | None = None,
    made: _NewKey | None = None,
) -> Response:
    keys, now = list_keys(service, account_id), service.now()
    alive = [key for key in keys if key.revoked_at is None and (key.expires_at is None or key.expires_at > now)]
    values: dict[str, Any] = {"typed": typed, "trouble": trouble, "made": made, "scopes": SCOPES}
    values |= {"alive": alive, "ended": [key for key in keys if key not in alive]}
    return page(request, "account_keys.html", status, **values)
