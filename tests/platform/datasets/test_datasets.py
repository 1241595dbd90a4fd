"""Whole lives of data sets on both databases: uploaded, checked, trained on, deleted."""

import json
from pathlib import Path

import pytest

from postil.data.chat_template import ChatFormat
from postil.data.checks.overlay import fingerprint
from postil.data.records import read_records
from postil.data.validation import validate_dataset
from postil.errors import ConflictError, DataError, MissingInputError, TryAgainError, UsageError
from postil.models.base_folder import STARTER
from postil.models.tokenizer import load_tokenizer
from postil.platform.datasets.checks import check_dataset
from postil.platform.datasets.datasets import delete_dataset, training_source
from postil.platform.datasets.uploads import start_upload
from postil.platform.datasets.views import get_dataset, list_datasets, list_versions, rename_dataset
from postil.platform.ids import new_id
from postil.platform.service import Service
from postil.platform.store.tables import Dataset, DatasetVersion, Job
from tests.platform.conftest import Clock
from tests.platform.dataset_lives import SHARED, new_account, pairs, upload

ONLY_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
"""For what the database has no part in."""


def source(service: Service, account_id: str, dataset_id: str, number: int | None = None):
    with service.database.reading() as session:
        return training_source(session, service, account_id, dataset_id, number)


def test_from_upload_to_what_a_job_trains_on(service: Service, clock: Clock) -> None:
    account = new_account(service)
    made = start_upload(service, account, "常见问题.csv", [pairs()[:30], pairs()[30:]])
    assert (made.state, made.version, made.name, made.file_name) == ("validating", 1, "常见问题", "常见问题.csv")
    assert made.summary is None
    with pytest.raises(TryAgainError) as caught:
        source(service, account, made.id)
    assert caught.value.key == "platform.datasets.being_checked" and caught.value.retry_after_seconds > 0
    assert check_dataset(service, made.id)
    assert not check_dataset(service, made.id)  # nothing is left to be checked
    view = get_dataset(service, account, made.id)
    assert (view.state, view.rows, view.kind) == ("ready", 6, "fact_qa")
    assert view.summary is not None
    assert view.summary["file"] == "常见问题.csv"
    assert view.summary["readings"][0]["columns"] == {"question": "question", "answer": "answer"}
    assert view.summary["examples"][0]["messages"][0]["content"] == "What about delivery 0?"
    assert [str(e) for e in view.evidence]
    trained = source(service, account, made.id)
    assert trained.file.read_bytes() == pairs() and trained.sha256 == fingerprint(trained.file)
    assert trained.overlay is None and trained.rows == len(trained.row_tokens) == 6
    assert trained.settings["data.name"] == "常见问题.csv"


@ONLY_SQLITE
def test_tokens_are_those_that_training_counts(service: Service) -> None:
    file = SHARED / "o07_dummy_conversation.json"
    if not file.exists():
        pytest.skip("needs ../shared/data")
    account = new_account(service)
    made = upload(service, account, file.read_bytes(), file.name)
    conversations = validate_dataset(read_records(file)).conversations
    chat_format = ChatFormat.from_tokenizer(load_tokenizer(STARTER)).fitted_to(conversations)
    exact = [len(chat_format.encode_conversation(conversation).input_ids) for conversation in conversations]
    assert len(exact) == 500
    assert list(source(service, account, made.id).row_tokens) == exact


@pytest.mark.parametrize(
    ("name", "rows", "state", "kind"),
    [
        ("o12_customer_service_messages.jsonl", 800, "ready", "customer_service"),
        ("o17_workplace_anxiety_qa.xlsx", 246, "ready", None),
        ("o25_datacenter_qa.xlsx", 20, "ready", None),
        ("o27_medical_gb18030.csv", None, None, None),
        ("o19_shop_faq_en.txt", None, None, None),
        ("o33_not_qa_housing.xlsx", 0, "needs_attention", None),
    ],
)
@ONLY_SQLITE
def test_real_files(service: Service, name: str, rows: int | None, state: str | None, kind: str | None) -> None:
    file = SHARED / name
    if not file.exists():
        pytest.skip("needs ../shared/data")
    account = new_account(service)
    view = upload(service, account, file.read_bytes(), name)
    assert view.state == state if state else view.state in ("ready", "needs_attention")
    assert view.rows == rows if rows is not None else view.rows > 0
    assert kind is None or view.kind == kind
    if not view.rows:
        with pytest.raises(DataError) as caught:
            source(service, account, view.id)
        assert caught.value.key == "platform.datasets.nothing_to_train"


def test_a_file_that_cannot_be_read_says_why_under_the_name_that_the_user_knows(service: Service) -> None:
    account = new_account(service)
    view = upload(service, account, b"\x89PNG\r\n\x1a\n" + bytes(200), "图片.png")
    assert view.state == "unreadable" and view.error is not None
    assert "图片.png" in view.error.message and str(service.settings.data_dir) not in view.error.message
    assert view.error.hint
    with pytest.raises(DataError) as caught:
        source(service, account, view.id)
    assert view.error.message in caught.value.message


@ONLY_SQLITE
def test_five_rows_are_taken_with_a_warning(service: Service) -> None:
    view = upload(service, new_account(service), pairs(5))
    assert view.state == "ready" and view.rows == 5 and view.summary is not None
    assert [c["code"] for c in view.summary["codes"]] == ["too_few_rows"]


def test_the_same_file_twice_is_two_data_sets(service: Service) -> None:
    account = new_account(service)
    first, second = upload(service, account, pairs()), upload(service, account, pairs())
    assert first.id != second.id and first.sha256 == second.sha256
    delete_dataset(service, account, first.id)
    assert source(service, account, second.id).file.read_bytes() == pairs()


def test_another_account_finds_nothing(service: Service) -> None:
    owner, other = new_account(service), new_account(service)
    made = upload(service, owner, pairs())
    assert list_datasets(service, other) == ()
    for call in (get_dataset, list_versions, delete_dataset, source):
        with pytest.raises(MissingInputError) as caught:
            call(service, other, made.id)
        assert caught.value.key == "platform.datasets.missing"
    with pytest.raises(MissingInputError):
        rename_dataset(service, other, made.id, "mine")
    assert get_dataset(service, owner, made.id) == made


@pytest.mark.parametrize(
    "wrong", ["", "ds_", "../../etc/passwd", "ds_aaaaaaaaaaaaaaaa", "job_aaaaaaaaaaaaaaaa", "ds_\x00", "'"]
)
def test_identifiers_that_are_none(service: Service, wrong: str) -> None:
    with pytest.raises(MissingInputError):
        get_dataset(service, new_account(service), wrong)


def test_lists_go_page_by_page(service: Service, clock: Clock) -> None:
    account = new_account(service)
    made = []
    for i in range(5):
        made.append(start_upload(service, account, f"{i}.csv", [pairs()]).id)
        clock.go(seconds=i % 2)  # some at the same moment
    pages, after = [], None
    while page := list_datasets(service, account, limit=2, after=after):
        pages += [view.id for view in page]
        after = page[-1].id
    assert sorted(pages) == sorted(made) and len(pages) == 5
    assert [view.id for view in list_datasets(service, account)] == pages


def test_renamed_and_refused_names(service: Service) -> None:
    account = new_account(service)
    made = upload(service, account, pairs())
    assert rename_dataset(service, account, made.id, "  店铺问答 ").name == "店铺问答"
    assert get_dataset(service, account, made.id).file_name == "faq.csv"
    for wrong in ("", " ", "a\nb", "x" * 121, "a\u2028b", "\x00"):
        with pytest.raises(UsageError):
            rename_dataset(service, account, made.id, wrong)


def add_job(
    service: Service, account: str, dataset_id: str | None, state: str, version: int = 1, base: str = "starter"
) -> str:
    now, job_id = service.now(), new_id("job")
    job = Job(
        id=job_id,
        account_id=account,
        name="j",
        dataset_id=dataset_id,
        dataset_version=version,
        base=base,
        spec={},
        state=state,
        progress={},
        created_at=now,
        updated_at=now,
    )
    with service.database.writing() as session:
        session.add(job)
    return job_id


def test_deleted_for_good_and_not_while_a_job_needs_it(service: Service) -> None:
    account = new_account(service)
    made = upload(service, account, pairs(), "secret.csv")
    job_id = add_job(service, account, made.id, "running")
    assert [v.jobs for v in list_versions(service, account, made.id)] == [(job_id,)]
    with pytest.raises(ConflictError) as caught:
        delete_dataset(service, account, made.id)
    assert job_id in caught.value.message
    with service.database.writing() as session:
        session.get_one(Job, job_id).state = "succeeded"
    lying = service.storage.num_bytes(f"datasets/{made.id}")
    assert lying > len(pairs())
    assert delete_dataset(service, account, made.id) == lying
    with service.database.reading() as session:
        assert session.get(Dataset, made.id) is None
        assert session.query(DatasetVersion).count() == 0
        job = session.get_one(Job, job_id)
        assert (job.dataset_id, job.dataset_version) == (None, 1)
    left = [p for p in service.settings.data_dir.rglob("*") if p.is_file() and "postil.db" not in p.name]
    assert [p for p in left if b"rule number" in p.read_bytes()] == []
    assert not service.storage.exists(f"datasets/{made.id}")


def test_deleted_while_it_is_checked(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    from postil.platform.datasets import checks as dataset_checks

    account = new_account(service)
    made = start_upload(service, account, "faq.csv", [pairs()])
    real = dataset_checks._examine

    def delete_meanwhile(*arguments):
        found = real(*arguments)
        delete_dataset(service, account, made.id)
        return found

    monkeypatch.setattr(dataset_checks, "_examine", delete_meanwhile)
    assert not check_dataset(service, made.id)
    assert not service.storage.exists(f"datasets/{made.id}")
    assert list_datasets(service, account) == ()


@ONLY_SQLITE
def test_summary_is_small_and_problems_lie_in_the_storage(service: Service) -> None:
    account = new_account(service)
    data = b"question,answer\n" + b"".join(b"same question,answer %d\n" % i for i in range(3000))
    view = upload(service, account, data)
    assert view.summary is not None and len(json.dumps(view.summary)) < 20_000
    report = b"".join(service.storage.open(f"datasets/{view.id}/v1/problems.jsonl"))
    assert len(report.splitlines()) == sum(c["count"] for c in view.summary["codes"])


def test_names_never_become_paths(service: Service, tmp_path: Path) -> None:
    account = new_account(service)
    view = upload(service, account, pairs(), "../../../evil.csv")
    files = [p.relative_to(service.settings.data_dir).as_posix() for p in service.settings.data_dir.rglob("*")]
    assert not any("evil" in name for name in files)
    assert view.file_name == "evil.csv" and not list(tmp_path.rglob("*evil*"))
