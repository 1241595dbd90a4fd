"""Coming in: sign in, register, a one-time link, sign out, and the language of the pages."""

from typing import Any

import anyio
from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.errors import NotAllowedError, PostilError
from postil.language import LANGUAGES, current_language, use_language
from postil.platform.accounts import accounts
from postil.platform.accounts.one_time_links import find_link, use_link
from postil.platform.accounts.sign_ins import sign_in, sign_out
from postil.platform.service import Service
from postil.web.auth import (
    LANGUAGE_COOKIE,
    Person,
    Reader,
    TheService,
    address_of,
    clear_session,
    find_visitor,
    session_token,
    set_session,
)
from postil.web.errors import Reply, describe_error
from postil.web.lanes import hashing
from postil.web.pages.forms import Form, own_path, read_form
from postil.web.pages.refusals import SECRETS
from postil.web.pages.rendering import page, see

router = APIRouter(include_in_schema=False)
_LANGUAGE_SECONDS = 365 * 86400
_KEPT = "kept."
"""How fields of a form that waits for its session are called while they travel through the sign-in page."""


@router.get("/")
def go_on(visitor: Reader) -> Response:
    """Where somebody who is signed in begins."""
    return see("/models")


@router.get("/sign-in")
def ask(request: Request, service: TheService, next: str = "/") -> Response:  # as the address calls it
    """The first page that anybody sees."""
    if find_visitor(service, request.headers) is not None:
        return see(own_path(next))
    return page(request, "sign_in.html", name="", next=own_path(next), kept=Form(), trouble=None, is_again=False)


@router.post("/sign-in")
async def begin(request: Request, service: TheService) -> Response:
    """Signs in and goes on to where the visitor wanted to go."""
    form = await read_form(request)
    name, target, kept, is_again = form.get("name"), own_path(form.get("next")), _kept(form), form.has("again")
    try:
        response = await _signed_in(request, service, name, form.raw("password"), target, kept if is_again else None)
    except PostilError as error:
        reply = describe_error(error)
        values: dict[str, Any] = {"name": name, "next": target, "kept": kept, "is_again": is_again}
        return page(request, "sign_in.html", reply.status, trouble=reply, **values)
    return response


@router.get("/register")
def ask_to_register(request: Request, service: TheService) -> Response:
    """The form of a new account."""
    is_open = service.settings.is_sign_up_open
    return page(request, "register.html", name="", trouble=None, is_open=is_open)


@router.post("/register")
async def register(request: Request, service: TheService) -> Response:
    """Makes the account and signs it in."""
    form = await read_form(request)
    name, password, address = form.get("name"), form.raw("password"), address_of(request)
    try:
        language = current_language()
        await hashing(request, accounts.register, service, name, password, language=language, address=address)
        return await _signed_in(request, service, name, password, "/", None)
    except PostilError as error:
        reply = describe_error(error)
        return page(request, "register.html", reply.status, name=name, trouble=reply, is_open=True)


@router.get("/links/{token}")
def ask_for_password(request: Request, service: TheService, token: str) -> Response:
    """The page behind a one-time link; looking at it uses nothing up."""
    return _link(request, service, token)


@router.post("/links/{token}")
async def take_link(request: Request, service: TheService, token: str) -> Response:
    """Sets the password and signs in."""
    form = await read_form(request)
    client, name = request.headers.get("user-agent", ""), form.get("name")
    try:
        new = await hashing(
            request,
            use_link,
            service,
            token,
            form.raw("new_password"),
            name or None,
            client=client,
            address=address_of(request),
        )
    except PostilError as error:
        return await anyio.to_thread.run_sync(_link, request, service, token, name, describe_error(error))
    response = see("/")
    set_session(response, request, new.token)
    return response


@router.post("/sign-out")
def end(visitor: Person, service: TheService) -> Response:
    """Ends this session."""
    sign_out(service, visitor.secret)
    response = see("/sign-in")
    clear_session(response)
    return response


@router.post("/language")
async def choose_language(request: Request, service: TheService) -> Response:
    """Chinese or English, kept in the browser, and with the account of who is signed in."""
    form = await read_form(request)
    chosen = next((known for known in LANGUAGES if known == form.get("language")), None)
    response = see(own_path(form.get("next")))
    if chosen is not None:
        is_secure = request.url.scheme == "https"
        response.set_cookie(
            LANGUAGE_COOKIE, chosen, max_age=_LANGUAGE_SECONDS, secure=is_secure, httponly=True, samesite="lax"
        )
        await anyio.to_thread.run_sync(_keep_language, service, request, chosen)
    return response


def _link(request: Request, service: Service, token: str, name: str = "", trouble: Reply | None = None) -> Response:
    """Whose link it is, and a form; only a sentence where it does not work."""
    link = find_link(service, token)
    status = trouble.status if trouble else 200 if link else 404
    if link is None and trouble is None:
        trouble = describe_error(NotAllowedError("platform.one_time_links.invalid", is_signed_in=False))
    return page(request, "link.html", status, token=token, link=link, name=name, trouble=trouble)


def _keep_language(service: Service, request: Request, chosen: str) -> None:
    visitor = find_visitor(service, request.headers)
    if visitor is not None and not visitor.is_key:
        accounts.set_language(service, visitor.account.id, chosen)


async def _signed_in(
    request: Request, service: Service, name: str, password: str, target: str, kept: Form | None
) -> Response:
    """On to where the visitor wanted to go; `kept` waits there to be sent again."""
    client, old = request.headers.get("user-agent", ""), session_token(request.headers)
    new = await hashing(request, sign_in, service, name, password, client, address=address_of(request), old_token=old)
    if new.account.language is not None:
        use_language("zh" if new.account.language == "zh" else "en")
    response = see(target) if kept is None else page(request, "send_again.html", next=target, kept=kept)
    set_session(response, request, new.token)
    return response


def _kept(form: Form) -> Form:
    """Fields of the form that was sent after its session had ended."""
    pairs = ((name.removeprefix(_KEPT), value) for name, value in form if name.startswith(_KEPT))
    return Form(tuple((name, value) for name, value in pairs if name not in SECRETS))
