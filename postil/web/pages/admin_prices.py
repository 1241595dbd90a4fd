"""What training costs here, for an admin: each price with what it means, and what a usual training comes to."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.advice.pricing import price_micro
from postil.errors import PostilError
from postil.platform.money.prices import PriceList, change_prices, get_prices
from postil.platform.service import Service
from postil.web.auth import Admin, TheService
from postil.web.errors import Reply, describe_error
from postil.web.pages.forms import Form
from postil.web.pages.rendering import page, see
from postil.web.pages.typed import MICRO, TheForm, Typed, spell_amount

router = APIRouter(include_in_schema=False)
EXAMPLE_ROWS, EXAMPLE_TOKENS, EXAMPLE_PASSES = 1500, 80, 3
MOST_PERCENT = 900
_NEEDED = ("rate", "free_rows", "currency", "reserve_percent")


@router.get("/admin/prices")
def show(request: Request, visitor: Admin, service: TheService, done: str = "") -> Response:
    """Prices in force."""
    return _prices(request, service, _as_kept(get_prices(service)), is_saved=done == "saved")


@router.post("/admin/prices")
def change(request: Request, visitor: Admin, service: TheService, form: TheForm) -> Response:
    """Changes prices for trainings that are started from now on."""
    typed = Typed(form)
    rate, free_rows = typed.amount("rate"), typed.count("free_rows")
    percent = typed.amount("reserve_percent")
    account_cap, job_cap = typed.amount("account_cap"), typed.amount("job_cap")
    currency = typed.text("currency", 8)
    for name in _NEEDED:
        typed.needed(name)
    if percent is not None and percent > MOST_PERCENT * MICRO:
        typed.blame("reserve_percent", "admin_page.prices.too_much", most=MOST_PERCENT)
    if typed.wrong or rate is None or percent is None:
        return _prices(request, service, typed, status=422)
    try:
        change_prices(
            service,
            rate_micro=rate,
            free_rows_per_month=free_rows,
            currency=currency,
            reserve_factor=1 + percent / MICRO / 100,
            account_cap_micro=account_cap,
            job_cap_micro=job_cap,
        )
    except PostilError as error:
        return _prices(request, service, typed, trouble=describe_error(error))
    return see("/admin/prices?done=saved")


def _as_kept(prices: PriceList) -> Typed:
    """The form, filled in with what is in force."""
    fields = {
        "rate": spell_amount(prices.rate_micro),
        "free_rows": str(prices.free_rows_per_month),
        "currency": prices.currency,
        "reserve_percent": spell_amount(round(100 * MICRO * (prices.reserve_factor - 1))),
        "account_cap": spell_amount(prices.account_cap_micro),
        "job_cap": spell_amount(prices.job_cap_micro),
    }
    return Typed(Form(tuple(fields.items())))


def _prices(
    request: Request,
    service: Service,
    typed: Typed,
    *,
    status: int = 200,
    trouble: Reply | None = None,
    is_saved: bool = False,
) -> Response:
    prices = get_prices(service)
    billed = max(0, EXAMPLE_ROWS - prices.free_rows_per_month) * EXAMPLE_TOKENS * EXAMPLE_PASSES
    return page(
        request,
        "admin_prices.html",
        trouble.status if trouble else status,
        prices=prices,
        typed=typed,
        trouble=trouble,
        is_saved=is_saved,
        example={
            "rows": EXAMPLE_ROWS,
            "tokens": EXAMPLE_TOKENS,
            "passes": EXAMPLE_PASSES,
            "price": price_micro(billed, prices.rate_micro),
        },
    )
