"""Jobs: listing, watching, holding, going on, ending."""

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from postil.platform.jobs import jobs as kept
from postil.platform.jobs.events import read_job_events
from postil.platform.jobs.submitting import submit_job
from postil.platform.jobs.views import get_job, list_jobs
from postil.web.auth import Reader, TheService, Trainer
from postil.web.document import REST_ERRORS
from postil.web.lanes import Limit, submitting
from postil.web.rest.advice import asked
from postil.wire import jobs as wire
from postil.wire.accounts import Freed

router = APIRouter(prefix="/api/jobs", tags=["jobs"], responses=REST_ERRORS)
_UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "It is as If-None-Match knows it."}}


@router.get("", response_model=wire.JobList)
def list_own(
    visitor: Reader,
    service: TheService,
    limit: Limit = 50,
    after: str | None = None,
    state: wire.JobState | None = None,
) -> Any:
    """The account's jobs, the newest first."""
    found = list_jobs(service, visitor.account.id, state=state, limit=limit, after=after)
    return {"jobs": found, "next_after": found[-1].id if len(found) == limit else None}


@router.post("", status_code=201, response_model=wire.Job)
async def submit(body: wire.JobRequest, visitor: Trainer, service: TheService, request: Request) -> Any:
    """Holds the money and puts the job into the queue."""
    service.limits.allow("submit", visitor.account.id)
    return await submitting(request, submit_job, service, visitor.account.id, asked(body))


@router.get("/{job_id}", response_model=wire.Job, responses=_UNCHANGED)
def get_one(job_id: str, visitor: Reader, service: TheService, request: Request) -> Response:
    """One job and how far it is. Ask again with If-None-Match: 304 says that nothing has changed."""
    found = wire.Job.model_validate(get_job(service, visitor.account.id, job_id))
    return unless_known(request, found.model_dump_json().encode())


@router.get("/{job_id}/events", response_model=wire.EventList)
def events(job_id: str, visitor: Reader, service: TheService, after: Annotated[int, Query(ge=0, le=2**53)] = 0) -> Any:
    """What the run has said since `after`; ask on with `next_after`."""
    return read_job_events(service, visitor.account.id, job_id, after)


@router.post("/{job_id}/pause", response_model=wire.Job)
def pause(job_id: str, visitor: Trainer, service: TheService) -> Any:
    """Holds it: at once where it waits, else at a checkpoint."""
    return kept.request_pause(service, visitor.account.id, job_id)


@router.post("/{job_id}/resume", response_model=wire.Job)
def resume(job_id: str, visitor: Trainer, service: TheService) -> Any:
    """Lets a held job go on."""
    return kept.request_resume(service, visitor.account.id, job_id)


@router.post("/{job_id}/cancel", response_model=wire.Job)
def cancel(job_id: str, visitor: Trainer, service: TheService) -> Any:
    """Ends it; what has ended stays ended."""
    return kept.request_cancel(service, visitor.account.id, job_id)


@router.delete("/{job_id}", response_model=Freed)
def delete(job_id: str, visitor: Trainer, service: TheService) -> Any:
    """Deletes a job that has ended, with its run; its adapter and its bill stay."""
    return Freed(freed_bytes=kept.delete_job(service, visitor.account.id, job_id))


def unless_known(request: Request, body: bytes) -> Response:
    """The body with its mark, or 304 where the asker has it already."""
    mark = f'"{hashlib.sha256(body).hexdigest()[:24]}"'
    known = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
    headers = {"etag": mark, "cache-control": "private, no-cache"}
    if mark in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)
