"""The list of models, which is home: what was trained, from what, and how it turned out; and the way to a new one."""

from typing import Any, Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.platform.adapters.adapters import bases_of_adapters, list_adapters
from postil.platform.datasets.views import dataset_names
from postil.platform.jobs.jobs import ENDED
from postil.platform.jobs.views import list_jobs
from postil.web.auth import Reader, TheService
from postil.web.pages.rendering import page

router = APIRouter(include_in_schema=False)
VERDICTS = ("better", "same", "worse", "cannot_tell")
_PAGE, _LAST_JOBS = 24, 20


@router.get("/models")
def show(
    request: Request,
    visitor: Reader,
    service: TheService,
    words: str = "",
    base: str = "",
    result: str = "",
    whose: Literal["", "own", "shared"] = "",
    after: str | None = None,
) -> Response:
    """Own models and those that others share, the newest first."""
    account_id = visitor.account.id
    found = list_adapters(
        service,
        account_id,
        limit=_PAGE,
        after=after,
        base=base or None,
        verdict=result if result in VERDICTS else None,
        is_own=None if not whose else whose == "own",
        words=words.strip()[:200],
    )
    bases = bases_of_adapters(service, account_id)
    asked = {"words": words.strip(), "base": base, "result": result, "whose": whose}
    values: dict[str, Any] = {
        "adapters": found,
        "older": found[-1].id if len(found) == _PAGE else None,
        "data_names": dataset_names(service, account_id, [str(a.lineage.get("dataset_id", "")) for a in found]),
        "bases": bases,
        "verdicts": VERDICTS,
        "asked": asked,
        "is_filtered": any(asked.values()) or after is not None,
        "has_any": bool(bases),
        "at_work": [job for job in list_jobs(service, account_id, limit=_LAST_JOBS) if job.state not in ENDED],
    }
    return page(request, "models.html", **values)
