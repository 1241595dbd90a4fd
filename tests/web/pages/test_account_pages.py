"""The account's own pages: language, password, keys that are shown once, the bill and its file, and the end."""

import csv
import io
import re
from datetime import datetime, timedelta
from fractions import Fraction

import openpyxl
import pytest
from starlette.testclient import TestClient

from postil.errors import MissingInputError
from postil.platform.accounts.accounts import get_account
from postil.platform.accounts.deletion import finish_deletions
from postil.platform.administration import set_limits
from postil.platform.money import ledger
from postil.platform.money.bills import get_balance, list_entries
from postil.platform.money.prices import change_prices
from postil.platform.service import Service
from postil.platform.store.tables import Job, LedgerEntry
from tests.platform.rows import add_dataset, new_job
from tests.web.conftest import PASSWORD, NewClient
from tests.web.pages.page_fields import codes_of, fields_of
from tests.web.pages.reading import account_of, text_of

NEW_PASSWORD = "another horse battery"
# 10 rows of 100 tokens: one pass is 1000 tokens, 0.03
ROWS = (100,) * 10


def submit(service: Service, account_id: str, name: str = "shop", passes: int = 8, **entries: object) -> Job:
    """A job whose money is held."""
    with service.database.writing() as session:
        job = new_job(service, account_id, name=name, **entries)
        session.add(job)
        ledger.reserve(session, service, job, ROWS, passes)
    return job


def settle(service: Service, job: Job, passes: int | Fraction = 8) -> None:
    with service.database.writing() as session:
        ledger.settle(session, service, job, ROWS, passes)


def test_the_page_says_who_one_is_and_what_one_uses(anna: TestClient, service: Service) -> None:
    add_dataset(service, account_of(anna))
    page = anna.get("/account").text
    words = text_of(page)
    assert "anna" in words and "User" in words and "5.4 GB on the disk" in words
    assert re.search(r"Data 1 · [\d.]+ KB", words)
    assert 'aria-current="page">Account' in page


def test_the_language_is_chosen_and_given_back_to_the_browser(anna: TestClient, service: Service) -> None:
    reply = anna.post("/account/language", data={"language": "zh"})
    assert reply.url.path == "/account" and "语言已保存" in reply.text and 'lang="zh-Hans"' in reply.text
    assert get_account(service, account_of(anna)).language == "zh"
    assert fields_of(reply.text)["language"] == "zh"
    reply = anna.post("/account/language", data={"language": ""})
    assert get_account(service, account_of(anna)).language is None
    assert "postil_language" not in anna.cookies
    assert "我的账号" in anna.get("/account", headers={"accept-language": "zh"}).text
    assert anna.post("/account/language", data={"language": "fr"}).status_code == 422


def test_a_new_password_signs_the_others_out_and_is_never_written_back(anna: TestClient, new_client: NewClient) -> None:
    other = new_client()
    assert other.post("/api/sign-in", json={"name": "anna", "password": PASSWORD}).status_code == 200
    wrong = anna.post("/account/password", data={"old_password": "not this one", "new_password": NEW_PASSWORD})
    assert wrong.status_code == 403 and "old password" in text_of(wrong.text)
    short = anna.post("/account/password", data={"old_password": PASSWORD, "new_password": "short"})
    assert short.status_code == 422 and 'role="alert"' in short.text
    assert NEW_PASSWORD not in wrong.text and PASSWORD not in short.text
    done = anna.post("/account/password", data={"old_password": PASSWORD, "new_password": NEW_PASSWORD})
    assert done.status_code == 200 and "The new password is set" in text_of(done.text)
    assert other.get("/account", follow_redirects=False).status_code == 303
    assert anna.get("/account").status_code == 200


def test_signing_out_everywhere(anna: TestClient, new_client: NewClient) -> None:
    other = new_client()
    other.post("/api/sign-in", json={"name": "anna", "password": PASSWORD})
    assert anna.post("/account/sign-out-everywhere").url.path == "/sign-in"
    for client in (anna, other):
        assert client.get("/account", follow_redirects=False).headers["location"].startswith("/sign-in")


def test_nothing_of_a_session_s_pages_is_for_keys(anna: TestClient, new_client: NewClient) -> None:
    secret = anna.post("/api/keys", json={"name": "k"}).json()["secret"]
    program = new_client(headers={"authorization": f"Bearer {secret}"})
    for path in ("/account", "/account/keys", "/account/delete"):
        assert program.get(path).status_code == 403
    assert program.post("/account/keys", data={"name": "more", "scopes": "read"}).status_code == 403


def test_a_key_is_shown_once_and_works_until_it_is_revoked(
    anna: TestClient, berta: TestClient, new_client: NewClient
) -> None:
    form = fields_of(anna.get("/account/keys").text) | {"name": "shop <b>site</b>"}
    made = anna.post("/account/keys", data=form | {"scopes": ["read", "chat"]})
    secret = codes_of(made.text)[0]
    assert made.status_code == 201 and secret.startswith("pk_") and "only time" in text_of(made.text)
    assert made.headers["cache-control"] == "no-store" and "<b>site" not in made.text
    program = new_client(headers={"authorization": f"Bearer {secret}"})
    assert program.get("/api/account").json()["name"] == "anna"
    assert program.post("/api/uploads", json={"file_name": "a.csv"}).status_code == 403  # it may not train
    page = anna.get("/account/keys").text
    words = text_of(page)
    assert secret not in page and secret.rpartition("_")[0] in page
    assert "look ask models" in words and words.count("change and train") == 1  # in the form alone
    revoke = re.search(r'action="(/account/keys/key_\w+/revoke)"', page)
    assert revoke is not None
    assert berta.post(revoke[1]).status_code == 404
    assert program.get("/api/account").status_code == 200
    words = text_of(anna.post(revoke[1]).text)
    assert "Keys that no longer work (1)" in words and "No key yet" in words
    assert program.get("/api/account").status_code == 401


def test_everything_that_is_wrong_with_a_key_is_said_at_once_and_nothing_typed_is_lost(
    anna: TestClient, service: Service
) -> None:
    yesterday = (service.now() - timedelta(days=1)).date().isoformat()
    reply = anna.post("/account/keys", data={"name": " ", "ends": yesterday})
    words = text_of(reply.text)
    assert reply.status_code == 422 and reply.text.count("aria-invalid") == 2
    assert "Something must stand here" in words and "This day is over" in words and "at least one thing" in words
    assert fields_of(reply.text)["ends"] == yesterday
    odd = anna.post("/account/keys", data={"name": "x" * 101, "ends": "9999-99-99", "scopes": "read"})
    words = text_of(odd.text)
    assert "At most 100 letters" in words and "This is no day" in words
    fields = fields_of(odd.text)
    assert fields["name"] == "x" * 101 and fields["scopes"] == "read"
    unknown = anna.post("/account/keys", data={"name": "k", "scopes": "everything"})
    assert unknown.status_code == 422 and fields_of(unknown.text)["name"] == "k"
    assert anna.get("/api/keys").json() == {"keys": []}


def test_a_key_ends_with_its_last_day(anna: TestClient, service: Service) -> None:
    day = (service.now() + timedelta(days=3)).astimezone().date()
    anna.post("/account/keys", data={"name": "three days", "ends": day.isoformat(), "scopes": "chat"})
    key = anna.get("/api/keys").json()["keys"][0]
    assert key["scopes"] == ["chat"]
    ends = datetime.fromisoformat(key["expires_at"]).astimezone()
    assert (ends - timedelta(seconds=1)).date() == day and ends.date() == day + timedelta(days=1)


def test_the_bill_tells_a_month_in_words(anna: TestClient, service: Service) -> None:
    assert "No training in this month" in text_of(anna.get("/account/bill").text)
    account = account_of(anna)
    change_prices(service, free_rows_per_month=4)
    set_limits(
        service, account, monthly_cap_micro=5_000_000, job_cap_micro=None, balance_limit_micro=None, hold_reason=""
    )
    settle(service, submit(service, account, "first <i>"), Fraction(15, 2))
    submit(service, account, "second")
    balance = get_balance(service, account)
    assert balance.settled_micro == 6 * 100 * 30 * 15 // 2 == 135_000
    words = text_of(anna.get("/account/bill").text)
    assert "Cost of finished trainings CN¥0.135" in words
    assert "trainings that wait or run CN¥0.288" in words and "May still be spent CN¥4.58" in words
    assert "Free rows used 4" in words and "Free rows left 0 of 4" in words
    assert "first <i>" in words and "4,500 tokens at CN¥0.03 for 1,000" in words and "7.5 times" in words
    assert "CN¥0.288 held back" in words
    chinese = text_of(anna.get("/account/bill", headers={"accept-language": "zh"}).text)
    assert "已结算" in chinese and "暂扣" in chinese


def test_what_was_refunded_or_deleted_is_explained_too(anna: TestClient, service: Service) -> None:
    account = account_of(anna)
    change_prices(service, free_rows_per_month=0)
    failed, stopped = submit(service, account, "failed"), submit(service, account, "stopped")
    with service.database.writing() as session:
        ledger.refund(session, service, failed, "failed")
        ledger.refund(session, service, stopped, "cancelled")
        session.delete(session.get_one(Job, stopped.id))
    words = text_of(anna.get("/account/bill").text)
    assert "It failed, so it costs nothing: CN¥0.288" in words
    assert "Stopped before it had trained anything" in words and "a training that was deleted" in words


def test_months_can_be_switched(anna: TestClient, service: Service) -> None:
    submit(service, account_of(anna))
    this = get_balance(service, account_of(anna)).month
    with service.database.writing() as session:
        for line in session.query(LedgerEntry):
            line.month = "2026-02"
    page = anna.get("/account/bill").text
    assert "No training in this month" in text_of(page) and fields_of(page)["month"] == this
    page = anna.get("/account/bill?month=2026-02").text
    assert "February 2026" in text_of(page) and "shop" in page and 'value="2026-02" selected' in page
    assert "2026年2月" in anna.get("/account/bill?month=2026-02", headers={"accept-language": "zh"}).text
    for odd in ("2026-13", "last", "2026-02'--"):
        reply = anna.get("/account/bill", params={"month": odd})
        assert reply.status_code == 422 and "openapi" not in reply.text


def test_the_bill_is_worked_out_anew_when_it_is_asked_for(anna: TestClient, service: Service) -> None:
    settle(service, submit(service, account_of(anna)))
    assert "every line was worked out anew" in text_of(anna.get("/account/bill/check").text)
    with service.database.writing() as session:
        line = session.query(LedgerEntry).filter_by(kind="settle").one()
        line.amount_micro += 1
    page = anna.get("/account/bill/check").text
    assert 'role="alert"' in page and "worked out anew" not in page and line.id in page


RISKY = [
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    '=HYPERLINK("http://evil.example","x")',
    "+86 138-0013",
]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_file_of_lines_runs_nothing_and_adds_up(anna: TestClient, service: Service, language: str) -> None:
    account = account_of(anna)
    change_prices(service, free_rows_per_month=0)
    for name in RISKY:
        settle(service, submit(service, account, name))
    month = get_balance(service, account).month
    reply = anna.get(f"/account/bill/lines.csv?month={month}", headers={"accept-language": language})
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    assert f"postil-bill-{month}.csv" in reply.headers["content-disposition"]
    assert reply.content.startswith(b"\xef\xbb\xbf")  # or a spreadsheet shows Chinese as something else
    heading, *rows = csv.reader(io.StringIO(reply.content.decode("utf-8-sig")))
    assert len(rows) == 4 * len(RISKY) and all(len(row) == len(heading) for row in rows)
    sheet = openpyxl.Workbook().active
    assert sheet is not None
    for row in rows:
        sheet.append(row)
    assert {cell.data_type for line in sheet.iter_rows() for cell in line} <= {"s", "n"}
    texts = [cell for row in rows for cell in row]
    risky = [cell for cell in texts if re.match(r"[=+\-@\t\r]", cell) and not re.fullmatch(r"[+-][\d. -]+", cell)]
    assert not risky
    total = sum(round(float(row[-2]) * 1_000_000) for row in rows)
    assert total == sum(line.amount_micro for line in list_entries(service, account)) == 240_000 * len(RISKY)
    everything = anna.get("/account/bill/lines.csv", headers={"accept-language": language})
    assert everything.content == reply.content


def test_the_bill_is_one_s_own(anna: TestClient, berta: TestClient, service: Service) -> None:
    submit(service, account_of(anna), "annas shop")
    for path in ("/account/bill", "/account/bill/lines.csv", "/account/bill/check"):
        assert "annas shop" not in berta.get(path).text


def test_an_account_goes_for_good_after_a_warning_and_the_password(anna: TestClient, service: Service) -> None:
    account = account_of(anna)
    add_dataset(service, account)
    anna.post("/api/keys", json={"name": "k"})
    words = text_of(anna.get("/account/delete").text)
    assert "1 data set" in words and "1 key for programs" in words and "models" not in words
    assert "no way back" in words and "last 7 daily copies" in words and "up to a minute" not in words
    wrong = anna.post("/account/delete", data={"password": "not this one"})
    assert wrong.status_code == 403 and "1 data set" in text_of(wrong.text)
    assert get_account(service, account).disabled_at is None
    gone = anna.post("/account/delete", data={"password": PASSWORD})
    assert gone.status_code == 200 and "The account is deleted" in text_of(gone.text)
    assert "anna" not in gone.text and not [name for name in anna.cookies if name.endswith("session")]
    with pytest.raises(MissingInputError):
        get_account(service, account)
    assert anna.get("/account", follow_redirects=False).status_code == 303


def test_where_a_run_is_still_stopping_the_page_says_that_the_rest_goes_by_itself(
    anna: TestClient, service: Service
) -> None:
    account = account_of(anna)
    job = submit(service, account, state="running", attempt=1)
    assert "up to a minute to stop" in text_of(anna.get("/account/delete").text)
    going = anna.post("/account/delete", data={"password": PASSWORD})
    assert going.status_code == 200 and "is being deleted" in text_of(going.text)
    assert anna.get("/account", follow_redirects=False).status_code == 303
    with service.database.writing() as session:
        row = session.get_one(Job, job.id)
        assert row.wish == "cancel"
        row.state = "cancelled"  # as the supervisor does when the run has stopped
    finish_deletions(service)
    with pytest.raises(MissingInputError):
        get_account(service, account)


def test_the_last_admin_stays(new_client: NewClient, service: Service) -> None:
    root = new_client("root.of.it", role="admin")
    reply = root.post("/account/delete", data={"password": PASSWORD})
    assert reply.status_code == 409 and 'role="alert"' in reply.text
    assert root.get("/admin").status_code == 200
