"""Submitting a job: what it would be, and making it so in one transaction.

    check the request ─> data and base ─> settings and estimate ─> may it start? ─> money held ─> in the queue
    └────────────────────── preview_job stops here, and names all that forbids it ─┘

The account's row is locked first, so that of many requests at once each sees what the ones before it have taken.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.advice.estimate import Estimate
from postil.advice.recommend import Recommendation
from postil.config import RunConfig
from postil.errors import ConflictError, DataError, NotAllowedError, PostilError, TooManyError, UnavailableError
from postil.models.memory import gigabytes
from postil.platform.bases.this_machine import MachineMemory, find_memory
from postil.platform.datasets.datasets import TrainingSource, training_source
from postil.platform.jobs.bases_for_jobs import BaseForJob, base_for_job, whole_memory_bytes
from postil.platform.jobs.estimates import Plan, Price, data_facts_of, plan_job, price_of
from postil.platform.jobs.jobs import insert_job
from postil.platform.jobs.requests import JobRequest, check_request
from postil.platform.jobs.views import JobView, view_of
from postil.platform.money import ledger
from postil.platform.money.prices import current_prices
from postil.platform.service import Service
from postil.platform.store.tables import Account, Dataset, Job
from postil.platform.stored_errors import StoredError
from postil.platform.usage import count_open_jobs, refuse_full_account, refuse_full_disk

SAME_REQUEST = timedelta(seconds=60)
"""Within this time the same token means the same job."""
QUEUE_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Preview:
    """What a job would be.

    Args:
        settings: that it would train with, dotted: the user's own and the recommended ones.
        estimate: time and memory as ranges; None where nothing is known of the base.
        reserve_micro: what would be held back.
        problems: all that keeps it from being submitted; empty where it may be.
    """

    dataset_id: str
    version: int
    base: str
    rows: int
    heldout_rows: int
    settings: Mapping[str, Any]
    recommendation: Recommendation
    estimate: Estimate | None
    price: Price
    reserve_micro: int
    problems: tuple[StoredError, ...]


@dataclass(frozen=True, slots=True)
class _Draft:
    """A request with everything that it names."""

    request: JobRequest
    account: Account
    source: TrainingSource
    base: BaseForJob
    plan: Plan


def preview_job(service: Service, account_id: str, request: JobRequest) -> Preview:
    """Settings with their reasons, time, memory and price, and what forbids the job; nothing is kept.

    Raises:
        UsageError: the request is wrong; everything is named at once.
        MissingInputError: no such data set, version or base.
        TryAgainError: the data set is still being checked.
        DataError: no row of it can train, or it cannot be read.
    """
    request, memory = check_request(request), find_memory()
    with service.database.reading() as session:
        draft = _draft(session, service, session.get_one(Account, account_id), request, memory)
        prices = current_prices(session, service.settings)
        charge = ledger.quote(session, service, account_id, draft.plan.row_tokens, draft.plan.passes)
        problems = [StoredError.of(error) for error in _problems(session, service, draft)]
        try:
            reserve_micro = ledger.reserve_amount(session, service, draft.account, charge)
        except PostilError as error:
            reserve_micro = 0
            problems.append(StoredError.of(error))
    return Preview(
        dataset_id=draft.source.dataset_id,
        version=draft.source.version,
        base=draft.base.name,
        rows=draft.plan.data.rows,
        heldout_rows=draft.plan.data.heldout_rows,
        settings=draft.plan.frozen_settings(request.settings),
        recommendation=draft.plan.recommendation,
        estimate=draft.plan.estimate,
        price=price_of(charge, draft.plan, prices.currency),
        reserve_micro=reserve_micro,
        problems=tuple(problems),
    )


def submit_job(service: Service, account_id: str, request: JobRequest) -> JobView:
    """Holds the money and puts the job into the queue; all of it or nothing.

    Raises:
        UsageError, MissingInputError, TryAgainError, DataError: as `preview_job`.
        NotAllowedError: the account is held.
        TooManyError: too many of its jobs wait or run already.
        QuotaError: its money or its disk does not suffice.
        CannotWriteError: the machine's disk is full.
        UnavailableError: the base does not fit this machine.
        ConflictError: the token was used for another request a moment ago.
    """
    request, memory = check_request(request), find_memory()
    with service.database.writing() as session:
        account = ledger.lock_account(session, account_id)
        if (earlier := _find_earlier(session, service, account_id, request)) is not None:
            return view_of(session, service, earlier)
        draft = _draft(session, service, account, request, memory)
        for error in _problems(session, service, draft):
            raise error
        job = _insert(session, service, draft)
        reserved = ledger.reserve(session, service, job, draft.plan.row_tokens, draft.plan.passes)
        price = price_of(reserved.charge, draft.plan, reserved.currency)
        job.estimate = {**(job.estimate or {}), **_said(price, reserved.reserve_micro)}
        session.flush()
        return view_of(session, service, job)


def _draft(session: Session, service: Service, account: Account, request: JobRequest, memory: MachineMemory) -> _Draft:
    base = base_for_job(session, request.base, memory)
    source = training_source(session, service, account.id, request.dataset_id, request.version)
    kind = request.kind or source.kind
    changes = {"model.base": base.name, "training.preset": request.preset, "training.seed": request.seed}
    config = RunConfig().replace({**changes, **request.settings})
    data = data_facts_of(
        source.summary,
        source.row_tokens,
        kind=kind,  # type: ignore[arg-type]  # one of DATA_PURPOSES: checked by the request and by the data set
        heldout_share=config.data.heldout_share,
        base=base.name,
        train_on_last=config.data.train_on == "last",
    )
    if not data.rows:
        raise DataError("platform.requests.nothing_left", rows=source.rows)
    plan = plan_job(session, service, config, data, base.facts, source.row_tokens)
    return _Draft(request, account, source, base, plan)


def _problems(session: Session, service: Service, draft: _Draft) -> list[PostilError]:
    """All that forbids the job beside its price, as errors that can be raised."""
    found: list[PostilError] = []
    account, settings = draft.account, service.settings
    if account.hold_reason:
        found.append(NotAllowedError("platform.requests.held", reason=account.hold_reason))
    most = settings.max_queued_jobs
    if count_open_jobs(session, account.id) >= most:
        found.append(TooManyError("platform.requests.queue_full", most=most, retry_after_seconds=QUEUE_RETRY_SECONDS))
    checks: tuple[Callable[[], None], ...] = (
        lambda: refuse_full_account(session, service, account.id),
        lambda: refuse_full_disk(service),
        lambda: draft.base.check(),
        lambda: _refuse_too_large(draft),
    )
    for check in checks:
        try:
            check()
        except PostilError as error:
            found.append(error)
    return found


def _refuse_too_large(draft: _Draft) -> None:
    """Sees to it that the run fits into the memory that this machine has, whatever takes it just now.

    Raises:
        UnavailableError: it needs more.
    """
    estimate = draft.plan.estimate
    if estimate is None or estimate.memory_bytes is None:
        return
    needed, there = estimate.memory_bytes.low, whole_memory_bytes(draft.base.memory)
    if needed > there:
        raise UnavailableError(
            "platform.requests.does_not_fit",
            base=draft.base.name,
            needed=gigabytes(round(needed)),
            there=gigabytes(there),
        )


def _insert(session: Session, service: Service, draft: _Draft) -> Job:
    request, plan, source = draft.request, draft.plan, draft.source
    name = request.name or session.get_one(Dataset, source.dataset_id).name
    spec = {
        "settings": plan.frozen_settings(request.settings),
        "chosen": dict(request.settings),
        "preset": request.preset,
        "kind": plan.data.kind,
        "seed": request.seed,
        "advice": plan.recommendation.as_dict(),
        "rows": source.rows,
        "data_sha256": source.sha256,
    }
    if request.client_token is not None:
        spec |= {"client_token": request.client_token, "request": request.fingerprint()}
    return insert_job(
        session,
        account_id=draft.account.id,
        name=name,
        dataset_id=source.dataset_id,
        dataset_version=source.version,
        base=draft.base.name,
        spec=spec,
        now=service.now(),
        estimate=plan.said(),
    )


def _said(price: Price, reserve_micro: int) -> dict[str, Any]:
    """What the job's row keeps of its price; `price_micro` is compared with the ledger by the audit."""
    low_high = {"price_low_micro": price.low_micro, "price_high_micro": price.high_micro}
    charged = {"billable_tokens": price.tokens, "free_rows": price.free_rows, "currency": price.currency}
    return {"price_micro": price.expected_micro, "reserve_micro": reserve_micro, **low_high, **charged}


def _find_earlier(session: Session, service: Service, account_id: str, request: JobRequest) -> Job | None:
    """The job that the same token has made within a minute.

    Raises:
        ConflictError: it was for another request.
    """
    if request.client_token is None:
        return None
    since = service.now() - SAME_REQUEST
    recent = select(Job).where(Job.account_id == account_id, Job.created_at > since).order_by(Job.created_at.desc())
    for job in session.scalars(recent):
        if job.spec.get("client_token") == request.client_token:
            if job.spec.get("request") != request.fingerprint():
                raise ConflictError("platform.requests.token_reused", token=request.client_token)
            return job
    return None
