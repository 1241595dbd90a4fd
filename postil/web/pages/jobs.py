"""Trainings: the list, and one that is watched, held, let go on or stopped; true without script."""

import hashlib
from collections.abc import Callable, Sequence
from importlib.metadata import version
from threading import Lock
from typing import Any

import msgspec
from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from postil.errors import ConflictError
from postil.language import current_language, say
from postil.platform.jobs import jobs as kept
from postil.platform.jobs.logs import read_log
from postil.platform.jobs.views import JobView, get_job, list_jobs
from postil.platform.service import Service
from postil.web.auth import Reader, TheService, Trainer, Visitor
from postil.web.errors import Reply, describe_error
from postil.web.pages.charts import learning_chart
from postil.web.pages.code import Snippet, curl_snippet, python_snippet, service_address
from postil.web.pages.rendering import STOP_POLLING, page, polled, render, see
from postil.wire.jobs import JobState

router = APIRouter(include_in_schema=False)
FILTERS: tuple[JobState | None, ...] = (None, "queued", "running", "paused", "succeeded", "failed", "cancelled")
PAGE_OF_JOBS = 30
_PHASES = frozenset({"read", "load", "tokenize", "train", "evaluate", "save", "finished"})
_MOST_KEPT = 256
_VERSION = version("postil")
_MOST_PROBLEMS = 10
_kept_parts: dict[str, bytes] = {}
_lock = Lock()


@router.get("/jobs")
def list_own(
    request: Request, visitor: Reader, service: TheService, state: JobState | None = None, after: str | None = None
) -> Response:
    """The account's trainings, the newest first."""
    found = list_jobs(service, visitor.account.id, state=state, limit=PAGE_OF_JOBS, after=after)
    asked = {name: value for name, value in (("state", state), ("after", after)) if value}
    values: dict[str, Any] = {
        "state": state,
        "filters": FILTERS,
        "next_after": found[-1].id if len(found) == PAGE_OF_JOBS else None,
        "is_first": after is None,
        "asked": asked,
    }
    return page(request, "jobs.html", **values, **_rows(found))


@router.get("/jobs/rows")
def list_again(
    request: Request, visitor: Reader, service: TheService, state: JobState | None = None, after: str | None = None
) -> Response:
    """The table alone, for the page that stays open while one of them goes on."""
    rows = _rows(list_jobs(service, visitor.account.id, state=state, limit=PAGE_OF_JOBS, after=after))
    return polled(request, "jobs_rows.html", is_last=not rows["is_going_on"], **rows)


@router.get("/jobs/{job_id}")
def watch(request: Request, job_id: str, visitor: Reader, service: TheService) -> Response:
    """One training, as far as it is."""
    return _job_page(request, get_job(service, visitor.account.id, job_id))


@router.get("/jobs/{job_id}/progress")
def look_again(request: Request, job_id: str, visitor: Reader, service: TheService) -> Response:
    """The part of the page that changes. 304 where it has not; 286 with the last one."""
    job = get_job(service, visitor.account.id, job_id)
    mark = _mark(job)
    headers = {"etag": f'"{mark}"', "cache-control": "private, no-cache"}
    if not job.has_ended and mark in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return HTMLResponse(_part(request, job, mark), STOP_POLLING if job.has_ended else 200, headers)


@router.post("/jobs/{job_id}/pause")
def pause(request: Request, job_id: str, visitor: Trainer, service: TheService) -> Response:
    """Holds it: at once where it waits, else after the step in hand."""
    return _moved(request, service, visitor, job_id, kept.request_pause)


@router.post("/jobs/{job_id}/resume")
def resume(request: Request, job_id: str, visitor: Trainer, service: TheService) -> Response:
    """Lets it go on."""
    return _moved(request, service, visitor, job_id, kept.request_resume)


@router.get("/jobs/{job_id}/stop")
def ask_to_stop(request: Request, job_id: str, visitor: Reader, service: TheService) -> Response:
    """Says what stopping means before it is done."""
    return page(request, "job_confirm.html", job=get_job(service, visitor.account.id, job_id), what="stop")


@router.post("/jobs/{job_id}/stop")
def stop(request: Request, job_id: str, visitor: Trainer, service: TheService) -> Response:
    """Ends it for good; what has ended stays ended."""
    return _moved(request, service, visitor, job_id, kept.request_cancel)


@router.get("/jobs/{job_id}/delete")
def ask_to_delete(request: Request, job_id: str, visitor: Reader, service: TheService) -> Response:
    """Says what goes and what stays."""
    return page(request, "job_confirm.html", job=get_job(service, visitor.account.id, job_id), what="delete")


@router.post("/jobs/{job_id}/delete")
def delete(request: Request, job_id: str, visitor: Trainer, service: TheService) -> Response:
    """Deletes a training that has ended; its model and its bill stay."""
    try:
        kept.delete_job(service, visitor.account.id, job_id)
    except ConflictError as error:
        return _job_page(request, get_job(service, visitor.account.id, job_id), describe_error(error))
    return see("/jobs")


@router.get("/jobs/{job_id}/log")
def log(request: Request, job_id: str, visitor: Reader, service: TheService) -> Response:
    """What the training has printed, for who helps."""
    job = get_job(service, visitor.account.id, job_id)
    return page(request, "job_log.html", job=job, text=read_log(service, visitor.account.id, job_id))


def status_line(job: JobView) -> str:
    """Where a job stands, in one plain sentence."""
    if job.has_ended:
        return say(f"job_page.status.{job.state}")
    if job.wish:
        return say(f"job_page.status.wish_{job.wish}")
    if job.state == "queued":
        if job.not_before is not None:
            return say("job_page.status.again")
        if job.ahead is None:
            return say("job_page.status.queued")
        return say("job_page.status.ahead", n=job.ahead) if job.ahead else say("job_page.status.next")
    phase = job.progress.get("phase")
    if job.state == "running" and phase in _PHASES:
        return say(f"job_page.phase.{phase}")
    return say(f"job_page.status.{job.state}")


def _rows(found: Sequence[JobView]) -> dict[str, Any]:
    """What the table names; one that is paused goes on only when it is told to."""
    is_going_on = any(not job.has_ended and job.state != "paused" for job in found)
    return {"rows": [(job, status_line(job)) for job in found], "is_going_on": is_going_on}


def _moved(
    request: Request,
    service: Service,
    visitor: Visitor,
    job_id: str,
    move: Callable[[Service, str, str], JobView],
) -> Response:
    """Does what was asked, and shows the job again; where it has moved on meanwhile, with a word on that."""
    try:
        move(service, visitor.account.id, job_id)
    except ConflictError as error:
        return _job_page(request, get_job(service, visitor.account.id, job_id), describe_error(error))
    return see(f"/jobs/{job_id}")


def _job_page(request: Request, job: JobView, trouble: Reply | None = None) -> Response:
    status = 200 if trouble is None else trouble.status
    return page(request, "job.html", status, snippets=_snippets(request, job.id), trouble=trouble, **_values(job))


def _values(job: JobView) -> dict[str, Any]:
    """What the changing part of the page names."""
    progress = job.progress
    left = progress.get("seconds_left_low"), progress.get("seconds_left_high")
    problems = job.error.problems if job.error is not None else ()
    return {
        "job": job,
        "line": status_line(job),
        "percent_done": 100.0 if job.state == "succeeded" else float(progress.get("percent") or 0.0),
        "left": left if job.state in kept.AT_WORK and None not in left else None,
        "said": _said(job),
        "chart": learning_chart(progress),
        "samples": progress.get("samples") or [],
        "problems": problems[:_MOST_PROBLEMS],
        "num_more_problems": max(0, len(problems) - _MOST_PROBLEMS),
    }


def _said(job: JobView) -> dict[str, Any]:
    """What was said before it began: (low, high) of seconds and of money, where anything was."""
    estimate = job.estimate or {}
    seconds, low, high = estimate.get("seconds"), estimate.get("price_low_micro"), estimate.get("price_high_micro")
    return {
        "seconds": (seconds["low"], seconds["high"]) if seconds else None,
        "money": None if low is None or high is None else (low, high),
    }


def _mark(job: JobView) -> str:
    """Of all that the part shows: the job itself and the language; never of the time that it is."""
    seen = (_VERSION, current_language(), job)
    return hashlib.sha256(msgspec.json.encode(seen)).hexdigest()[:24]


def _part(request: Request, job: JobView, mark: str) -> bytes:
    """The changing part, made once for everybody who looks at the same state of the same job."""
    found = _kept_parts.get(mark)
    if found is None:
        found = render(request, "job_progress.html", _values(job)).encode()
        with _lock:
            while len(_kept_parts) >= _MOST_KEPT:
                del _kept_parts[next(iter(_kept_parts))]
            _kept_parts[mark] = found
    return found


def _snippets(request: Request, job_id: str) -> tuple[Snippet, ...]:
    address = service_address(request)
    lines = f'for job in client.watch("{job_id}"):', "    print(job.state, job.progress.percent)"
    return curl_snippet(address, "GET", f"/api/jobs/{job_id}"), python_snippet(address, *lines)
