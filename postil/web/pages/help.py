"""Help: the eight steps of the guide and what people ask, for anybody; it needs no network and no account."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.language import LANGUAGES, use_language
from postil.web.auth import TheService, find_visitor
from postil.web.pages.rendering import page

router = APIRouter(include_in_schema=False)


@router.get("/help")
def show_help(request: Request, service: TheService) -> Response:
    """The same page for everybody; whoever is signed in keeps the way to their own pages, and their language."""
    visitor = find_visitor(service, request.headers)
    if visitor is not None:
        request.state.visitor = visitor
        if chosen := next((known for known in LANGUAGES if known == visitor.account.language), None):
            use_language(chosen)
    return page(request, "help.html")
