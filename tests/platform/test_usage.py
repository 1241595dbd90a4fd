"""What an account uses, with its limits, and what is refused when they are reached."""

import pytest

from postil.errors import CannotWriteError, MissingInputError, QuotaError
from postil.platform.ids import new_id
from postil.platform.jobs.requests import JobRequest
from postil.platform.jobs.submitting import submit_job
from postil.platform.service import Service
from postil.platform.store.tables import Account, Adapter
from postil.platform.usage import get_usage, refuse_full_account, refuse_full_disk
from tests.platform.conftest import NewService
from tests.platform.dataset_lives import pairs
from tests.platform.rows import add_account, add_dataset


def add_adapter(service: Service, account_id: str, num_bytes: int) -> None:
    row = Adapter(
        id=new_id("ad"),
        account_id=account_id,
        name=f"n{num_bytes}",
        base="starter",
        storage_key="adapters/none",
        num_bytes=num_bytes,
        verdict="same",
        manifest={},
        lineage={},
        created_at=service.now(),
    )
    with service.database.writing() as session:
        session.add(row)


def test_everything_of_one_s_own_and_nothing_else(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=100, max_account_bytes=10_000, max_queued_jobs=7)
    mei, lei = add_account(service), add_account(service, "lei")
    data = add_dataset(service, mei, 60)
    add_adapter(service, mei, 1000)
    add_adapter(service, lei, 5000)
    submit_job(service, mei, JobRequest(dataset_id=data, base="starter"))
    used = get_usage(service, mei)
    assert (used.dataset_bytes, used.adapter_bytes, used.used_bytes) == (len(pairs(60)), 1000, len(pairs(60)) + 1000)
    assert (used.num_datasets, used.num_adapters, used.rows) == (1, 1, 60)
    assert (used.open_jobs, used.max_open_jobs, used.max_bytes) == (1, 7, 10_000)
    assert used.balance.free_rows_left == 100 - 48
    theirs = get_usage(service, lei)
    assert (theirs.used_bytes, theirs.rows, theirs.open_jobs, theirs.balance.owed_micro) == (5000, 0, 0, 0)


def test_an_account_that_is_not_there(service: Service) -> None:
    with pytest.raises(MissingInputError):
        get_usage(service, "acc_nobody")


def test_an_account_without_room(new_service: NewService) -> None:
    service = new_service(max_account_bytes=1_000)
    mei = add_account(service)
    add_adapter(service, mei, 999)
    with service.database.reading() as session:
        refuse_full_account(session, service, mei)
    add_adapter(service, mei, 1)
    with service.database.reading() as session, pytest.raises(QuotaError, match=r"take 0\.001 MB of 0\.001 MB"):
        refuse_full_account(session, service, mei)


def test_a_disk_without_room(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_full_disk(service)
    monkeypatch.setattr("postil.platform.usage.LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(CannotWriteError, match="a run needs"):
        refuse_full_disk(service)


def test_a_limit_that_was_lowered_under_what_is_owed(new_service: NewService) -> None:
    """What is held already stays held, nothing more starts, and nothing is left to spend."""
    service = new_service(free_rows_per_month=0)
    mei = add_account(service)
    request = JobRequest(dataset_id=add_dataset(service, mei), base="starter", settings={"training.max_steps": 10})
    submit_job(service, mei, request)
    with service.database.writing() as session:
        session.get_one(Account, mei).monthly_cap_micro = 1
    used = get_usage(service, mei)
    assert used.balance.left_micro == 0 and used.balance.reserved_micro > 1
    with pytest.raises(QuotaError, match=r"0\.00 CNY is left"):
        submit_job(service, mei, request)
