"""For those who look after a service: is it alive, is it ready, and its figures; and the OpenAPI document."""

from ipaddress import ip_address
from typing import Any

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse

from postil.errors import NotAllowedError
from postil.platform.administration import Health, look_at_health
from postil.web.auth import Reader, TheService, find_visitor
from postil.web.document import REST_ERRORS
from postil.wire.machine import Alive, Ready

router = APIRouter(tags=["operations"], responses=REST_ERRORS)


@router.get("/healthz")
async def health() -> Alive:
    """200 as long as this process answers; it asks nothing else."""
    return Alive()


@router.get("/readyz", response_model=Ready, responses={503: {"model": Ready, "description": "Something is missing."}})
async def readiness(request: Request, service: TheService) -> JSONResponse:
    """200 when database, storage and supervisor are there; `answers` is a fact and no condition."""
    found = await anyio.to_thread.run_sync(look_at_health, service)
    ready = Ready(
        is_ready=found.is_ready,
        database=found.database,
        storage=found.storage,
        supervisor=found.supervisor,
        answers=await request.app.state.door.state() is not None,
    )
    return JSONResponse(ready.model_dump(), 200 if ready.is_ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(request: Request, service: TheService) -> PlainTextResponse:
    """Figures in Prometheus' text format, for this machine and for an admin's key or session."""
    if not _is_from_here(request):
        visitor = await anyio.to_thread.run_sync(find_visitor, service, request.headers)
        if visitor is None or not visitor.account.is_admin:
            raise NotAllowedError("web.metrics_for_admins", is_signed_in=visitor is not None)
    found = await anyio.to_thread.run_sync(look_at_health, service)
    answering = await request.app.state.door.state()
    text = request.app.state.metrics.text(_gauges(found, answering))
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/api/openapi.json", response_model=dict[str, Any])
def openapi(request: Request, visitor: Reader) -> JSONResponse:
    """This document."""
    return JSONResponse(request.app.openapi())


def _is_from_here(request: Request) -> bool:
    """True for this machine itself; not for what a proxy on it has passed on."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers or request.client is None:
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False


def _gauges(found: Health, answering: dict[str, Any] | None) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    jobs: dict[tuple[tuple[str, str], ...], float] = {(("state", name),): n for name, n in found.jobs.items()}
    parts = {"database": found.database, "storage": found.storage, "supervisor": found.supervisor}
    ready: dict[tuple[tuple[str, str], ...], float] = {(("part", name),): float(ok) for name, ok in parts.items()}
    ready[(("part", "answers"),)] = float(answering is not None)
    gauges = {"jobs": jobs, "ready": ready}
    for name in ("num_running", "num_queued") if answering else ():
        gauges[f"answers_{name[4:]}"] = {(): float((answering or {}).get(name, 0))}
    return gauges
