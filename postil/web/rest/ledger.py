"""What the account owes, line by line."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from postil.platform.money.audit import recompute
from postil.platform.money.bills import get_balance, list_entries
from postil.web.auth import Reader, TheService
from postil.web.document import REST_ERRORS
from postil.web.lanes import Limit
from postil.wire import money as wire

router = APIRouter(prefix="/api", tags=["bill"], responses=REST_ERRORS)
Month = Annotated[str | None, Query(pattern="^[0-9]{4}-(0[1-9]|1[0-2])$", description='In UTC, such as "2026-11".')]


@router.get("/balance", response_model=wire.Balance)
def balance(visitor: Reader, service: TheService, month: Month = None) -> Any:
    """What the account owes, holds back and has left in a month; without a month, in this one."""
    return get_balance(service, visitor.account.id, month)


@router.get("/ledger", response_model=wire.LineList)
def lines(visitor: Reader, service: TheService, month: Month = None, job: str | None = None, limit: Limit = 100) -> Any:
    """The lines, the newest first."""
    return {"lines": list_entries(service, visitor.account.id, month=month, job_id=job, limit=limit)}


@router.get("/ledger/check", response_model=wire.Balance)
def check(visitor: Reader, service: TheService) -> Any:
    """The balance worked out anew from the lines, and every line from its own numbers; an error names what differs."""
    return recompute(service, visitor.account.id)
