"""Accounts, for an admin: finding one, making one, its rights and limits, and a link where a password was lost."""

from typing import Any, cast

import anyio.to_thread
from fastapi import APIRouter, Request
from starlette.responses import Response

from postil.errors import PostilError
from postil.platform.accounts import accounts as people
from postil.platform.accounts.one_time_links import LIFETIME, invite, make_reset_link
from postil.platform.administration import set_limits
from postil.platform.money.prices import get_prices
from postil.platform.service import Service
from postil.platform.usage import get_usage
from postil.web.auth import Admin, TheService
from postil.web.errors import Reply, describe_error
from postil.web.lanes import hashing
from postil.web.pages.forms import Form
from postil.web.pages.rendering import page, see
from postil.web.pages.typed import TheForm, Typed, spell_amount

router = APIRouter(include_in_schema=False)
PER_PAGE = 50
_MOST_REASON_LETTERS = 255
_LIMITS = ("monthly_cap", "job_cap", "balance_limit")
_DONE = ("role", "disabled", "enabled", "limits")


@router.get("/admin/accounts")
def show(request: Request, visitor: Admin, service: TheService, search: str = "", after: str | None = None) -> Response:
    """Accounts by name, and the form of a new one."""
    return _list(request, service, search=search, after=after)


@router.post("/admin/accounts")
async def make(request: Request, visitor: Admin, service: TheService, form: TheForm) -> Response:
    """Makes an account whose owner chooses the password; the link stands in this answer and nowhere else."""
    in_thread = anyio.to_thread.run_sync
    try:
        account, token = await hashing(request, invite, service, form.get("name"))
    except PostilError as error:
        reply = describe_error(error)
        return await in_thread(lambda: _list(request, service, name=form.get("name"), trouble=reply))
    link = _link(request, token)
    return await in_thread(lambda: _list(request, service, status=201, made=account, link=link))


@router.get("/admin/accounts/{account_id}")
def show_one(account_id: str, request: Request, visitor: Admin, service: TheService, done: str = "") -> Response:
    """One account: what it may, and what it uses."""
    return _one(request, service, account_id, done=done if done in _DONE else "")


@router.post("/admin/accounts/{account_id}/role")
def set_role(account_id: str, request: Request, visitor: Admin, service: TheService, form: TheForm) -> Response:
    """Makes an account an admin, or a user again."""
    role = cast(people.Role, form.get("role"))  # checked there
    try:
        people.set_role(service, account_id, role)
    except PostilError as error:
        return _refused(request, service, account_id, error)
    return see(f"/admin/accounts/{account_id}?done=role")


@router.post("/admin/accounts/{account_id}/disable")
def disable(account_id: str, request: Request, visitor: Admin, service: TheService) -> Response:
    """Shuts an account out, with its sessions and keys."""
    return _set_disabled(request, service, account_id, True)


@router.post("/admin/accounts/{account_id}/enable")
def enable(account_id: str, request: Request, visitor: Admin, service: TheService) -> Response:
    """Lets an account in again."""
    return _set_disabled(request, service, account_id, False)


@router.post("/admin/accounts/{account_id}/limits")
def change_limits(account_id: str, request: Request, visitor: Admin, service: TheService, form: TheForm) -> Response:
    """What the account may spend, and whether its trainings may start."""
    people.get_account(service, account_id)
    typed = Typed(form)
    monthly_cap, job_cap, balance_limit = map(typed.amount, _LIMITS)
    reason = typed.text("hold_reason", _MOST_REASON_LETTERS)
    if typed.wrong:
        return _one(request, service, account_id, typed=typed, status=422)
    set_limits(
        service,
        account_id,
        monthly_cap_micro=monthly_cap,
        job_cap_micro=job_cap,
        balance_limit_micro=balance_limit,
        hold_reason=reason,
    )
    return see(f"/admin/accounts/{account_id}?done=limits")


@router.post("/admin/accounts/{account_id}/reset-link")
def reset(account_id: str, request: Request, visitor: Admin, service: TheService) -> Response:
    """A link for a new password; it stands in this answer and nowhere else."""
    link = _link(request, make_reset_link(service, account_id))
    return _one(request, service, account_id, status=201, link=link)


def _link(request: Request, token: str) -> str:
    return f"{request.base_url}links/{token}"


def _set_disabled(request: Request, service: Service, account_id: str, is_disabled: bool) -> Response:
    try:
        people.set_disabled(service, account_id, is_disabled)
    except PostilError as error:
        return _refused(request, service, account_id, error)
    return see(f"/admin/accounts/{account_id}?done={'disabled' if is_disabled else 'enabled'}")


def _refused(request: Request, service: Service, account_id: str, error: PostilError) -> Response:
    """The page again with what was wrong; for an account that is not there, the error itself."""
    people.get_account(service, account_id)
    return _one(request, service, account_id, trouble=describe_error(error))


def _list(
    request: Request,
    service: Service,
    *,
    search: str = "",
    after: str | None = None,
    status: int = 200,
    trouble: Reply | None = None,
    **made: Any,
) -> Response:
    found = people.list_accounts(service, limit=PER_PAGE + 1, after=after, search=search)
    shown = found[:PER_PAGE]
    return page(
        request,
        "admin_accounts.html",
        trouble.status if trouble else status,
        accounts=shown,
        next_after=shown[-1].name if len(found) > PER_PAGE else None,
        search=search,
        is_sign_up_open=service.settings.is_sign_up_open,
        trouble=trouble,
        days=LIFETIME.days,
        **({"made": None, "link": "", "name": ""} | made),
    )


def _one(
    request: Request,
    service: Service,
    account_id: str,
    *,
    done: str = "",
    status: int = 200,
    trouble: Reply | None = None,
    typed: Typed | None = None,
    link: str = "",
) -> Response:
    account = people.get_account(service, account_id)
    return page(
        request,
        "admin_account.html",
        trouble.status if trouble else status,
        account=account,
        usage=get_usage(service, account_id),
        prices=get_prices(service),
        typed=typed or _as_kept(account),
        limits=_LIMITS,
        done=done,
        trouble=trouble,
        link=link,
        days=LIFETIME.days,
    )


def _as_kept(account: people.AccountView) -> Typed:
    """The form of limits, filled in with what is in force."""
    amounts = account.monthly_cap_micro, account.job_cap_micro, account.balance_limit_micro
    fields = [(name, spell_amount(micro)) for name, micro in zip(_LIMITS, amounts, strict=True)]
    return Typed(Form((*fields, ("hold_reason", account.hold_reason))))
