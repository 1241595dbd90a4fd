"""For admins: accounts and their limits, prices, tokens of hubs, the queue, the machine. Not anybody's data."""

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request

from postil.platform import administration as house
from postil.platform.accounts import accounts as people
from postil.platform.accounts.one_time_links import invite, make_reset_link
from postil.platform.money.prices import change_prices, get_prices
from postil.platform.store.hub_tokens import list_hub_tokens, set_hub_token
from postil.web.auth import Admin, TheService
from postil.web.document import REST_ERRORS
from postil.web.lanes import Limit, hashing
from postil.wire import accounts as wire
from postil.wire import machine

router = APIRouter(prefix="/api/admin", tags=["admin"], responses=REST_ERRORS)


@router.get("/accounts", response_model=wire.AccountList)
def list_accounts(
    visitor: Admin, service: TheService, limit: Limit = 50, after: str | None = None, search: str = ""
) -> Any:
    """Accounts by name; `after` is the name that ended the page before, `search` a part of the name."""
    found = people.list_accounts(service, limit=limit, after=after, search=search)
    return {"accounts": found, "next_after": found[-1].name if len(found) == limit else None}


@router.post("/accounts", status_code=201, response_model=wire.Invitation)
async def make_account(body: wire.NewAccount, visitor: Admin, service: TheService, request: Request) -> Any:
    """Makes an account, also where sign-up is closed, and the link with which its owner chooses a password, once."""
    account, token = await hashing(request, invite, service, body.name, role=body.role)
    return wire.Invitation(account=wire.Account.model_validate(account), token=token, path=f"/links/{token}")


@router.get("/accounts/{account_id}", response_model=wire.Account)
def get_account(account_id: str, visitor: Admin, service: TheService) -> Any:
    """One account."""
    return people.get_account(service, account_id)


@router.patch("/accounts/{account_id}", response_model=wire.Account)
def change_rights(account_id: str, body: machine.AccountRights, visitor: Admin, service: TheService) -> Any:
    """Makes an account an admin or a user, shuts it out or lets it in; its sessions end."""
    if body.role is not None:
        people.set_role(service, account_id, body.role)
    if body.is_disabled is not None:
        people.set_disabled(service, account_id, body.is_disabled)
    return people.get_account(service, account_id)


@router.put("/accounts/{account_id}/limits", response_model=wire.Account)
def set_limits(account_id: str, body: machine.Limits, visitor: Admin, service: TheService) -> Any:
    """Sets what an account may spend, and whether its jobs may start."""
    return house.set_limits(service, account_id, **body.model_dump())


@router.post("/accounts/{account_id}/reset-link", status_code=201, response_model=wire.ResetLink)
def reset_link(account_id: str, visitor: Admin, service: TheService) -> Any:
    """A link with which an account sets a new password, once; to be handed over by other means."""
    token = make_reset_link(service, account_id)
    return wire.ResetLink(token=token, path=f"/links/{token}")


@router.get("/prices", response_model=machine.Prices)
def prices(visitor: Admin, service: TheService) -> Any:
    """Prices in force."""
    return get_prices(service)


@router.patch("/prices", response_model=machine.Prices)
def set_prices(body: machine.PriceChange, visitor: Admin, service: TheService) -> Any:
    """Changes prices for jobs that are submitted from now on."""
    return change_prices(service, **body.model_dump(exclude_unset=True))


@router.get("/hub-token", response_model=machine.HubTokenList)
def hub_tokens(visitor: Admin, service: TheService) -> Any:
    """Which hubs a token is kept of, and since when; not the tokens."""
    return {"tokens": list_hub_tokens(service)}


@router.put("/hub-token", response_model=machine.HubTokenList)
def keep_hub_token(body: machine.NewHubToken, visitor: Admin, service: TheService) -> Any:
    """Keeps a token with which bases are downloaded from now on."""
    set_hub_token(service, body.hub, body.token)
    return {"tokens": list_hub_tokens(service)}


@router.delete("/hub-token", response_model=machine.HubTokenList)
def forget_hub_token(hub: machine.HubName, visitor: Admin, service: TheService) -> Any:
    """Forgets a token; nothing happens where none is kept."""
    set_hub_token(service, hub, None)
    return {"tokens": list_hub_tokens(service)}


@router.get("/queue", response_model=machine.Queue)
def queue(visitor: Admin, service: TheService, limit: Limit = 200) -> Any:
    """Everybody's jobs that wait or run, without what they are about."""
    return {"jobs": house.list_queue(service, limit=limit)}


@router.post("/queue/{job_id}/cancel", status_code=204)
def cancel(job_id: str, visitor: Admin, service: TheService) -> None:
    """Ends a job of whatever account."""
    house.cancel_any(service, job_id)


@router.get("/machine", response_model=machine.Machine)
async def look(visitor: Admin, service: TheService, request: Request) -> Any:
    """Slots, disk, counts, and what the process that answers says of itself."""
    found = await anyio.to_thread.run_sync(house.look_at_machine, service)
    serving = await request.app.state.door.state()
    fields = {name: getattr(found, name) for name in found.__slots__}
    return machine.Machine.model_validate(fields | {"serving": serving})
