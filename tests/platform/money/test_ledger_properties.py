"""The arithmetic of the bill, and any interleaving of its verbs, checked by Hypothesis against a second reckoning."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from postil.errors import QuotaError
from postil.platform.money import audit, bills, ledger, prices
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.platform.store.tables import Account, Job
from tests.platform.rows import add_account, new_job

tokens_of_rows = st.lists(st.integers(0, 4000), max_size=40).map(tuple)
passes = st.one_of(st.integers(0, 20), st.fractions(0, 20, max_denominator=97))
rates = st.integers(0, 10**6)


@given(tokens_of_rows, st.integers(0, 60), passes, rates)
def test_a_charge_by_counting_one_token_after_another(
    rows: tuple[int, ...], free: int, passes: int | Fraction, rate: int
) -> None:
    charge = ledger.charge_for(rows, free, passes, rate)
    paid = sum(tokens for number, tokens in enumerate(rows) if number >= free)
    assert charge.tokens == int(Fraction(paid) * passes) <= paid * passes
    assert 0 <= charge.price_micro <= Fraction(charge.tokens * rate, 1000) < charge.price_micro + 1
    assert charge.free_tokens + paid == charge.row_tokens == sum(rows)
    assert charge.free_rows <= min(free, len(rows))
    assert (charge.free_rows == min(free, len(rows))) or passes < 1


@given(tokens_of_rows, st.integers(0, 60), passes, passes, rates)
def test_more_passes_more_rows_and_less_free_never_cost_less(
    rows: tuple[int, ...], free: int, one: Fraction, more: Fraction, rate: int
) -> None:
    price = ledger.charge_for(rows, free, one, rate).price_micro
    assert price <= ledger.charge_for(rows, free, one + more, rate).price_micro
    assert price <= ledger.charge_for((*rows, 5), free, one, rate).price_micro
    assert price <= ledger.charge_for(rows, max(0, free - 1), one, rate).price_micro


@given(st.lists(st.integers(1, 500), min_size=1, max_size=20).map(tuple), st.integers(1, 12))
def test_stopping_anywhere_costs_its_share(rows: tuple[int, ...], steps_per_pass: int) -> None:
    """Step by step the cost only rises, and a whole pass costs a whole pass."""
    prices = [ledger.charge_for(rows, 0, Fraction(s, steps_per_pass), 30_000).price_micro for s in range(40)]
    assert prices == sorted(prices)
    assert prices[steps_per_pass] == sum(rows) * 30


@given(st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)), st.integers(-14, 14))
def test_a_month_is_utc_in_every_zone(moment: datetime, hours: int) -> None:
    from datetime import timezone

    utc = moment.replace(tzinfo=UTC)
    assert ledger.month_of(utc.astimezone(timezone(timedelta(hours=hours)))) == f"{moment:%Y-%m}"


@contextmanager
def small_service() -> Iterator[Service]:
    """A service on SQLite; what is random here is the order of calls, which the other tests try on both databases."""
    with TemporaryDirectory() as folder:
        service = open_service(load_settings(Path(folder), {"free_rows_per_month": 12}))
        yield service
        service.database.engine.dispose()


class Bill(RuleBasedStateMachine):
    """One account; jobs are submitted, settled and refunded in any order, twice, late, and while limits change."""

    def __init__(self) -> None:
        super().__init__()
        self._opened = small_service()
        self.time = datetime(2026, 1, 30, tzinfo=UTC)
        self.service = replace(self._opened.__enter__(), now=lambda: self.time)
        self.cap, self.most_free = 300_000, 12
        self.account = add_account(self.service, monthly_cap_micro=self.cap)
        self.jobs: dict[str, tuple[Job, tuple[int, ...], Fraction]] = {}
        self.cost: dict[str, int] = {}

    def teardown(self) -> None:
        self._opened.__exit__(None, None, None)

    @rule(rows=st.lists(st.integers(200, 400), min_size=10, max_size=20).map(tuple), passes=st.integers(1, 3))
    def submit(self, rows: tuple[int, ...], passes: int) -> None:
        job = new_job(self.service, self.account)
        before = bills.get_balance(self.service, self.account)
        with suppress(QuotaError), self.service.database.writing() as session:
            session.add(job)
            session.flush()
            held = ledger.reserve(session, self.service, job, rows, passes)
            self.jobs[job.id] = (job, rows, Fraction(passes))
            assert held.reserve_micro == ceil(held.charge.price_micro * Fraction("1.2"))
            assert before.left_micro is None or held.reserve_micro <= before.left_micro

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), share=st.sampled_from([Fraction(n, 8) for n in (0, 1, 4, 8, 9, 24, 64)]))
    def settle(self, data: st.DataObject, share: Fraction) -> None:
        """By more or less than was estimated: other tokenizers, a stop in the middle."""
        job, rows, passes = self._any_job(data)
        with self.service.database.writing() as session:
            cost = ledger.settle(session, self.service, job, rows, passes * share)
        assert cost == self.cost.setdefault(job.id, cost), "what has ended never changes"

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def refund(self, data: st.DataObject) -> None:
        job, _, _ = self._any_job(data)
        with self.service.database.writing() as session:
            given_back = ledger.refund(session, self.service, job, "platform_failed")
        assert given_back >= 0
        self.cost[job.id] = 0

    def _any_job(self, data: st.DataObject) -> tuple[Job, tuple[int, ...], Fraction]:
        """In order of submission: identifiers are random, and Hypothesis repeats what it has drawn."""
        return list(self.jobs.values())[data.draw(st.integers(0, len(self.jobs) - 1))]

    @rule(rate=st.sampled_from([0, 30_000, 45_000]), free=st.sampled_from([0, 5, 12, 14]))
    def change_prices(self, rate: int, free: int) -> None:
        self.most_free = max(self.most_free, free)
        prices.change_prices(self.service, rate_micro=rate, free_rows_per_month=free)

    @rule(hours=st.integers(-30, 24 * 20))
    def time_goes_on_or_back(self, hours: int) -> None:
        self.time += timedelta(hours=hours)

    @rule(more=st.integers(1, 40_000))
    def raise_cap(self, more: int) -> None:
        self.cap += more
        with self.service.database.writing() as session:
            session.get_one(Account, self.account).monthly_cap_micro = self.cap

    @invariant()
    def it_adds_up(self) -> None:
        shown = audit.recompute(self.service, self.account)
        lines = bills.list_entries(self.service, self.account)
        assert shown.total_micro == sum(line.amount_micro for line in lines)
        assert sum(self.cost.values()) == sum(line.amount_micro for line in lines if line.job_id in self.cost)
        for month in {line.month for line in lines}:
            of_month = bills.get_balance(self.service, self.account, month)
            assert of_month.settled_micro >= 0 and of_month.reserved_micro >= 0
            assert of_month.owed_micro <= self.cap, "the account's cap holds, whatever happened"
            assert 0 <= sum(line.free_rows for line in lines if line.month == month) <= self.most_free


TestBill = Bill.TestCase
TestBill.settings = settings(
    max_examples=20, stateful_step_count=16, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
