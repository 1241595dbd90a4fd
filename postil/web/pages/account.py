"""The account: its language, password and sessions, what it uses, and its end."""

from functools import partial
from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.errors import PostilError
from postil.language import LANGUAGES
from postil.platform.accounts.accounts import AccountView, set_language
from postil.platform.accounts.api_keys import list_keys
from postil.platform.accounts.deletion import delete_account
from postil.platform.accounts.sign_ins import change_password, check_again, sign_out_everywhere
from postil.platform.service import Service
from postil.platform.store.backups import NUM_KEPT
from postil.platform.usage import get_usage
from postil.web.auth import LANGUAGE_COOKIE, Person, TheService, address_of, clear_session, set_session
from postil.web.errors import Reply, describe_error
from postil.web.lanes import hashing
from postil.web.openai.answerers import own_adapters
from postil.web.pages.rendering import page, see
from postil.web.pages.typed import TheForm

router = APIRouter(include_in_schema=False)
_DONE = ("language", "password")
_STOPPING = "platform.deletion.stopping"
# How long somebody waits for runs to stop; what lasts longer, the supervisor does.
_WAIT_SECONDS = 1.0


@router.get("/account")
def show(request: Request, visitor: Person, service: TheService, done: str = "") -> Response:
    """Who one is here, and what one uses."""
    return _account(request, service, visitor.account, done=done if done in _DONE else "")


@router.post("/account/language")
def choose_language(request: Request, visitor: Person, service: TheService, form: TheForm) -> Response:
    """The language of every page; "" follows the browser again."""
    chosen = form.get("language")
    set_language(service, visitor.account.id, chosen or None)
    response = see("/account?done=language")
    if chosen in LANGUAGES:
        is_secure = request.url.scheme == "https"
        response.set_cookie(
            LANGUAGE_COOKIE, chosen, max_age=365 * 86400, secure=is_secure, httponly=True, samesite="lax"
        )
    else:
        response.delete_cookie(LANGUAGE_COOKIE, httponly=True, samesite="lax")
    return response


@router.post("/account/password")
async def new_password(request: Request, visitor: Person, service: TheService, form: TheForm) -> Response:
    """Sets a new password; other devices are signed out, this one goes on."""
    old, new = form.raw("old_password"), form.raw("new_password")
    known = {"client": request.headers.get("user-agent", ""), "address": address_of(request)}
    try:
        session = await hashing(request, change_password, service, visitor.account.id, old, new, **known)
    except PostilError as error:
        shown = partial(_account, request, service, visitor.account, trouble=describe_error(error))
        return await anyio.to_thread.run_sync(shown)
    response = see("/account?done=password")
    set_session(response, request, session.token)
    return response


@router.post("/account/sign-out-everywhere")
def end_all(visitor: Person, service: TheService) -> Response:
    """Ends every session of the account, this one too; its keys stay."""
    sign_out_everywhere(service, visitor.account.id)
    response = see("/sign-in")
    clear_session(response)
    return response


@router.get("/account/delete")
def ask_before_deletion(request: Request, visitor: Person, service: TheService) -> Response:
    """What goes with the account."""
    return _deletion(request, service, visitor.account)


@router.post("/account/delete")
async def delete(request: Request, visitor: Person, service: TheService, form: TheForm) -> Response:
    """Deletes the account for good. Where a run is still stopping, the page says that the rest goes by itself."""
    account_id, run = visitor.account.id, anyio.to_thread.run_sync
    freed: int | None = None
    try:
        await hashing(request, check_again, service, account_id, form.raw("password"), address=address_of(request))
        own = await run(own_adapters, service, account_id)
        freed = await run(partial(delete_account, service, account_id, wait_seconds=_WAIT_SECONDS))
    except PostilError as error:
        if error.key != _STOPPING:
            return await run(partial(_deletion, request, service, visitor.account, describe_error(error)))
    for adapter_id in own:
        await request.app.state.door.detach(adapter_id)
    request.state.visitor = None  # nobody is signed in any more
    response = page(request, "account_gone.html", freed=freed)
    clear_session(response)
    return response


def _account(
    request: Request, service: Service, account: AccountView, *, done: str = "", trouble: Reply | None = None
) -> Response:
    values: dict[str, Any] = {"account": account, "usage": get_usage(service, account.id), "done": done}
    return page(request, "account.html", trouble.status if trouble else 200, trouble=trouble, **values)


def _deletion(request: Request, service: Service, account: AccountView, trouble: Reply | None = None) -> Response:
    keys = [key for key in list_keys(service, account.id) if key.revoked_at is None]
    return page(
        request,
        "account_delete.html",
        trouble.status if trouble else 200,
        account=account,
        usage=get_usage(service, account.id),
        num_keys=len(keys),
        num_copies=NUM_KEPT,
        has_copies=service.database.is_sqlite,
        trouble=trouble,
    )
