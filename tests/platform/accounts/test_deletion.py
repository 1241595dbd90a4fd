"""Deleting an account is real: nothing of it is left but amounts, also when a run must stop first or a process dies."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, select, text

from postil.errors import ConflictError, MissingInputError, NotAllowedError, TryAgainError
from postil.platform.accounts import deletion
from postil.platform.accounts.accounts import create_account, get_account, list_accounts, set_disabled
from postil.platform.accounts.api_keys import find_key, make_key
from postil.platform.accounts.deletion import delete_account, finish_deletions
from postil.platform.accounts.one_time_links import make_reset_link
from postil.platform.accounts.sign_ins import find_session, sign_in
from postil.platform.adapters import adapters
from postil.platform.adapters.aliases import set_alias
from postil.platform.adapters.sharing import share_adapter
from postil.platform.adapters.trials import keep_answer, start_trial
from postil.platform.datasets.uploads import start_upload
from postil.platform.jobs.jobs import change_state, run_folder
from postil.platform.money import ledger
from postil.platform.money.bills import get_balance, list_entries
from postil.platform.service import Service
from postil.platform.store.backups import list_backups
from postil.platform.store.tables import Account, Job, LedgerEntry, Machine, Table
from postil.platform.upkeep import keep_up
from tests.platform.adapters.test_adapters import write_adapter
from tests.platform.conftest import PASSWORD
from tests.platform.dataset_lives import upload
from tests.platform.rows import new_job

CANARY = "canary77"
QUESTIONS = "question,answer\n" + "".join(
    f"Where does the {CANARY} sing {n}?,The {CANARY} sings in cage number {n}.\n" for n in range(8)
)


def fill(service: Service, account_id: str, folder: Path, *, is_checked: bool = True) -> Job:
    """Everything that an account can own: data with versions, an ended job with its run, an adapter, a bill."""
    put = upload if is_checked else lambda *what: start_upload(what[0], what[1], what[3], [what[2]])
    dataset = put(service, account_id, QUESTIONS.encode(), f"{CANARY}.csv")
    folder.mkdir(exist_ok=True)
    write_adapter(folder)
    with service.database.writing() as session:
        job = new_job(service, account_id, name=CANARY, dataset_id=dataset.id, state="succeeded")
        session.add(job)
        session.flush()
        adapter_id = adapters.publish(session, service, job, folder)
        session.add(
            LedgerEntry(
                id="led_aaaaaaaaaaaaaaaa",
                account_id=account_id,
                job_id=job.id,
                kind="settle",
                amount_micro=3_000_000,
                currency="CNY",
                month="2026-01",
                details={},
                created_at=service.now(),
            )
        )
    set_alias(service, account_id, f"{CANARY}@prod", adapter_id)
    trial = start_trial(service, account_id, adapter_id, f"Does the {CANARY} sing?")
    keep_answer(service, account_id, trial.id, 0, f"The {CANARY} does.", "stop")
    run = run_folder(service, job.id)
    run.mkdir(parents=True)
    (run / "events.jsonl").write_text(json.dumps({"text": CANARY}) * 100, "utf-8")
    sign_in(service, get_account(service, account_id).name, PASSWORD, client=CANARY)
    make_key(service, account_id, CANARY, ["read"])
    make_reset_link(service, account_id)
    return job


def rows_of(service: Service, account_id: str) -> dict[str, int]:
    """How many rows of each table name an account."""
    found = {}
    with service.database.reading() as session:
        for table in Table.metadata.sorted_tables:
            for column in [
                c for c in table.columns if c.name == "account_id" or (table.name, c.name) == ("accounts", "id")
            ]:
                count = len(session.execute(select(column).where(column == account_id)).all())
                if count:
                    found[table.name] = count
    return found


def files_with(folder: Path, words: bytes) -> list[str]:
    """Files of the data folder in which something stands, the database and its free pages among them."""
    return [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and words in p.read_bytes()]


def everything_in_tables(service: Service) -> str:
    """All rows of all tables, as text."""
    with service.database.reading() as session:
        tables = inspect(session.connection()).get_table_names()
        return "\n".join(str(session.execute(text(f'SELECT * FROM "{table}"')).all()) for table in tables)


def test_nothing_is_left_but_amounts(service: Service, tmp_path: Path) -> None:
    create_account(service, "root", PASSWORD, role="admin")
    ann, bob = (create_account(service, name, PASSWORD) for name in ("ann", "bob"))
    job = fill(service, ann.id, tmp_path / "made")
    data_dir = service.settings.data_dir
    before = sum(p.stat().st_size for p in data_dir.rglob("*") if p.is_file() and not p.name.startswith("postil.db"))
    assert CANARY in everything_in_tables(service) and files_with(data_dir, CANARY.encode())

    freed = delete_account(service, ann.id)

    after = sum(p.stat().st_size for p in data_dir.rglob("*") if p.is_file() and not p.name.startswith("postil.db"))
    assert freed == before - after > 1000
    assert rows_of(service, ann.id) == {"ledger": 1}
    assert files_with(data_dir, CANARY.encode()) == [] and CANARY not in everything_in_tables(service)
    with service.database.reading() as session:
        line = session.scalars(select(LedgerEntry)).one()
    assert (line.account_id, line.job_id, line.amount_micro) == (ann.id, job.id, 3_000_000)
    with pytest.raises(MissingInputError):
        get_account(service, ann.id)
    with pytest.raises(MissingInputError):
        delete_account(service, ann.id)
    assert [account.name for account in list_accounts(service)] == ["bob", "root"]
    assert create_account(service, "ann", PASSWORD).id != ann.id
    assert get_account(service, bob.id) == bob


def test_who_comes_again_under_the_same_name_is_somebody_new(service: Service) -> None:
    """Also to the bill: free rows belong to an account, and nothing of the old one is kept to count on."""
    old = create_account(service, "ann@example.com", PASSWORD)
    with service.database.writing() as session:
        job = new_job(service, old.id, state="succeeded")
        session.add(job)
        session.flush()
        ledger.reserve(session, service, job, [10] * 700, 1)
        ledger.settle(session, service, job, [10] * 700, 1)
    assert get_balance(service, old.id).free_rows_left == 300
    delete_account(service, old.id)
    new = create_account(service, "ann@example.com", PASSWORD)
    assert new.id != old.id and list_entries(service, new.id) == ()
    assert get_balance(service, new.id).free_rows_left == 1000
    assert sum(line.free_rows for line in list_entries(service, old.id)) == 700  # its amounts are still there


def test_others_keep_theirs_and_lose_what_was_shared(service: Service, tmp_path: Path) -> None:
    ann, bob = (create_account(service, name, PASSWORD) for name in ("ann", "bob"))
    dataset = upload(service, bob.id, QUESTIONS.encode())
    (tmp_path / "made").mkdir()
    write_adapter(tmp_path / "made")
    with service.database.writing() as session:
        job = new_job(service, ann.id, state="succeeded")
        session.add(job)
        session.flush()
        adapter_id = adapters.publish(session, service, job, tmp_path / "made")
    share_adapter(service, ann.id, adapter_id, "bob")
    assert adapters.get_adapter(service, bob.id, adapter_id).owner == "ann"
    delete_account(service, ann.id)
    with pytest.raises(MissingInputError):
        adapters.get_adapter(service, bob.id, adapter_id)
    assert service.storage.exists(f"datasets/{dataset.id}/original")


def test_whoever_is_deleted_is_shut_out_at_once(service: Service) -> None:
    create_account(service, "root", PASSWORD, role="admin")
    ann = create_account(service, "ann", PASSWORD)
    token, (_, key) = sign_in(service, "ann", PASSWORD).token, make_key(service, ann.id, "k", ["read"])
    add_running_job(service, ann.id)
    with pytest.raises(TryAgainError, match="still stopping"):
        delete_account(service, ann.id, wait_seconds=0)
    assert find_session(service, token) is None and find_key(service, key) is None
    with pytest.raises(NotAllowedError, match="disabled"):
        sign_in(service, "ann", PASSWORD)
    with pytest.raises(ConflictError, match="being deleted"):
        set_disabled(service, ann.id, False)


def add_running_job(service: Service, account_id: str) -> str:
    """A job at which a process works."""
    with service.database.writing() as session:
        job = new_job(service, account_id, state="running", attempt=1)
        session.add(job)
    return job.id


def stop_run(service: Service, job_id: str) -> None:
    """What the supervisor does when a run has obeyed a cancel."""
    with service.database.writing() as session:
        job = session.get_one(Job, job_id)
        assert job.wish == "cancel"
        ledger.refund(session, service, job, "cancelled")
        change_state(session, job_id, ["running"], "cancelled", 1, now=service.now())


def test_a_run_is_stopped_first(service: Service) -> None:
    ann = create_account(service, "ann", PASSWORD)
    job_id = add_running_job(service, ann.id)

    def supervise() -> None:
        for _ in range(200):
            with service.database.reading() as session:
                if session.get_one(Job, job_id).wish:
                    break
            time.sleep(0.02)
        stop_run(service, job_id)

    supervisor = threading.Thread(target=supervise)
    supervisor.start()
    delete_account(service, ann.id, wait_seconds=20)
    supervisor.join()
    assert rows_of(service, ann.id).keys() <= {"ledger"}


def test_the_supervisor_finishes_what_has_begun(service: Service) -> None:
    ann = create_account(service, "ann", PASSWORD)
    job_id = add_running_job(service, ann.id)
    with pytest.raises(TryAgainError):
        delete_account(service, ann.id, wait_seconds=0)
    assert finish_deletions(service) == 0 and rows_of(service, ann.id)["jobs"] == 1
    stop_run(service, job_id)
    finish_deletions(service)
    assert rows_of(service, ann.id).keys() <= {"ledger"}


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@pytest.mark.parametrize("step", range(1, 9))
def test_a_process_that_dies_in_the_middle_loses_nothing(
    service: Service, step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies at each deletion of a file, and at each write to the database, in turn."""
    ann = create_account(service, "ann", PASSWORD)
    fill(service, ann.id, tmp_path / "made", is_checked=False)
    left = step

    def counted(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", counted(os.rename))
        patch.setattr(type(service.database), "writing", counted(type(service.database).writing))
        with pytest.raises(Killed):
            delete_account(service, ann.id)
    if rows_of(service, ann.id).get("accounts"):  # the first step has not begun, or the last not ended
        with service.database.reading() as session:
            has_begun = session.get_one(Account, ann.id).deleting_at is not None
        if has_begun:
            finish_deletions(service)
        else:
            delete_account(service, ann.id)
    assert rows_of(service, ann.id) == {"ledger": 1}
    mark_database(service, "1" * 16)
    keep_up(service)
    assert [service.storage.children(what) for what in ("adapters", "datasets")] == [[], []]
    for path in list_backups(service):  # made by the upkeep, after everything
        path.unlink()
    assert files_with(service.settings.data_dir, CANARY.encode()) == []


def mark_database(service: Service, number: str) -> None:
    """As the supervisor does: the folders know which database they belong to."""
    (service.settings.data_dir / "runs").mkdir(exist_ok=True)
    (service.settings.data_dir / "runs" / ".database").write_text(number, "utf-8")
    with service.database.writing() as session:
        session.merge(Machine(key="database", value={"id": "1" * 16}, updated_at=service.now()))


def test_folders_of_another_database_are_left_alone(service: Service, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write_adapter(tmp_path / "made")
    service.storage.write_folder("adapters/ad_aaaaaaaaaaaaaaaa", tmp_path / "made")
    keep_up(service)
    mark_database(service, "2" * 16)
    keep_up(service)
    assert service.storage.exists("adapters/ad_aaaaaaaaaaaaaaaa")
    mark_database(service, "1" * 16)
    keep_up(service)
    assert not service.storage.exists("adapters/ad_aaaaaaaaaaaaaaaa")


def test_the_last_admin_cannot_be_deleted(service: Service) -> None:
    root = create_account(service, "root", PASSWORD, role="admin")
    with pytest.raises(ConflictError, match="last admin"):
        delete_account(service, root.id)
    other = create_account(service, "other", PASSWORD, role="admin")
    delete_account(service, root.id)
    assert get_account(service, other.id).is_admin


def test_patience_is_what_a_run_may_need(service: Service) -> None:
    assert service.settings.kill_after_seconds + deletion.MORE_SECONDS <= 45
