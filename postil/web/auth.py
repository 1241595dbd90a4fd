"""Who is asking. Every request needs an account unless its route stands on the short lists below.

A browser carries the cookie of its session, a program the key of an account (`Authorization: Bearer pk_...`). Both are
looked up in the database at each request, so that a sign-out, a changed role or a revoked key counts at once. Which
things belong to whom is not decided here: ownership is part of the platform's queries.

    scope     what it allows                                       keys    sessions
    read      GET of everything that is the account's own           yes     yes
    train     changes: uploads, fixes, jobs, adapters                yes     yes
    chat      /v1                                                    yes     yes
    person    passwords, keys, sessions, the account itself          no      yes
    admin     /api/admin                                             no      yes, of an admin
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Literal
from urllib.parse import urlsplit

import anyio
from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from postil.errors import NotAllowedError
from postil.language import LANGUAGES, use_language
from postil.platform.accounts.accounts import AccountView
from postil.platform.accounts.api_keys import find_key
from postil.platform.accounts.sign_ins import find_session
from postil.platform.service import Service
from postil.web.errors import Refused
from postil.web.lanes import refuse_crowd

ScopeName = Literal["read", "train", "chat", "person", "admin"]
PUBLIC = frozenset(
    {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),  # of loopback or an admin, which it looks at itself
        ("POST", "/api/accounts"),
        ("POST", "/api/sign-in"),
        ("POST", "/api/links"),
    }
)
PUBLIC_PAGES = frozenset(
    {
        ("GET", "/sign-in"),
        ("POST", "/sign-in"),
        ("GET", "/register"),
        ("POST", "/register"),
        ("POST", "/language"),
        ("GET", "/help"),
    }
)
"""The same three ways in as pages, the language to read them in, and help; with `PUBLIC_FOLDERS` (decision 0012)."""
PUBLIC_FOLDERS = ("/links/", "/static/")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SESSION_SECONDS = 30 * 86400
_OF_SESSIONS: frozenset[ScopeName] = frozenset({"read", "train", "chat", "person"})


@dataclass(frozen=True, slots=True)
class Visitor:
    """An account that asks, and by what it was known.

    Args:
        scopes: what this session or key allows.
        secret: the cookie's value or the key; looked up again while a long answer is sent.
        is_key: True for a key.
    """

    account: AccountView
    scopes: frozenset[str]
    secret: str
    is_key: bool


class Gate:
    """The ASGI layer that lets nobody through whom it does not know, whatever the path.

    Args:
        is_page: whether people look there.
        ask_to_sign_in: what they get then; programs get an error.
    """

    def __init__(self, app: ASGIApp, service: Service, is_page: Callable[[Scope], bool], ask_to_sign_in: ASGIApp):
        self.app, self.service = app, service
        self.is_page, self.ask_to_sign_in = is_page, ask_to_sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Finds out who asks, refuses forged requests, and passes the others on."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # there are none
                await send({"type": "websocket.close", "code": 1008})
            elif scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] not in SAFE_METHODS and not is_own_page(headers):
            raise Refused(403, "web.forged")
        if not is_public(scope["method"], scope["path"]):
            refuse_crowd()
            address = scope["client"][0] if scope["client"] else ""
            visitor = await anyio.to_thread.run_sync(find_visitor, self.service, headers, address)
            if visitor is None and self.is_page(scope):
                await self.ask_to_sign_in(scope, receive, send)
                return
            if visitor is None:
                has_key = "authorization" in headers
                raise NotAllowedError("web.unknown_key" if has_key else "web.not_signed_in", is_signed_in=False)
            scope["state"]["visitor"] = visitor
            if chosen := next((known for known in LANGUAGES if known == visitor.account.language), None):
                use_language(chosen)
        await self.app(scope, receive, send)


def is_public(method: str, path: str) -> bool:
    """True where nobody need be known."""
    return (method, path) in PUBLIC | PUBLIC_PAGES or path.startswith(PUBLIC_FOLDERS)


def is_own_page(headers: Headers) -> bool:
    """False where a browser says that another site's page sends this request.

    Browsers add Sec-Fetch-Site themselves, and older ones Origin; a program such as curl sends neither, and carries no
    cookies that a foreign page could make use of.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def find_visitor(service: Service, headers: Headers, address: str = "") -> Visitor | None:
    """Who sends these headers; None for nobody whom the database knows. A key counts before a cookie.

    Args:
        address: where they come from; wrong keys are counted.

    Raises:
        TooManyError: too many wrong keys from there.
    """
    kind, _, text = headers.get("authorization", "").partition(" ")
    if kind:
        return look_up(service, text.strip(), True, address) if kind.lower() == "bearer" else None
    token = session_token(headers)
    return look_up(service, token, False) if token else None


def look_up(service: Service, secret: str, is_key: bool, address: str = "") -> Visitor | None:
    """Whom the database knows a key or a session's token of now."""
    if is_key:
        holder = find_key(service, secret, address=address)
        return Visitor(holder.account, frozenset(holder.scopes), secret, True) if holder else None
    account = find_session(service, secret)
    if account is None:
        return None
    scopes = _OF_SESSIONS | {"admin"} if account.role == "admin" else _OF_SESSIONS
    return Visitor(account, frozenset(scopes), secret, False)


def needs(scope: ScopeName) -> Callable[[Request], Awaitable[Visitor]]:
    """A dependency that hands a route its visitor, when what carries the visitor allows `scope`."""

    async def visitor(request: Request) -> Visitor:  # async: it waits for nothing, and needs no thread
        found: Visitor | None = getattr(request.state, "visitor", None)
        if found is None:
            raise NotAllowedError("web.not_signed_in", is_signed_in=False)
        if scope not in found.scopes:
            key = "web.not_with_key" if found.is_key and scope in ("person", "admin") else f"web.needs_{scope}"
            raise NotAllowedError(key)
        return found

    visitor.__name__ = f"needs_{scope}"
    return visitor


Reader = Annotated[Visitor, Depends(needs("read"))]
Trainer = Annotated[Visitor, Depends(needs("train"))]
Chatter = Annotated[Visitor, Depends(needs("chat"))]
Person = Annotated[Visitor, Depends(needs("person"))]
Admin = Annotated[Visitor, Depends(needs("admin"))]

LANGUAGE_COOKIE = "postil_language"
COOKIE, SECURE_COOKIE = "postil_session", "__Host-postil_session"


def set_session(response: Response, request: Request, token: str) -> None:
    """Gives the browser its session; over https only over https from then on."""
    is_secure = request.url.scheme == "https"
    name = SECURE_COOKIE if is_secure else COOKIE
    response.set_cookie(name, token, max_age=SESSION_SECONDS, path="/", secure=is_secure, httponly=True, samesite="lax")


def clear_session(response: Response) -> None:
    """Takes the session away."""
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    response.delete_cookie(SECURE_COOKIE, path="/", secure=True, httponly=True, samesite="lax")


async def get_service(request: Request) -> Service:
    """The service that this app stands before."""
    service: Service = request.app.state.service
    return service


TheService = Annotated[Service, Depends(get_service)]


def session_token(headers: Headers) -> str:
    """The session that a browser carries; "" for none."""
    parts = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
    return next((value for name, _, value in parts if name in (COOKIE, SECURE_COOKIE)), "")


def address_of(request: Request) -> str:
    """Where a request comes from, for counting tries."""
    return request.client.host if request.client else ""
