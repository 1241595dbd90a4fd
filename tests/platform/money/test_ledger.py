"""The ledger on both databases: reserve, settle, refund, caps, months, prices, and fifty at once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from threading import Barrier

import pytest
from sqlalchemy import func, select

from postil.errors import DataError, QuotaError, UsageError
from postil.platform.money import audit, bills, ledger, prices
from postil.platform.service import Service
from postil.platform.store.tables import Account, Job, LedgerEntry
from tests.platform.conftest import Clock, NewService
from tests.platform.rows import add_account, new_job

# 10 rows of 100 tokens: with no free row, one pass is 1000 tokens, 0.03
ROWS = (100,) * 10
PRICE = 30_000


@pytest.fixture
def paid(new_service: NewService) -> Service:
    """A service without free rows."""
    return new_service(free_rows_per_month=0)


def submit(service: Service, account_id: str, rows: tuple[int, ...] = ROWS, passes: float | Fraction = 1) -> Job:
    """A job whose money is held."""
    with service.database.writing() as session:
        job = new_job(service, account_id)
        session.add(job)
        ledger.reserve(session, service, job, rows, passes)
    return job


def settle(service: Service, job: Job, rows: tuple[int, ...] = ROWS, passes: float | Fraction = 1) -> int:
    with service.database.writing() as session:
        return ledger.settle(session, service, job, rows, passes)


def refund(service: Service, job: Job) -> int:
    with service.database.writing() as session:
        return ledger.refund(session, service, job, "platform_failed")


def kinds(service: Service, account_id: str) -> list[str]:
    return sorted(line.kind for line in bills.list_entries(service, account_id))


def test_a_job_holds_more_than_its_estimate_and_pays_what_it_took(paid: Service) -> None:
    account = add_account(paid)
    job = submit(paid, account, passes=8)
    held = bills.get_balance(paid, account)
    assert (held.settled_micro, held.reserved_micro, held.total_micro) == (0, 8 * PRICE * 12 // 10, 288_000)
    assert settle(paid, job, passes=Fraction(15, 2)) == PRICE * 15 // 2
    after = bills.get_balance(paid, account)
    assert (after.settled_micro, after.reserved_micro, after.owed_micro) == (225_000, 0, 225_000)
    assert kinds(paid, account) == ["estimate", "release", "reserve", "settle"]
    assert audit.recompute(paid, account) == after


def test_the_source_s_prices(service: Service) -> None:
    """1000 rows of a month free, then 0.03 for 1000 tokens: 1200 rows of 50 tokens, 3 passes."""
    account = add_account(service)
    rows = (50,) * 1200
    job = submit(service, account, rows, 3)
    assert settle(service, job, rows, 3) == 200 * 50 * 3 * 30
    balance = bills.get_balance(service, account)
    assert (balance.free_rows_left, balance.free_rows_per_month) == (0, 1000)
    assert audit.recompute(service, account) == balance


def test_settling_and_refunding_twice_write_once(paid: Service) -> None:
    account = add_account(paid)
    one, other = submit(paid, account), submit(paid, account)
    assert [settle(paid, one), settle(paid, one, passes=5)] == [PRICE, PRICE]
    assert [refund(paid, other), refund(paid, other)] == [36_000, 0]
    assert settle(paid, other) == 0, "what was refunded is not charged any more"
    assert kinds(paid, account) == ["estimate", "estimate", "refund", "release", "reserve", "reserve", "settle"]
    assert bills.get_balance(paid, account).total_micro == PRICE


def test_a_settled_job_can_be_refunded(paid: Service) -> None:
    account = add_account(paid)
    job = submit(paid, account)
    settle(paid, job)
    assert refund(paid, job) == PRICE
    balance = bills.get_balance(paid, account)
    assert (balance.settled_micro, balance.reserved_micro) == (0, 0)
    assert audit.recompute(paid, account) == balance


def test_free_rows_are_taken_in_file_order_and_given_back(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=12)
    account = add_account(service)
    first = submit(service, account, (1000, *ROWS[1:]))
    second = submit(service, account)
    with service.database.reading() as session:
        lines = ledger.lines_of(session, second.id)
        assert (lines["reserve"].free_rows, lines["reserve"].tokens) == (2, 800)
    assert bills.get_balance(service, account).free_rows_left == 0
    refund(service, first)
    assert bills.get_balance(service, account).free_rows_left == 10
    assert settle(service, second) == 0, "the rows that the first job gave back are free for the second"
    assert bills.get_balance(service, account).free_rows_left == 2
    audit.recompute(service, account)


def test_a_part_of_a_pass_takes_a_part_of_the_free_rows(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=5)
    account = add_account(service)
    job = submit(service, account, passes=4)
    assert settle(service, job, passes=Fraction(1, 10)) == 50 * 30
    assert bills.get_balance(service, account).free_rows_left == 4
    other = submit(service, account)
    assert settle(service, other, passes=0) == 0
    assert bills.get_balance(service, account).free_rows_left == 4, "a job that trained nothing uses no free row"


def test_a_job_belongs_to_the_month_of_its_submission(new_service: NewService, clock: Clock) -> None:
    service = new_service(free_rows_per_month=10)
    account = add_account(service)
    clock.time = datetime(2026, 1, 31, 23, 59, 59, tzinfo=UTC)
    job = submit(service, account)
    clock.go(seconds=1)
    assert bills.get_balance(service, account).free_rows_left == 10, "a new month, and nothing of it is used"
    settle(service, job, passes=2)
    assert {line.month for line in bills.list_entries(service, account)} == {"2026-01"}
    assert bills.get_balance(service, account, "2026-01").free_rows_left == 0
    assert submit(service, account).id and bills.get_balance(service, account).free_rows_left == 0
    assert audit.recompute(service, account).month == "2026-02"


def test_months_are_utc_wherever_the_clock_stands() -> None:
    shanghai = timezone(timedelta(hours=8))
    assert ledger.month_of(datetime(2026, 2, 1, 7, 59, tzinfo=shanghai)) == "2026-01"
    assert ledger.month_of(datetime(2026, 2, 1, 8, 0, tzinfo=shanghai)) == "2026-02"


def test_a_clock_that_goes_back_changes_no_month(new_service: NewService, clock: Clock) -> None:
    service = new_service(free_rows_per_month=10)
    account = add_account(service)
    clock.time = datetime(2026, 2, 1, 0, 0, 5, tzinfo=UTC)
    job = submit(service, account)
    clock.go(days=-1)
    settle(service, job)
    assert {line.month for line in bills.list_entries(service, account)} == {"2026-02"}
    audit.recompute(service, account)


def test_what_the_account_cannot_pay_is_refused_and_leaves_nothing(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=0, account_cap_micro=100_000)
    account = add_account(service)
    submit(service, account, passes=2)
    with pytest.raises(QuotaError, match=r"0\.04 CNY would be held back for it, and 0\.03 CNY is left"):
        submit(service, account)
    with service.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1
    assert bills.get_balance(service, account).left_micro == 28_000


def test_limits_of_the_account_s_own_win(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=0, account_cap_micro=0, job_cap_micro=0)
    rich = add_account(service, monthly_cap_micro=10**9, job_cap_micro=10**9)
    prepaid = add_account(service, "lei", monthly_cap_micro=10**9, job_cap_micro=10**9, balance_limit_micro=PRICE)
    assert submit(service, rich)
    with pytest.raises(QuotaError):
        submit(service, prepaid)


def test_what_may_be_owed_in_all_is_not_renewed_by_a_month(paid: Service, clock: Clock) -> None:
    account = add_account(paid, balance_limit_micro=60_000)
    settle(paid, submit(paid, account))
    clock.go(days=40)
    with pytest.raises(QuotaError):
        submit(paid, account)


def test_a_job_is_never_charged_over_its_cap(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=0, job_cap_micro=40_000)
    account = add_account(service)
    with pytest.raises(QuotaError, match=r"cost about 0\.06 CNY, and one job may cost 0\.04 CNY at most"):
        submit(service, account, passes=2)
    job = submit(service, account)
    with service.database.reading() as session:
        inside = ledger.cost_so_far(session, service, job, ROWS, Fraction(1, 2))
        beyond = ledger.cost_so_far(session, service, job, ROWS, 3)
    assert asdict(inside) == {"amount_micro": PRICE // 2, "most_micro": 40_000, "is_over": False}
    assert asdict(beyond) == {"amount_micro": 40_000, "most_micro": 40_000, "is_over": True}
    assert settle(service, job, passes=3) == 40_000
    audit.recompute(service, account)


def test_a_month_is_never_charged_over_the_account_s_cap(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=0, account_cap_micro=80_000)
    account = add_account(service)
    one, other = submit(service, account), submit(service, account)
    assert settle(service, one, passes=9) == 44_000, "what the other job holds stays its own"
    assert settle(service, other, passes=9) == 36_000
    assert bills.get_balance(service, account).left_micro == 0
    audit.recompute(service, account)


def test_new_prices_are_for_later_jobs(paid: Service) -> None:
    account = add_account(paid)
    before = submit(paid, account)
    prices.change_prices(paid, rate_micro=60_000, reserve_factor=2.0)
    after = submit(paid, account)
    assert settle(paid, before) == PRICE
    assert settle(paid, after) == 2 * PRICE
    audit.recompute(paid, account)


def test_fewer_free_rows_are_for_later_jobs(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=10)
    account = add_account(service)
    before = submit(service, account)
    prices.change_prices(service, free_rows_per_month=4)
    assert bills.get_balance(service, account).free_rows_left == 0
    assert settle(service, before) == 0
    assert audit.recompute(service, account).free_rows_left == 0


def test_wrong_prices_change_nothing(paid: Service) -> None:
    prices.change_prices(paid, rate_micro=5)
    with pytest.raises(UsageError) as caught:
        prices.change_prices(paid, rate_micro=-1, currency="", colour="red")
    assert all(name in caught.value.message for name in ("rate_micro", "currency", "colour"))
    assert prices.get_prices(paid).rate_micro == 5


def test_a_team_that_pays_nothing(new_service: NewService) -> None:
    service = new_service(free_rows_per_month=0, price_micro_per_1000_tokens=0, account_cap_micro=0)
    account = add_account(service)
    assert settle(service, submit(service, account, passes=100), passes=100) == 0
    assert audit.recompute(service, account).total_micro == 0


def test_fifty_at_once_with_money_for_one(new_service: NewService) -> None:
    """Real threads, a connection each: one starts, 49 are told what is missing."""
    service = new_service(free_rows_per_month=0, account_cap_micro=50_000)
    account = add_account(service)
    together = Barrier(50)

    def try_once(_: int) -> str:
        together.wait()
        try:
            return submit(service, account).id
        except QuotaError as error:
            return error.message

    with ThreadPoolExecutor(50) as pool:
        said = list(pool.map(try_once, range(50)))
    assert sum(text.startswith("job_") for text in said) == 1
    refusals = {text for text in said if not text.startswith("job_")}
    expected = "The account cannot pay for this job: 0.04 CNY would be held back for it, and 0.01 CNY is left."
    assert refusals == {expected}
    with service.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1
    assert audit.recompute(service, account).reserved_micro == 36_000


def test_settled_by_eight_at_once_is_settled_once(paid: Service) -> None:
    account = add_account(paid)
    job = submit(paid, account)
    together = Barrier(8)

    def end(number: int) -> int:
        together.wait()
        return refund(paid, job) if number % 2 else settle(paid, job)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(end, range(8)))
    assert bills.get_balance(paid, account).total_micro == 0
    assert "refund" in kinds(paid, account)
    audit.recompute(paid, account)


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("amount_micro", 1, "amount 1, its numbers give"),
        ("tokens", 7, "7 tokens, its rows and passes give"),
        ("free_rows", 11, "more free rows than rows"),
    ],
)
def test_an_edited_line_is_found(paid: Service, column: str, value: int, says: str) -> None:
    account = add_account(paid)
    settle(paid, submit(paid, account))
    audit.recompute(paid, account)
    with paid.database.writing() as session:
        line = session.scalars(select(LedgerEntry).where(LedgerEntry.kind == "settle")).one()
        setattr(line, column, value)
    with pytest.raises(DataError, match=says):
        audit.recompute(paid, account)


def test_a_lost_line_is_found(paid: Service) -> None:
    account = add_account(paid)
    settle(paid, submit(paid, account))
    with paid.database.writing() as session:
        session.delete(session.scalars(select(LedgerEntry).where(LedgerEntry.kind == "release")).one())
    with pytest.raises(DataError, match="settled without release"):
        audit.recompute(paid, account)


def test_what_a_job_shows_is_compared_with_its_lines(paid: Service) -> None:
    account = add_account(paid)
    job = submit(paid, account)
    settle(paid, job)
    with paid.database.writing() as session:
        session.get_one(Job, job.id).actual = {"price_micro": PRICE + 1}
    with pytest.raises(DataError, match="shown price 30001, its lines say 30000"):
        audit.recompute(paid, account)


def test_the_bill_of_somebody_else(paid: Service) -> None:
    mine, theirs = add_account(paid), add_account(paid, "lei")
    job = submit(paid, mine)
    assert bills.list_entries(paid, theirs, job_id=job.id) == ()
    assert bills.list_entries(paid, mine, job_id="' OR 1=1 --") == ()
    assert bills.get_balance(paid, theirs).total_micro == 0


def test_lines_outlive_the_account(paid: Service) -> None:
    account = add_account(paid)
    settle(paid, submit(paid, account))
    with paid.database.writing() as session:
        session.delete(session.get_one(Account, account))
    assert sum(line.amount_micro for line in bills.list_entries(paid, account)) == PRICE
