"""The bill: lines are added, never changed, and every amount that anybody sees is a sum of lines.

    submitted   estimate   0     what it would cost, and out of which numbers
                reserve   +R     the estimate x reserve_factor, rounded up; holds money and free rows
    ended       settle    +S     by the tokens that were really trained
                release   -R
    or          refund    -R     it costs nothing: the platform failed, or it was cancelled before it trained

What an account owes in a month is the sum of its lines, money held back included; its free rows used are the sum of
`free_rows`, in the same way. A job has at most one line of each kind (the table says so too), so that whatever is
called twice writes once. All lines of a job belong to the month, in UTC, in which it was submitted, and carry the
prices of that moment.

    billable tokens = all tokens of the trained rows past the free ones, in file order, x passes really run
    amount          = billable tokens x rate / 1000, rounded down, and never over the caps of job and account

On PostgreSQL every writer locks the account's row first; on SQLite writers come one after the other anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from math import ceil
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from postil.advice.pricing import billable_tokens, free_rows_used, price_micro, spell_micro
from postil.errors import QuotaError
from postil.platform.ids import new_id
from postil.platform.money.prices import PriceList, current_prices
from postil.platform.store.tables import Account, Job, LedgerEntry

if TYPE_CHECKING:
    from postil.platform.service import Service

Kind = Literal["estimate", "reserve", "settle", "release", "refund"]


@dataclass(frozen=True, slots=True)
class Charge:
    """What some rows cost, and out of which numbers.

    Args:
        rows: that train.
        row_tokens: all tokens of these rows, one pass.
        free_rows: of the account's month that this takes; a part of the first pass takes its share, rounded up.
        free_tokens: tokens of the rows that cost nothing, one pass.
        passes: over the rows.
        tokens: that cost something, all passes.
        price_micro: before any cap.
    """

    rows: int
    row_tokens: int
    free_rows: int
    free_tokens: int
    passes: Fraction
    tokens: int
    rate_micro: int
    price_micro: int


@dataclass(frozen=True, slots=True)
class Reserved:
    """What a submitted job holds back."""

    charge: Charge
    reserve_micro: int
    currency: str


@dataclass(frozen=True, slots=True)
class CostSoFar:
    """What a running job would cost if it ended now.

    Args:
        most_micro: the most that it may cost, by the caps of job and account; None: no cap.
        is_over: the caps have been reached; the run is to stop at its next checkpoint.
    """

    amount_micro: int
    most_micro: int | None
    is_over: bool


def charge_for(row_tokens: Sequence[int], free_rows_left: int, passes: int | float | Fraction, rate: int) -> Charge:
    """Works out what rows cost; exact, in whole numbers.

    Args:
        row_tokens: all tokens of each row that trains, in file order.
        passes: over the rows; a float counts as the fraction that it is.
        rate: micro-units for 1000 tokens.
    """
    exact = Fraction(passes)
    free = free_rows_used(len(row_tokens), free_rows_left)
    tokens = billable_tokens(row_tokens, free, exact)
    return Charge(
        rows=len(row_tokens),
        row_tokens=sum(row_tokens),
        free_rows=ceil(free * min(Fraction(1), exact)),
        free_tokens=sum(row_tokens[:free]),
        passes=exact,
        tokens=tokens,
        rate_micro=rate,
        price_micro=price_micro(tokens, rate),
    )


def month_of(moment: datetime) -> str:
    """The calendar month in UTC, such as "2026-11"."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def quote(
    session: Session, service: "Service", account_id: str, row_tokens: Sequence[int], passes: float | Fraction
) -> Charge:
    """What a job would be estimated at if it were submitted now; writes nothing."""
    prices = current_prices(session, service.settings)
    left = free_rows_left(session, account_id, month_of(service.now()), prices.free_rows_per_month)
    return charge_for(row_tokens, left, passes, prices.rate_micro)


def reserve(
    session: Session, service: "Service", job: Job, row_tokens: Sequence[int], passes: float | Fraction
) -> Reserved:
    """Holds back what the job may cost, in the transaction that submits it.

    Args:
        job: its id and its account; the row may be new.
        row_tokens: of the rows that will train, in file order.
        passes: that it will take over them.

    Raises:
        QuotaError: the money of the account, or the cap of a job, does not suffice; nothing is written.
    """
    account = lock_account(session, job.account_id)
    prices = current_prices(session, service.settings)
    month = month_of(service.now())
    left = free_rows_left(session, account.id, month, prices.free_rows_per_month)
    charge = charge_for(row_tokens, left, passes, prices.rate_micro)
    amount = reserve_amount(session, service, account, charge)
    terms = {"free_rows_per_month": prices.free_rows_per_month, "reserve_factor": str(prices.reserve_factor)}
    terms |= {"cap_micro": job_cap(account, prices)}
    add = _Lines(session, job, month, prices.currency, service.now()).add
    add("estimate", 0, charge, {"price_micro": charge.price_micro})
    add("reserve", amount, charge, {"price_micro": charge.price_micro, **terms}, free_rows=charge.free_rows)
    return Reserved(charge, amount, prices.currency)


def reserve_amount(session: Session, service: "Service", account: Account, charge: Charge) -> int:
    """What a job that is estimated so would hold back now, in micro-units; writes nothing.

    Raises:
        QuotaError: the money of the account, or the cap of a job, does not suffice.
    """
    prices, month = current_prices(session, service.settings), month_of(service.now())
    cap = job_cap(account, prices)
    if cap is not None and charge.price_micro > cap:
        raise QuotaError("platform.money.job_cap", **_sums(prices, needed=charge.price_micro, cap=cap))
    amount = ceil(charge.price_micro * Fraction(str(prices.reserve_factor)))
    amount = amount if cap is None else min(amount, cap)
    room = room_left(session, account, prices, month)
    if room is not None and amount > max(0, room):
        raise QuotaError("platform.money.account_cap", **_sums(prices, needed=amount, left=max(0, room)))
    return amount


def settle(
    session: Session, service: "Service", job: Job, row_tokens: Sequence[int], passes: int | float | Fraction
) -> int:
    """Writes what the job really cost and gives its reserve back; a second call writes nothing.

    Args:
        row_tokens: of the rows that trained, in file order (`tokens.json` of the run).
        passes: really run over them; steps done / steps of one pass, as a Fraction.

    Returns:
        What the job costs, in micro-units: also where it was settled before, and 0 where it was refunded.
    """
    lock_account(session, job.account_id)
    lines = lines_of(session, job.id)
    held = lines.get("reserve")
    if held is None or "settle" in lines or "refund" in lines:
        return sum(line.amount_micro for line in lines.values())
    charge = _charge_now(session, held, row_tokens, passes)
    most = _most_micro(session, service, held)
    amount = charge.price_micro if most is None else min(charge.price_micro, most)
    add = _Lines(session, job, held.month, held.currency, service.now()).add
    add("settle", amount, charge, {"price_micro": charge.price_micro, "most_micro": most}, free_rows=charge.free_rows)
    add("release", -held.amount_micro, None, {}, free_rows=-held.free_rows)
    return amount


def refund(session: Session, service: "Service", job: Job, why: str) -> int:
    """Gives back all that the job holds or has cost; a second call writes nothing.

    Args:
        why: a short code, such as "cancelled" or "platform_failed", kept with the line.

    Returns:
        What was given back, in micro-units.
    """
    lock_account(session, job.account_id)
    lines = lines_of(session, job.id)
    if "reserve" not in lines or "refund" in lines:
        return 0
    held = lines["reserve"]
    amount = sum(line.amount_micro for line in lines.values())
    free_rows = sum(line.free_rows for kind, line in lines.items() if kind != "estimate")
    add = _Lines(session, job, held.month, held.currency, service.now()).add
    add("refund", -amount, None, {"why": why}, free_rows=-free_rows)
    return amount


def cost_so_far(
    session: Session, service: "Service", job: Job, row_tokens: Sequence[int], passes: int | float | Fraction
) -> CostSoFar:
    """What the job would cost if it ended now; the arguments are those of `settle`."""
    lines = lines_of(session, job.id)
    held = lines.get("reserve")
    if held is None or "settle" in lines or "refund" in lines:
        return CostSoFar(sum(line.amount_micro for line in lines.values()), None, False)
    charge = _charge_now(session, held, row_tokens, passes)
    most = _most_micro(session, service, held)
    if most is None:
        return CostSoFar(charge.price_micro, None, False)
    return CostSoFar(min(charge.price_micro, most), most, charge.price_micro > most)


def lines_of(session: Session, job_id: str) -> dict[str, LedgerEntry]:
    """The lines of a job by their kind."""
    found = session.scalars(select(LedgerEntry).where(LedgerEntry.job_id == job_id))
    return {line.kind: line for line in found}


def free_rows_left(session: Session, account_id: str, month: str, allowance: int, but: str | None = None) -> int:
    """Free rows of a month that no job has used or holds.

    Args:
        allowance: free rows of a month.
        but: id of a job whose own lines are left out.
    """
    used = _sum(session, LedgerEntry.free_rows, account_id, month, but)
    return max(0, allowance - used)


def room_left(session: Session, account: Account, prices: PriceList, month: str, but: str | None = None) -> int | None:
    """What the account may still spend: of its month, and of what it may owe in all; None where nothing limits it.

    Below 0 where a limit was lowered under what is owed already.
    """
    cap = prices.account_cap_micro if account.monthly_cap_micro is None else account.monthly_cap_micro
    rooms = []
    if cap is not None:
        rooms.append(cap - _sum(session, LedgerEntry.amount_micro, account.id, month, but))
    if account.balance_limit_micro is not None:
        owed = _sum(session, LedgerEntry.amount_micro, account.id, None, but)
        rooms.append(account.balance_limit_micro - owed)
    return min(rooms, default=None)


def job_cap(account: Account, prices: PriceList) -> int | None:
    """What one job of the account may cost."""
    return prices.job_cap_micro if account.job_cap_micro is None else account.job_cap_micro


def lock_account(session: Session, account_id: str) -> Account:
    """The account's row, held until the transaction ends, so that sums of its lines stay true."""
    query = select(Account).where(Account.id == account_id).with_for_update(key_share=True)
    return session.execute(query, execution_options={"populate_existing": True}).scalar_one()


def _charge_now(
    session: Session, held: LedgerEntry, row_tokens: Sequence[int], passes: int | float | Fraction
) -> Charge:
    """By the prices of the submission; free rows that others have given back meanwhile are used too."""
    allowance = int(held.details["free_rows_per_month"])
    left = free_rows_left(session, held.account_id, held.month, allowance, but=held.job_id)
    return charge_for(row_tokens, max(held.free_rows, left), passes, held.rate_micro)


def _most_micro(session: Session, service: "Service", held: LedgerEntry) -> int | None:
    """The most that the job may cost: its own cap, and what others leave of the account's; never less than it holds."""
    account = session.get_one(Account, held.account_id)
    prices = current_prices(session, service.settings)
    room = room_left(session, account, prices, held.month, but=held.job_id)
    room = None if room is None else max(held.amount_micro, room)
    return min((x for x in (held.details["cap_micro"], room) if x is not None), default=None)


def _sum(session: Session, column: Any, account_id: str, month: str | None, but: str | None) -> int:
    query = select(func.coalesce(func.sum(column), 0)).where(LedgerEntry.account_id == account_id)
    if month is not None:
        query = query.where(LedgerEntry.month == month)
    if but is not None:
        query = query.where(LedgerEntry.job_id.is_distinct_from(but))
    return int(session.execute(query).scalar_one())


def _sums(prices: PriceList, **amounts: int) -> dict[str, str]:
    return {name: f"{spell_micro(amount)} {prices.currency}" for name, amount in amounts.items()}


@dataclass(frozen=True, slots=True)
class _Lines:
    """Adds lines of one job."""

    session: Session
    job: Job
    month: str
    currency: str
    now: datetime

    def add(
        self, kind: Kind, amount: int, charge: Charge | None, details: dict[str, Any], *, free_rows: int = 0
    ) -> None:
        numbers: dict[str, Any] = {}
        if charge is not None:
            numbers = {"tokens": charge.tokens, "rows": charge.rows, "rate_micro": charge.rate_micro}
            details = details | {
                "row_tokens": charge.row_tokens,
                "free_tokens": charge.free_tokens,
                "passes": str(charge.passes),
            }
        line = LedgerEntry(
            id=new_id("led"),
            account_id=self.job.account_id,
            job_id=self.job.id,
            kind=kind,
            amount_micro=amount,
            free_rows=free_rows,
            currency=self.currency,
            month=self.month,
            details=details,
            created_at=self.now,
            **numbers,
        )
        self.session.add(line)
        self.session.flush()
