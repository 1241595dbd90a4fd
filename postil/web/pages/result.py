"""What a training has made: the verdict with its evidence, before and after, where it got worse, what to do next."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

import anyio.to_thread
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from postil.errors import ConflictError, MissingInputError, PostilError
from postil.language import say
from postil.platform.adapters import adapters as library
from postil.platform.adapters.sharing import leave_adapter
from postil.platform.adapters.views import AdapterView
from postil.platform.jobs.reports import RunReport, WorseRow, find_report
from postil.platform.jobs.views import JobView, get_job
from postil.platform.service import Service
from postil.problems import ADDED
from postil.web.auth import Reader, TheService, Trainer, Visitor
from postil.web.errors import Reply, describe_error
from postil.web.pages.code import Snippet, curl_snippet, python_snippet, service_address
from postil.web.pages.data_findings import place_query
from postil.web.pages.formats import number
from postil.web.pages.forms import Form, read_form
from postil.web.pages.rendering import page, see

router = APIRouter(include_in_schema=False)
ANSWERS_AT_FIRST, WORSE_ROWS_AT_FIRST = 8, 8
ENOUGH_ROWS = 100
VERDICTS = frozenset({"better", "same", "worse", "cannot_tell"})
TheForm = Annotated[Form, Depends(read_form)]


@dataclass(frozen=True, slots=True)
class Step:
    """Something to do next.

    Args:
        sentence: key after `result_page.next.`.
        path, label: where it is done; "" where nowhere.
    """

    sentence: str
    path: str = ""
    label: str = ""


@router.get("/models/{adapter_id}")
def look(request: Request, adapter_id: str, visitor: Reader, service: TheService) -> Response:
    """The result of a training, or a model that somebody shares."""
    return _result_page(request, service, visitor, adapter_id)


@router.post("/models/{adapter_id}/rename")
def rename(request: Request, adapter_id: str, visitor: Trainer, service: TheService, form: TheForm) -> Response:
    """Gives it another name."""
    try:
        library.rename_adapter(service, visitor.account.id, adapter_id, form.get("name"))
    except MissingInputError:
        raise
    except PostilError as error:  # what was typed stays in the field
        return _result_page(request, service, visitor, adapter_id, describe_error(error), form.get("name"))
    return see(f"/models/{adapter_id}")


@router.get("/models/{adapter_id}/delete")
def ask_to_delete(request: Request, adapter_id: str, visitor: Trainer, service: TheService) -> Response:
    """Says what goes and what stays."""
    adapter = _own(service, visitor, adapter_id)
    return page(request, "result_delete.html", adapter=adapter, trouble=None)


@router.post("/models/{adapter_id}/delete")
async def delete(request: Request, adapter_id: str, visitor: Trainer, service: TheService, form: TheForm) -> Response:
    """Deletes it with its files; what is in use only when that is said twice."""

    def work() -> AdapterView | Reply:
        adapter = _own(service, visitor, adapter_id)
        try:
            library.delete_adapter(service, visitor.account.id, adapter_id, force=form.has("force"))
        except ConflictError as error:
            return describe_error(error)
        return adapter

    found = await anyio.to_thread.run_sync(work)
    if isinstance(found, AdapterView):
        await request.app.state.door.detach(adapter_id)
        return see("/models")
    adapter = await anyio.to_thread.run_sync(library.get_adapter, service, visitor.account.id, adapter_id)
    return page(request, "result_delete.html", found.status, adapter=adapter, trouble=found)


@router.post("/models/{adapter_id}/leave")
def leave(adapter_id: str, visitor: Trainer, service: TheService) -> Response:
    """Takes a model that somebody else shares off the list."""
    library.get_adapter(service, visitor.account.id, adapter_id)
    leave_adapter(service, visitor.account.id, adapter_id)
    return see("/models")


def _own(service: Service, visitor: Visitor, adapter_id: str) -> AdapterView:
    adapter = library.get_adapter(service, visitor.account.id, adapter_id)
    if not adapter.is_own:
        raise MissingInputError("platform.adapters.missing")
    return adapter


def _result_page(
    request: Request,
    service: Service,
    visitor: Visitor,
    adapter_id: str,
    trouble: Reply | None = None,
    typed_name: str | None = None,
) -> Response:
    adapter = library.get_adapter(service, visitor.account.id, adapter_id)
    job = get_job(service, visitor.account.id, adapter.job_id) if adapter.job_id else None
    report = find_report(service, visitor.account.id, adapter.job_id) if adapter.job_id else None
    verdict = adapter.verdict if adapter.verdict in VERDICTS else "cannot_tell"
    return page(
        request,
        "result.html",
        200 if trouble is None else trouble.status,
        adapter=adapter,
        job=job,
        report=report,
        verdict=verdict,
        evidence=evidence_lines(adapter.metrics),
        measured=measured_lines(adapter.metrics),
        num_kept=adapter.metrics.get("heldout_rows"),
        row_path=partial(_row_path, job),
        grade=((job.actual or {}).get("grade") if job else None),
        steps_to_do=next_steps(verdict, job, report) if adapter.is_own else (),
        num_first=ANSWERS_AT_FIRST,
        num_worse_first=WORSE_ROWS_AT_FIRST,
        snippets=_snippets(request, adapter),
        trouble=trouble,
        typed_name=adapter.name if typed_name is None else typed_name,
    )


def evidence_lines(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """What the verdict rests on, as counts in sentences.

    Args:
        metrics: of an adapter's manifest; an older one may lack some.
    """
    base, tuned = _distances(metrics)
    if base is None or tuned is None:
        is_none_kept = "heldout_loss_base" in metrics and metrics["heldout_loss_base"] is None
        return (say("result_page.evidence.none"),) if is_none_kept else ()
    lines = []
    if answered := metrics.get("answers"):
        right = {"base": metrics.get("base_right", 0), "tuned": metrics.get("tuned_right", 0)}
        lines.append(say("result_page.evidence.right", n=answered, **right))
        if learned := metrics.get("answers_learned"):
            lines.append(say("result_page.evidence.learned", n=answered, learned=learned))
    if cut := metrics.get("tuned_not_stopped"):
        lines.append(say("result_page.evidence.not_stopped", n=cut))
    if (rows := metrics.get("heldout_rows")) and (worse := metrics.get("heldout_worse")):
        lines.append(say("result_page.evidence.worse_rows", n=worse, rows=rows))
    return tuple(lines)


def measured_lines(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """The numbers behind the verdict, for who asks: distances, and the interval of their change."""
    base, tuned = _distances(metrics)
    if base is None or tuned is None:
        return ()
    lines = [say("result_page.evidence.losses", base=number(base, 2), tuned=number(tuned, 2))]
    ends = [_finite(end) for end in metrics.get("interval") or ()]
    if len(ends) == 2 and ends[0] is not None and ends[1] is not None:
        lines.append(_change(ends[0], ends[1]))
        lines.append(say("result_page.evidence.certainty", n=metrics.get("heldout_questions", 0)))
    return tuple(lines)


def _distances(metrics: Mapping[str, Any]) -> tuple[float | None, float | None]:
    return _finite(metrics.get("heldout_loss_base")), _finite(metrics.get("heldout_loss_tuned"))


def _change(low: float, high: float) -> str:
    """How much closer or further the answers are, without minus signs."""
    if low >= 0:
        return say("result_page.evidence.closer", low=number(low, 2), high=number(high, 2))
    if high <= 0:
        return say("result_page.evidence.further", low=number(-high, 2), high=number(-low, 2))
    return say("result_page.evidence.either", low=number(-low, 2), high=number(high, 2))


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def next_steps(verdict: str, job: JobView | None, report: RunReport | None) -> tuple[Step, ...]:
    """What is worth doing next with this result, the most worthwhile first."""
    if job is None or job.dataset_id is None:
        return (Step("enough"),) if verdict == "better" else ()
    data = f"/data/{job.dataset_id}"
    steps = []
    if report is not None and report.num_worse:
        path = _row_path(job, report.worse[0]) if report.worse else ""
        steps.append(Step("mend_rows", path, "to_row") if path else Step("mend_rows", data, "to_data"))
    if int(job.spec.get("rows") or ENOUGH_ROWS) < ENOUGH_ROWS:
        steps.append(Step("more_rows", data, "to_data"))
    if verdict != "better":
        steps.append(Step("wordings", data, "to_data"))
        if job.spec.get("preset") != "thorough":
            steps.append(Step("thorough", f"{data}/settings?base={quote(job.base)}&preset=thorough", "to_settings"))
        steps.append(Step("larger", f"{data}/base", "to_bases"))
    return tuple(steps) or (Step("enough"),)


def _row_path(job: JobView | None, row: WorseRow) -> str:
    """Where a row is mended; "" where that is not known."""
    if job is None or job.dataset_id is None or row.place is None or row.place.file == ADDED:
        return ""
    return f"/data/{job.dataset_id}/row?{place_query(row.place)}"


def _snippets(request: Request, adapter: AdapterView) -> tuple[Snippet, ...]:
    address = service_address(request)
    lines = f'adapter = client.adapter("{adapter.id}")', "print(adapter.verdict, adapter.metrics)"
    return curl_snippet(address, "GET", f"/api/adapters/{adapter.id}"), python_snippet(address, *lines)
