"""The bill: what a month costs, training by training, how each amount came about, and the proof that it adds up."""

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date
from fractions import Fraction
from typing import Annotated, Any

from babel.dates import format_skeleton
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from postil.data.files.formulas import neutralise
from postil.errors import DataError
from postil.language import say
from postil.platform.money.audit import recompute
from postil.platform.money.bills import Line, get_balance
from postil.platform.money.statements import Statement, list_months, list_statements
from postil.platform.service import Service
from postil.web.auth import Reader, TheService
from postil.web.downloads import attachment
from postil.web.errors import describe_error
from postil.web.pages.formats import locale_now, money, number
from postil.web.pages.rendering import page
from postil.web.pages.typed import spell_amount

router = APIRouter(include_in_schema=False)
Month = Annotated[str | None, Query(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$")]
MOST_SHOWN = 200
"""Trainings on one page; the file has all."""
_COLUMNS = ("at", "month", "training", "name", "what", "rows", "free_rows", "tokens", "rate", "amount", "currency")
_BYTE_ORDER_MARK = "\ufeff"  # without it spreadsheets read Chinese as something else


@router.get("/account/bill")
def show(request: Request, visitor: Reader, service: TheService, month: Month = None) -> Response:
    """One month."""
    return _bill(request, service, visitor.account.id, month)


@router.get("/account/bill/check")
def check(request: Request, visitor: Reader, service: TheService, month: Month = None) -> Response:
    """The month again, after everything was worked out anew from the lines."""
    try:
        recompute(service, visitor.account.id)
    except DataError as error:
        return _bill(request, service, visitor.account.id, month, trouble=describe_error(error))
    return _bill(request, service, visitor.account.id, month, was_checked=True)


@router.get("/account/bill/lines.csv")
def download(visitor: Reader, service: TheService, month: Month = None) -> Response:
    """Every line of a month, or of all, for a spreadsheet."""
    text = io.StringIO()
    text.write(_BYTE_ORDER_MARK)
    writer = csv.writer(text)
    writer.writerow([say(f"account_page.csv.{column}") for column in _COLUMNS])
    for statement in reversed(list_statements(service, visitor.account.id, month)):
        writer.writerows(_cells(statement, line) for line in statement.lines)
    content = text.getvalue().encode()
    name = f"postil-bill-{month}.csv" if month else "postil-bill.csv"
    return attachment(name, iter((content,)), "text/csv; charset=utf-8", len(content))


def spell_month(month: str) -> str:
    """ "2026-11" as the reader's language writes it."""
    year, _, number_of_month = month.partition("-")
    return str(format_skeleton("yMMMM", date(int(year), int(number_of_month), 1), locale=locale_now()))


def explain(line: Line) -> str:
    """A line of the bill in one sentence: what it is, and out of which numbers."""
    details, amount = line.details, money(abs(line.amount_micro), line.currency)
    if line.kind == "refund":
        why = "cancelled" if details.get("why") == "cancelled" else "failed"
        return say(f"account_page.line.refund.{why}", amount=amount)
    if line.kind == "release":
        return say("account_page.line.release", amount=amount)
    price = int(details.get("price_micro", 0))
    most = details.get("most_micro") if line.kind == "settle" else None
    is_capped = most is not None and price > int(most)
    return say(
        f"account_page.line.{line.kind}{'.capped' if is_capped else ''}",
        amount=amount,
        rows=number(line.rows),
        free_rows=number(line.free_rows),
        passes=number(float(Fraction(str(details.get("passes", 0)))), 2),
        tokens=number(line.tokens),
        rate=money(line.rate_micro, line.currency),
        price=money(price, line.currency),
    )


def _cells(statement: Statement, line: Line) -> Iterator[object]:
    """One row of the file: texts cannot be formulas there, amounts are plain numbers."""
    amount = spell_amount(abs(line.amount_micro))
    yield line.created_at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    yield line.month
    yield statement.job_id
    yield neutralise(statement.name)
    yield neutralise(say(f"account_page.kind.{line.kind}"))
    yield line.rows
    yield line.free_rows
    yield line.tokens
    yield spell_amount(line.rate_micro)
    yield f"-{amount}" if line.amount_micro < 0 else amount
    yield neutralise(line.currency)


def _bill(request: Request, service: Service, account_id: str, month: str | None, **checked: Any) -> Response:
    balance = get_balance(service, account_id, month)
    statements = list_statements(service, account_id, balance.month)
    months = sorted({*list_months(service, account_id), balance.month, get_balance(service, account_id).month})
    return page(
        request,
        "account_bill.html",
        balance=balance,
        statements=statements[:MOST_SHOWN],
        num_statements=len(statements),
        months=[(name, spell_month(name)) for name in reversed(months)],
        month_in_words=spell_month(balance.month),
        explain=explain,
        **({"trouble": None, "was_checked": False} | checked),
    )
