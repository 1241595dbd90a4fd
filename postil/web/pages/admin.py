"""For who looks after the service: the machine, what is wrong with it and what to do, and everybody's queue."""

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.platform.administration import ALIVE_FOR, cancel_any, get_queue_entry, list_queue, look_at_machine
from postil.platform.health import examine
from postil.platform.jobs.jobs import STATES
from postil.platform.service import Service
from postil.web.auth import Admin, TheService
from postil.web.pages.rendering import page, polled, see

router = APIRouter(include_in_schema=False)
MOST_SHOWN = 200
_RANKS = {"wrong": 0, "note": 1, "ok": 2}


@router.get("/admin")
async def overview(request: Request, visitor: Admin, service: TheService) -> Response:
    """The machine and its symptoms."""
    values = await anyio.to_thread.run_sync(_look, service)
    serving = await request.app.state.door.state()
    return page(request, "admin.html", serving=serving, **values)


@router.get("/admin/queue")
def queue(request: Request, visitor: Admin, service: TheService) -> Response:
    """Everybody's jobs that wait or run."""
    return page(request, "admin_queue.html", **_waiting(service))


@router.get("/admin/queue/rows")
def queue_rows(request: Request, visitor: Admin, service: TheService) -> Response:
    """The table alone, for the page that stays open."""
    return polled(request, "admin_queue_rows.html", is_last=False, **_waiting(service))


@router.get("/admin/queue/{job_id}/cancel")
def ask_before_cancel(job_id: str, request: Request, visitor: Admin, service: TheService) -> Response:
    """What becomes of a job that is cancelled."""
    return page(request, "admin_cancel.html", entry=get_queue_entry(service, job_id))


@router.post("/admin/queue/{job_id}/cancel")
def cancel(job_id: str, visitor: Admin, service: TheService) -> Response:
    """Ends a job of whatever account; one that has ended meanwhile stays as it is."""
    cancel_any(service, job_id)
    return see("/admin/queue")


def _look(service: Service) -> dict[str, Any]:
    machine = look_at_machine(service)
    seen_at = machine.supervisor_seen_at
    symptoms = sorted(examine(service.settings, reads_database=False), key=lambda symptom: _RANKS[symptom.state])
    return {
        "machine": machine,
        "is_supervised": seen_at is not None and abs(service.now() - seen_at) < ALIVE_FOR,
        "jobs": [(state, machine.jobs[state]) for state in STATES if state in machine.jobs],
        "symptoms": symptoms,
        "settings": service.settings,
    }


def _waiting(service: Service) -> dict[str, Any]:
    """One more than is shown, to know whether there are more."""
    entries = list_queue(service, limit=MOST_SHOWN + 1)
    return {"entries": entries[:MOST_SHOWN], "has_more": len(entries) > MOST_SHOWN}
