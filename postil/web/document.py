"""The OpenAPI document: FastAPI's own, with how to sign in and the shape of every error."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from postil.web.auth import PUBLIC
from postil.wire.errors import ErrorAnswer, OpenAIErrorAnswer

REST_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request, the data or the account does not allow it."},
    "5XX": {"model": ErrorAnswer, "description": "The service cannot do it now; Retry-After says when to try again."},
}
OPENAI_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": OpenAIErrorAnswer, "description": "As the `openai` client knows them."},
    "5XX": {"model": OpenAIErrorAnswer, "description": "As the `openai` client knows them."},
}
_SCHEMES = {
    "key": {"type": "http", "scheme": "bearer", "description": "A key of the account: pk_..."},
    "session": {"type": "apiKey", "in": "cookie", "name": "postil_session"},
}


def document(app: FastAPI) -> dict[str, Any]:
    """The document of all routes of `app`; made once."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, routes=app.routes)
        made.setdefault("components", {})["securitySchemes"] = _SCHEMES
        for path, methods in made["paths"].items():
            for method, operation in methods.items():
                if (method.upper(), path) not in PUBLIC:
                    operation["security"] = [{"key": []}, {"session": []}]
        app.openapi_schema = made
    return app.openapi_schema
