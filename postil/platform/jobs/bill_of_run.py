"""What a job has to pay, from what its run has left: settled by the steps that were trained, or given back.

While it runs, the supervisor works the cost out with every progress that it tells, and keeps it there; whoever watches
asks the ledger nothing.
"""

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


def cost_so_far(session: Session, service: Service, job: Job, step: int) -> ledger.CostSoFar:
    """What the job would cost if it ended after so many steps."""
    found = find_row_tokens(service.settings.data_dir / "runs" / job.id)
    tokens, passes = (found.row_tokens, found.passes(step)) if found else ([], Fraction(0))
    return ledger.cost_so_far(session, service, job, tokens, passes)


def costs_told(session: Session, jobs: Sequence[Job]) -> dict[str, int]:
    """What each job costs so far, or has cost where it has ended, in millionths of the currency."""
    ended = [job.id for job in jobs if job.ended_at is not None]
    known = costs_of(session, ended) if ended else {}
    return {
        job.id: (known[job.id].settled_micro or 0) if job.id in known else int(job.progress.get("cost_micro") or 0)
        for job in jobs
    }


def trained_steps(job: Job) -> int:
    """Steps that the run has told of."""
    return int(job.progress.get("step") or 0)
