"""What a job would be: settings with their reasons, time, memory, price; nothing is kept."""

from dataclasses import asdict

from fastapi import APIRouter, Request

from postil.platform.jobs.requests import JobRequest
from postil.platform.jobs.submitting import preview_job
from postil.web.auth import Reader, TheService
from postil.web.document import REST_ERRORS
from postil.web.lanes import submitting
from postil.wire import jobs as wire

router = APIRouter(prefix="/api", tags=["advice"], responses=REST_ERRORS)


@router.post("/preview", response_model=wire.Preview)
async def preview(body: wire.JobRequest, visitor: Reader, service: TheService, request: Request) -> wire.Preview:
    """The job that this request would make, with everything that keeps it from being made."""
    found = await submitting(request, preview_job, service, visitor.account.id, asked(body))
    return wire.Preview(
        dataset_id=found.dataset_id,
        version=found.version,
        base=found.base,
        rows=found.rows,
        heldout_rows=found.heldout_rows,
        settings=dict(found.settings),
        recommendation=wire.Recommendation.model_validate(found.recommendation.as_dict()),
        estimate=found.estimate.as_dict() if found.estimate else None,
        price=wire.Price.model_validate(asdict(found.price)),
        reserve_micro=found.reserve_micro,
        problems=[wire.Trouble(code=p.key, message=p.message, hint=p.hint) for p in found.problems],
    )


def asked(body: wire.JobRequest) -> JobRequest:
    """The request as the platform takes it."""
    return JobRequest(**{name: getattr(body, name) for name in wire.JobRequest.model_fields})
