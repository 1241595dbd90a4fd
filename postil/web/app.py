"""The app: every route, behind the layers that all requests pass.

request -> Envelope (host, id, language, log) -> BodyLimits -> Gate (who asks) -> a route -> the platform
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from postil.platform.service import Service
from postil.web import operations
from postil.web.auth import Gate
from postil.web.bodies import BodyLimits
from postil.web.document import document
from postil.web.envelope import Envelope
from postil.web.lanes import Lanes, narrow_quick_lane
from postil.web.metrics import Metrics
from postil.web.openai import chat
from postil.web.openai import models as served_models
from postil.web.pages import (
    account,
    admin_accounts,
    admin_bases,
    admin_prices,
    bill,
    cells,
    data,
    mending,
    new,
    result,
    start,
    static_files,
    trying,
    using,
)
from postil.web.pages import admin as admin_pages
from postil.web.pages import base as base_pages
from postil.web.pages import help as help_pages
from postil.web.pages import jobs as job_pages
from postil.web.pages import keys as key_pages
from postil.web.pages import models as model_pages
from postil.web.pages import settings as settings_pages
from postil.web.pages.refusals import answer_error, ask_to_sign_in, is_page
from postil.web.rest import accounts, adapters, admin, advice, bases, datasets, edits, jobs, keys, ledger, uploads
from postil.web.serving_door import ServingDoor

ROUTERS: tuple[APIRouter, ...] = (
    static_files.router,
    start.router,
    help_pages.router,
    new.router,
    data.router,
    mending.router,
    cells.router,
    base_pages.router,
    settings_pages.router,
    job_pages.router,
    model_pages.router,
    trying.router,
    using.router,
    result.router,
    account.router,
    key_pages.router,
    bill.router,
    admin_pages.router,
    admin_accounts.router,
    admin_prices.router,
    admin_bases.router,
    operations.router,
    accounts.router,
    keys.router,
    uploads.router,
    datasets.router,
    edits.router,
    bases.router,
    advice.router,
    jobs.router,
    adapters.router,
    ledger.router,
    admin.router,
    chat.router,
    served_models.router,
)


def create_app(service: Service) -> FastAPI:
    """The app in front of a service: pages, REST and `/v1`."""
    app = FastAPI(
        title="Postil",
        version=version("postil"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # rest/admin.py's neighbour `operations` serves it, to accounts only
        redirect_slashes=False,
        lifespan=_lifespan,
    )
    metrics = Metrics()
    app.state.service, app.state.metrics = service, metrics
    app.state.door = ServingDoor(service.settings.data_dir / "serving.json")
    for router in ROUTERS:
        app.include_router(router)
    app.add_exception_handler(HTTPException, _answer_error)
    app.add_exception_handler(RequestValidationError, _answer_error)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    # the last one added is the first one passed
    app.add_middleware(Gate, service=service, is_page=is_page, ask_to_sign_in=ask_to_sign_in)
    app.add_middleware(BodyLimits, max_upload_bytes=service.settings.max_upload_bytes)
    app.add_middleware(Envelope, hosts=service.settings.allowed_hosts, metrics=metrics)
    return app


async def _answer_error(request: Request, error: Exception) -> Response:
    return answer_error(request.scope, error)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    narrow_quick_lane()
    app.state.lanes = Lanes()
    yield
    await app.state.door.client.aclose()
