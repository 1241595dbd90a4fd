"""Submitting on both databases: previews, all of it or nothing, and requests that are odd, foreign or repeated."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from sqlalchemy import func, select

from postil.errors import (
    ConflictError,
    DataError,
    MissingInputError,
    NotAllowedError,
    PostilError,
    QuotaError,
    TooManyError,
    TryAgainError,
    UnavailableError,
    UsageError,
)
from postil.platform.datasets.datasets import delete_dataset
from postil.platform.datasets.uploads import start_upload
from postil.platform.jobs.jobs import request_cancel
from postil.platform.jobs.requests import SETTINGS, JobRequest, check_request
from postil.platform.jobs.submitting import preview_job, submit_job
from postil.platform.jobs.views import list_jobs
from postil.platform.money import audit, bills
from postil.platform.service import Service
from postil.platform.store.tables import Account, BaseModelEntry, Job, LedgerEntry
from postil.platform.usage import get_usage
from tests.platform.conftest import Clock, NewService
from tests.platform.dataset_lives import new_account, pairs, upload
from tests.platform.rows import add_dataset

ROWS = 60


def asked(dataset_id: str, **entries: object) -> JobRequest:
    return JobRequest(**{"dataset_id": dataset_id, "base": "starter", **entries})  # type: ignore[arg-type]


def num_jobs(service: Service) -> int:
    with service.database.reading() as session:
        return int(session.execute(select(func.count()).select_from(Job)).scalar_one())


def test_a_preview_says_what_a_job_would_be_and_keeps_nothing(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=10)
    account = new_account(service)
    data = upload(service, account, pairs(ROWS))
    preview = preview_job(service, account, asked(data.id))
    assert (preview.rows, preview.heldout_rows, preview.version, preview.problems) == (48, 12, 1, ())
    assert preview.settings["training.learning_rate"] == 1e-3 and preview.settings["training.epochs"] >= 14
    assert all(setting.why for setting in preview.recommendation.settings)
    assert preview.estimate is not None and not preview.estimate.is_measured
    assert 0 < preview.estimate.seconds.low < preview.estimate.seconds.high
    price = preview.price
    assert 0 < price.low_micro < price.expected_micro < price.high_micro and price.free_rows == 10
    assert preview.reserve_micro == -(-price.expected_micro * 12 // 10)
    assert num_jobs(service) == 0 and bills.list_entries(service, account) == ()


def test_a_job_is_what_its_preview_said(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=0)
    account = new_account(service)
    data = add_dataset(service, account)
    request = asked(data, settings={"training.epochs": 3, "adapter.rank": None}, name="  客服 ", seed=7)
    preview = preview_job(service, account, request)
    job = submit_job(service, account, request)
    assert (job.state, job.name, job.dataset_version, job.base) == ("queued", "客服", 1, "starter")
    assert dict(job.spec["settings"]) == dict(preview.settings)
    assert job.spec["settings"]["training.epochs"] == 3 and job.spec["seed"] == 7
    assert job.estimate is not None
    assert job.estimate["price_micro"] == preview.price.expected_micro
    assert job.estimate["reserve_micro"] == preview.reserve_micro
    assert audit.recompute(service, account).reserved_micro == preview.reserve_micro
    assert get_usage(service, account).open_jobs == 1


def test_presets_cost_what_they_do(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=0)
    account = new_account(service)
    data = add_dataset(service, account)
    prices = [
        preview_job(service, account, asked(data, preset=preset)).price.expected_micro
        for preset in ("quick", "recommended", "thorough")
    ]
    assert prices == sorted(prices) and len(set(prices)) == 3


def test_a_kind_can_be_said(service: Service) -> None:
    account = new_account(service)
    data = add_dataset(service, account)
    preview = preview_job(service, account, asked(data, kind="copywriting"))
    assert (preview.recommendation.kind, preview.recommendation.found_kind) == ("copywriting", "fact_qa")


def test_the_same_token_is_the_same_job_for_a_minute(service: Service, clock: Clock) -> None:
    account, other = new_account(service), new_account(service)
    data = add_dataset(service, account)
    first = submit_job(service, account, asked(data, client_token="t1"))
    clock.go(seconds=59)
    assert submit_job(service, account, asked(data, client_token="t1")).id == first.id
    with pytest.raises(ConflictError):
        submit_job(service, account, asked(data, client_token="t1", seed=1))
    assert submit_job(service, account, asked(data, client_token="t2")).id != first.id
    theirs = add_dataset(service, other)
    assert submit_job(service, other, asked(theirs, client_token="t1")).account_id == other
    clock.go(seconds=2)
    assert submit_job(service, account, asked(data, client_token="t1")).id != first.id
    assert submit_job(service, account, asked(data)).id != submit_job(service, account, asked(data)).id


def test_a_repeated_request_at_the_same_moment_makes_one_job(service: Service) -> None:
    account = new_account(service)
    data = add_dataset(service, account)
    together = Barrier(8)

    def send(_: int) -> str:
        together.wait()
        return submit_job(service, account, asked(data, client_token="once")).id

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(send, range(8)))) == 1
    assert num_jobs(service) == 1


def test_fifty_at_once_with_money_for_one(new_service: NewService) -> None:
    """Real threads, a connection each: one starts, 49 are told clearly, and nothing of theirs is left."""
    poor = new_service(free_rows_per_month=0)
    account = new_account(poor)
    data = add_dataset(poor, account)
    cap = preview_job(poor, account, asked(data)).reserve_micro * 3 // 2
    with poor.database.writing() as session:
        session.get_one(Account, account).monthly_cap_micro = cap
    together = Barrier(50)

    def send(number: int) -> str:
        together.wait()
        try:
            return submit_job(poor, account, asked(data, seed=number)).id
        except QuotaError as error:
            return error.key

    with ThreadPoolExecutor(50) as pool:
        said = list(pool.map(send, range(50)))
    assert sum(text.startswith("job_") for text in said) == 1
    assert said.count("platform.money.account_cap") == 49
    assert num_jobs(poor) == 1
    with poor.database.reading() as session:
        assert session.execute(select(func.count()).select_from(LedgerEntry)).scalar_one() == 2
    audit.recompute(poor, account)


def test_cancelled_in_the_queue_costs_nothing(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=5)
    account = new_account(service)
    data = add_dataset(service, account)
    job = submit_job(service, account, asked(data))
    assert bills.get_balance(service, account).reserved_micro > 0
    request_cancel(service, account, job.id)
    request_cancel(service, account, job.id)
    balance = audit.recompute(service, account)
    assert (balance.owed_micro, balance.free_rows_left) == (0, 5)


def test_too_many_open_jobs(new_service: NewService) -> None:
    service = new_service(max_queued_jobs=2)
    account = new_account(service)
    data = add_dataset(service, account)
    first, _ = submit_job(service, account, asked(data)), submit_job(service, account, asked(data))
    with pytest.raises(TooManyError, match="2 jobs of this account") as caught:
        submit_job(service, account, asked(data))
    assert caught.value.retry_after_seconds > 0
    (problem,) = preview_job(service, account, asked(data)).problems
    assert problem.message == caught.value.message and problem.hint
    request_cancel(service, account, first.id)
    assert submit_job(service, account, asked(data)).state == "queued"


def test_a_preview_names_all_that_forbids_the_job(new_service: NewService) -> None:
    service = new_service(max_queued_jobs=1, max_account_bytes=10**6, free_rows_per_month=0)
    account = new_account(service)
    data = add_dataset(service, account)
    submit_job(service, account, asked(data))
    with service.database.writing() as session:
        row = session.get_one(Account, account)
        row.hold_reason, row.monthly_cap_micro = "unpaid", 0
    full = replace(service, settings=service.settings.model_copy(update={"max_account_bytes": 1}))
    found = [problem.key.rpartition(".")[2] for problem in preview_job(full, account, asked(data)).problems]
    assert found == ["held", "queue_full", "account_full", "account_cap"]
    with pytest.raises(NotAllowedError, match="unpaid"):
        submit_job(full, account, asked(data))


def test_a_full_disk_is_said_before_the_start(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    account = new_account(service)
    data = add_dataset(service, account)
    monkeypatch.setattr("postil.platform.usage.LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(PostilError, match="disk has") as caught:
        submit_job(service, account, asked(data))
    assert caught.value.exit_code == 73 and num_jobs(service) == 0


def test_bases_that_are_not_there(service: Service) -> None:
    account = new_account(service)
    data = add_dataset(service, account)
    for name in ("Qwen/Qwen3-0.6", "/etc/passwd", "http://169.254.169.254/", "../starter", "starter "):
        with pytest.raises(MissingInputError, match="did you mean"):
            submit_job(service, account, asked(data, base=name))
    entry = BaseModelEntry(id="base_x", name="Qwen/Qwen3-0.6B", source="hf", state="downloading", is_allowed=True)
    entry.facts, entry.created_at, entry.updated_at = {}, service.now(), service.now()
    with service.database.writing() as session:
        session.add(entry)
    preview = preview_job(service, account, asked(data, base="Qwen/Qwen3-0.6B"))
    assert [problem.key for problem in preview.problems] == ["platform.requests.base_not_ready"]
    assert preview.price.low_micro <= preview.price.expected_micro
    with pytest.raises(UnavailableError, match="not on this machine yet"):
        submit_job(service, account, asked(data, base="Qwen/Qwen3-0.6B"))


def test_a_base_that_does_not_fit(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    account = new_account(service)
    data = add_dataset(service, account)
    monkeypatch.setattr("postil.platform.jobs.submitting.whole_memory_bytes", lambda memory: 1 << 20)
    with pytest.raises(UnavailableError, match="needs at least"):
        submit_job(service, account, asked(data))


def test_data_that_cannot_train(service: Service) -> None:
    account = new_account(service)
    waiting = start_upload(service, account, "later.csv", [pairs()])
    with pytest.raises(TryAgainError):
        submit_job(service, account, asked(waiting.id))
    empty = upload(service, account, b"question,answer\n,\n")
    with pytest.raises(DataError):
        submit_job(service, account, asked(empty.id))
    assert num_jobs(service) == 0


def test_odd_and_foreign_requests(service: Service) -> None:
    """Somebody else's data set is not there, whatever form its name has."""
    mei, lei = new_account(service), new_account(service)
    theirs = add_dataset(service, lei)
    for dataset_id in (theirs, "ds_" + "a" * 16, "../../etc", "ds_' OR 1=1", "job_k3v9m2x7q8w4e5ra"):
        for verb in (submit_job, preview_job):
            with pytest.raises(MissingInputError):
                verb(service, mei, asked(dataset_id))
    for version in (2, 10**9):
        with pytest.raises(MissingInputError):
            submit_job(service, lei, asked(theirs, version=version))
    assert num_jobs(service) == 0 and list_jobs(service, mei) == ()


def test_out_of_order_a_data_set_that_was_deleted(service: Service) -> None:
    account = new_account(service)
    data = add_dataset(service, account)
    job = submit_job(service, account, asked(data))
    with pytest.raises(ConflictError):
        delete_dataset(service, account, data)
    request_cancel(service, account, job.id)
    delete_dataset(service, account, data)
    with pytest.raises(MissingInputError):
        submit_job(service, account, asked(data))


REFUSED = {
    "output.dir": "/tmp/x",
    "output.force": True,
    "output.trackers": ["wandb"],
    "data.file": "/etc/passwd",
    "data.overlay": "/etc/passwd",
    "data.drop_bad": False,
    "model.base": "/srv/secret",
    "model.hub": "modelscope",
    "model.device": "cuda",
    "training.seed": 1,
    "training": {"epochs": 1},
    "__class__": 1,
    "data.file\n": 1,
    "": 1,
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_are_not_for_the_web(name: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be chosen here|there is no such setting"):
        check_request(asked("ds_x", settings={name: REFUSED[name]}))


def test_every_wrong_entry_is_named_at_once() -> None:
    request = asked(
        "",
        version=0,
        preset="turbo",
        kind="poetry",
        seed=-1,
        name="a\nb",
        client_token="",
        settings={"adapter.rnk": 4, "training.epochs": 10**6, "output.dir": "/", "data.system": "x" * 9000},
    )
    with pytest.raises(UsageError) as caught:
        check_request(request)
    for word in ("dataset_id", "version", "preset", "kind", "seed", "client_token", "a\nb", "training.epochs: 100"):
        assert word in caught.value.message
    assert "adapter.rnk: there is no such setting; did you mean adapter.rank?" in caught.value.message
    assert "output.dir: cannot be chosen here" in caught.value.message
    assert "data.system: too long" in caught.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("training.epochs", "many"),
        ("training.epochs", float("nan")),
        ("training.epochs", -1),
        ("adapter.rank", 10**9),
        ("adapter.target_modules", [["q_proj"]]),
        ("training.betas", [0.9]),
        ("data.too_long", "explode"),
        ("data.heldout_share", 0.9),
    ],
)
def test_values_that_do_not_fit(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        check_request(asked("ds_x", settings={name: value}))


def test_epochs_and_steps_exclude_each_other(service: Service) -> None:
    account = new_account(service)
    data = add_dataset(service, account)
    with pytest.raises(UsageError, match="exclude each other"):
        submit_job(service, account, asked(data, settings={"training.epochs": 1, "training.max_steps": 5}))
    job = submit_job(service, account, asked(data, settings={"training.max_steps": 5}))
    assert job.spec["settings"]["training.max_steps"] == 5 and "training.epochs" not in job.spec["settings"]


def test_every_setting_on_the_list_exists_and_none_names_a_place() -> None:
    from postil.config import setting_paths

    assert setting_paths().keys() >= SETTINGS
    assert not [name for name in SETTINGS if name.startswith(("output.", "model."))]
    assert not {"data.file", "data.map", "data.encoding", "data.overlay", "data.name"} & SETTINGS
