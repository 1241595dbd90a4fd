"""From a template to an answer. Templates hold no sentence: `t("pages.key")` says it in the reader's language."""

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from postil.language import current_language, say
from postil.web.pages import formats
from postil.web.pages.forms import own_path
from postil.web.pages.static_files import static

TEMPLATES = Path(__file__).parents[1] / "templates"
STOP_POLLING = 286
"""What ends htmx' polling; its own number."""


@cache
def environment() -> Environment:
    """The templates, escaped everywhere; a value that is missing is an error and no empty place."""
    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.globals |= {
        "t": say,
        "here": here,
        "static": static,
        "language": current_language,
        "number": formats.number,
        "percent": formats.percent,
        "money": formats.money,
        "money_range": formats.money_range,
        "size": formats.size,
        "moment": formats.moment,
        "span": formats.span,
        "span_range": formats.span_range,
    }
    return found


def here(request: Request) -> str:
    """The page that the reader is on: where the address is that of a form, the one that the form stood on."""
    if request.method in ("GET", "HEAD"):
        return request.url.path + (f"?{request.url.query}" if request.url.query else "")
    came_from = urlsplit(request.headers.get("referer", ""))
    if came_from.netloc != request.url.netloc:
        return "/"
    return own_path(came_from.path + (f"?{came_from.query}" if came_from.query else ""))


def render(request: Request, template: str, values: Mapping[str, Any]) -> str:
    """A page or a part of one, as text.

    Args:
        template: file below templates/.
        values: what it names besides `request` and `visitor`, which every template has.
    """
    visitor = getattr(request.state, "visitor", None)
    return environment().get_template(template).render({"request": request, "visitor": visitor, **values})


def page(request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A whole page."""
    return HTMLResponse(render(request, template, values), status)


def polled(request: Request, template: str, *, is_last: bool, **values: Any) -> Response:
    """A part of a page that is asked for again and again: 304 where nothing has changed, 286 where nothing will."""
    body = render(request, template, values).encode()
    mark = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    headers = {"etag": mark, "cache-control": "private, no-cache"}
    if not is_last and mark in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return HTMLResponse(body, STOP_POLLING if is_last else 200, headers)


def see(path: str) -> RedirectResponse:
    """To another page, after something was done: the browser asks for it with GET."""
    return RedirectResponse(path, 303)
