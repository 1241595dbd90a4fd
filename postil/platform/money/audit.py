"""The proof that the bill adds up: every figure that is shown follows from the lines of the ledger.

Each line is worked out anew from the numbers that it carries, all of them are added up here and not in the database,
and the sums are compared with what `bills.py` shows and with what the jobs' own rows say.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import load_only

from postil.advice.pricing import price_micro
from postil.errors import DataError
from postil.platform.money.bills import Balance, balance_of, job_cost, make_balance
from postil.platform.service import Service
from postil.platform.store.tables import Account, Job, LedgerEntry


def recompute(service: Service, account_id: str) -> Balance:
    """Works the whole bill of an account out anew and compares it with what is shown.

    Returns:
        The balance of the current month, out of the lines alone.

    Raises:
        DataError: a line does not follow from its own numbers, a job's lines do not close, or a figure that is shown
            is not the sum of lines; the sentence names each.
    """
    shown, entries, jobs = _read(service, account_id)
    by_job = _by_job(entries)
    faults = [fault for entry in entries for fault in _faults_of_line(entry)]
    faults += [fault for lines in by_job.values() for fault in _faults_of_job(lines)]
    faults += [fault for job_id, lines in by_job.items() for fault in _shown_faults(jobs.get(job_id), lines)]
    own = _from_lines(entries, shown)
    if own != shown:
        faults.append(f"balance: shown {shown}, lines say {own}")
    if faults:
        raise DataError("platform.money.does_not_add_up", account=account_id, faults="\n  ".join(faults))
    return own


def _read(service: Service, account_id: str) -> tuple[Balance, list[LedgerEntry], dict[str, Job]]:
    """Figures and lines of one moment; what takes its time comes after, when others may write again."""
    with service.database.writing() as session:
        session.scalar(select(Account.id).where(Account.id == account_id).with_for_update(key_share=True))
        shown = balance_of(session, service, account_id)
        entries = list(session.scalars(select(LedgerEntry).where(LedgerEntry.account_id == account_id)))
        columns = load_only(Job.id, Job.estimate, Job.actual)
        jobs = session.scalars(select(Job).where(Job.account_id == account_id).options(columns))
        return shown, entries, {job.id: job for job in jobs}


def _from_lines(entries: Sequence[LedgerEntry], shown: Balance) -> Balance:
    """The balance by plain addition; limits and prices are those of `shown`."""
    of_month = [e for e in entries if e.month == shown.month]
    by_kind: dict[str, int] = {}
    for lines in _by_job(of_month).values():
        for kind, line in lines.items():
            name = "refund_settled" if kind == "refund" and "settle" in lines else kind
            by_kind[name] = by_kind.get(name, 0) + line.amount_micro
    used = sum(e.free_rows for e in of_month)
    return make_balance(
        by_kind,
        month=shown.month,
        currency=shown.currency,
        total_micro=sum(e.amount_micro for e in entries),
        free_rows_per_month=shown.free_rows_per_month,
        free_rows_left=max(0, shown.free_rows_per_month - used),
        rate_micro=shown.rate_micro,
        left_micro=shown.left_micro,
    )


def _faults_of_line(line: LedgerEntry) -> Iterable[str]:
    """A line against the numbers that it carries."""
    details = line.details
    if line.kind in ("estimate", "reserve", "settle"):
        passes = Fraction(details["passes"])
        tokens = int((details["row_tokens"] - details["free_tokens"]) * passes)
        price = price_micro(line.tokens, line.rate_micro)
        if tokens != line.tokens:
            yield f"{line.id}: {line.tokens} tokens, its rows and passes give {tokens}"
        if price != details["price_micro"]:
            yield f"{line.id}: price {details['price_micro']}, its tokens and rate give {price}"
        wanted = _amount(line.kind, price, details)
        if wanted != line.amount_micro:
            yield f"{line.id}: amount {line.amount_micro}, its numbers give {wanted}"
    if line.free_rows > line.rows and line.kind != "release":
        yield f"{line.id}: more free rows than rows"


def _amount(kind: str, price: int, details: Mapping[str, Any]) -> int:
    if kind == "estimate":
        return 0
    if kind == "reserve":
        amount, most = ceil(price * Fraction(details["reserve_factor"])), details["cap_micro"]
    else:
        amount, most = price, details["most_micro"]
    return amount if most is None else min(amount, int(most))


def _faults_of_job(lines: Mapping[str, LedgerEntry]) -> Iterable[str]:
    """The lines of one job against each other."""
    held, kinds = lines.get("reserve"), set(lines)
    job = next(iter(lines.values())).job_id
    if held is None or "estimate" not in kinds:
        yield f"{job}: no estimate or no reserve among {sorted(kinds)}"
        return
    if ("settle" in kinds) != ("release" in kinds):
        yield f"{job}: settled without release, or released without settling"
    if "release" in lines and _pair(lines["release"]) != (-held.amount_micro, -held.free_rows):
        yield f"{job}: the release is not what was reserved"
    amount = sum(line.amount_micro for line in lines.values())
    free_rows = sum(line.free_rows for line in lines.values())
    if "refund" in lines and (amount, free_rows) != (0, 0):
        yield f"{job}: refunded, but {amount} and {free_rows} free rows stand"
    if amount < 0 or free_rows < 0:
        yield f"{job}: less than nothing"
    if len({(line.month, line.currency, line.account_id) for line in lines.values()}) > 1:
        yield f"{job}: lines of two months, currencies or accounts"


def _shown_faults(job: Job | None, lines: Mapping[str, LedgerEntry]) -> Iterable[str]:
    """What the job's own row says against its lines."""
    if job is None:
        return
    cost = job_cost(lines)
    said, paid = (job.estimate or {}).get("price_micro"), (job.actual or {}).get("price_micro")
    if said is not None and said != cost.estimate_micro:
        yield f"{job.id}: shown estimate {said}, its line says {cost.estimate_micro}"
    if paid is not None and paid != cost.settled_micro:
        yield f"{job.id}: shown price {paid}, its lines say {cost.settled_micro}"


def _pair(line: LedgerEntry) -> tuple[int, int]:
    return line.amount_micro, line.free_rows


def _by_job(entries: Iterable[LedgerEntry]) -> dict[str, dict[str, LedgerEntry]]:
    found: dict[str, dict[str, LedgerEntry]] = {}
    for entry in entries:
        found.setdefault(str(entry.job_id), {})[entry.kind] = entry
    return found
