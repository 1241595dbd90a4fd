"""What a job has to pay, from what its run has left: settled by the steps that were trained, or given back."""

from collections.abc import Sequence
from fractions import Fraction

from sqlalchemy.orm import Session

from postil.platform.money import ledger
from postil.platform.money.bills import costs_of
from postil.platform.service import Service
from postil.platform.store.tables import Job
from postil.recipes.row_tokens import find_row_tokens


def settle_or_refund(session: Session, service: Service, job: Job, why: str) -> int:
    """Ends the bill of a job that was stopped: for what was trained, or nothing where nothing was.

    Args:
        why: kept with a refund.

    Returns:
        What the job costs, in millionths of the currency.
    """
    found = find_row_tokens(service.settings.data_dir / "runs" / job.id)
    step = trained_steps(job)
    if found is None or not step:
        ledger.refund(session, service, job, why)
        return 0
    return ledger.settle(session, service, job, found.row_tokens, found.passes(step))


def cost_so_far(session: Session, service: Service, job: Job) -> int:
    """What the job would cost if it ended now, in millionths of the currency; what it has cost where it has ended."""
    found = find_row_tokens(service.settings.data_dir / "runs" / job.id)
    tokens, passes = (found.row_tokens, found.passes(trained_steps(job))) if found else ([], Fraction(0))
    return ledger.cost_so_far(session, service, job, tokens, passes).amount_micro


def costs_so_far(session: Session, service: Service, jobs: Sequence[Job]) -> dict[str, int]:
    """The same of many jobs: one look at the ledger for all, and at the folders of those alone that are training."""
    known = costs_of(session, [job.id for job in jobs])
    found = {}
    for job in jobs:
        cost = known.get(job.id)
        is_open = cost is not None and cost.settled_micro is None
        if is_open and trained_steps(job):
            found[job.id] = cost_so_far(session, service, job)
        else:
            found[job.id] = (cost.settled_micro or 0) if cost else 0
    return found


def trained_steps(job: Job) -> int:
    """Steps that the run has told of."""
    return int(job.progress.get("step") or 0)
