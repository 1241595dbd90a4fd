"""Errors as pages: what happened and what to do. And the way back in for who is not signed in (any more).

A form that is sent after its session has ended is not lost: its fields travel through the sign-in page, and are sent
again from there.
"""

from dataclasses import replace
from urllib.parse import quote

from fastapi import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from postil.language import has_sentence, say
from postil.web.errors import Reply, describe_error, error_headers, error_response
from postil.web.pages.forms import Form, parse_form
from postil.web.pages.rendering import here, page, render, see

_NOT_PAGES = ("/api/", "/v1/", "/healthz", "/readyz", "/metrics", "/static/")
_OF_PROGRAMS = frozenset({"web.status.400", "web.status.404", "web.status.405", "web.invalid_request", "web.not_json"})
SECRETS = frozenset({"password", "old_password", "new_password", "token"})
"""Fields that are never written into a page again."""


def is_page(scope: Scope) -> bool:
    """True where people look, and not programs."""
    return not f"{scope['path']}/".startswith(_NOT_PAGES)


def answer_error(scope: Scope, error: BaseException) -> Response:
    """The answer for an error: a page for people, JSON for programs."""
    response = error_response(scope, error)
    if not is_page(scope):
        return response
    reply = _for_people(describe_error(error))
    request = Request(scope)
    headers = error_headers(reply, error)
    if "hx-request" in request.headers:  # a part of a page: the trouble is put where the part would be
        return HTMLResponse(render(request, "trouble.html", {"trouble": reply}), reply.status, headers)
    return _error_page(request, reply, headers)


def _for_people(reply: Reply) -> Reply:
    """The same in a sentence of pages' own, where the usual one sends programs to the description of the routes."""
    if reply.code not in _OF_PROGRAMS:
        return reply
    key = f"pages.status.{reply.status if has_sentence(f'pages.status.{reply.status}') else 400}"
    return replace(reply, message=say(key), hint=say(f"{key}.hint"))


def _error_page(request: Request, reply: Reply, headers: dict[str, str]) -> Response:
    request_id = request.scope.get("state", {}).get("request_id", "")
    found = page(request, "error.html", reply.status, trouble=reply, request_id=request_id)
    found.headers.update(headers)
    return found


async def ask_to_sign_in(scope: Scope, receive: Receive, send: Send) -> None:
    """What somebody gets whom nobody knows: the sign-in page, and from there where they wanted to go."""
    request = Request(scope, receive)
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    response: Response
    if request.method in ("GET", "HEAD"):
        back = request.headers.get("hx-current-url", "")
        target = "/sign-in" if path == "/" else f"/sign-in?next={quote(path)}"
        if "hx-request" in request.headers:
            page_path = back.removeprefix(str(request.base_url).rstrip("/")) or "/"
            response = Response(status_code=401, headers={"hx-redirect": f"/sign-in?next={quote(page_path)}"})
        else:
            response = RedirectResponse(target, 303)
    elif path == "/sign-out":
        response = see("/sign-in")
    else:
        is_kept = _is_form(request)  # a file that was sent is gone
        form = parse_form(await request.body()) if is_kept else Form()
        kept = Form(tuple(pair for pair in form if pair[0] not in SECRETS))
        target = path if is_kept else here(request)
        response = page(request, "sign_in.html", 401, name="", next=target, kept=kept, trouble=None, is_again=is_kept)
        # a form that script has sent for a part of its page: the whole page waits for the session
        whole = {"hx-retarget": "body", "hx-reswap": "innerHTML", "hx-reselect": ".skip, header.top, #main"}
        response.headers.update(whole)
    await response(scope, receive, send)


def _is_form(request: Request) -> bool:
    """True for what a page's form has sent; one without fields has no body and no type in some browsers."""
    kind = request.headers.get("content-type", "")
    return not kind or kind.startswith("application/x-www-form-urlencoded")
