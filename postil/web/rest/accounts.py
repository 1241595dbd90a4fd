"""Signing up, in and out; the account itself; one-time links."""

from typing import Any

import anyio.to_thread
from fastapi import APIRouter, Request, Response

from postil.platform.accounts import accounts as kept
from postil.platform.accounts.deletion import delete_account
from postil.platform.accounts.one_time_links import use_link
from postil.platform.accounts.sign_ins import SignedIn as NewSession
from postil.platform.accounts.sign_ins import change_password, check_again, sign_in, sign_out, sign_out_everywhere
from postil.web.auth import Person, Reader, TheService, address_of, clear_session, session_token, set_session
from postil.web.document import REST_ERRORS
from postil.web.lanes import hashing
from postil.web.openai.answerers import own_adapters
from postil.wire import accounts as wire

router = APIRouter(prefix="/api", tags=["accounts"], responses=REST_ERRORS)


@router.post("/accounts", status_code=201, response_model=wire.SignedIn)
async def sign_up(body: wire.SignUp, request: Request, response: Response, service: TheService) -> Any:
    """Makes an account and signs it in."""
    address = address_of(request)
    await hashing(request, kept.register, service, body.name, body.password, language=body.language, address=address)
    return await _begin(request, response, service, body.name, body.password)


@router.post("/sign-in", response_model=wire.SignedIn)
async def begin(body: wire.SignInRequest, request: Request, response: Response, service: TheService) -> Any:
    """Begins a session: the answer sets its cookie."""
    return await _begin(request, response, service, body.name, body.password)


@router.post("/sign-out", status_code=204)
def end(visitor: Person, response: Response, service: TheService) -> None:
    """Ends this session."""
    sign_out(service, visitor.secret)
    clear_session(response)


@router.post("/sign-out-everywhere", status_code=204)
def end_all(visitor: Person, response: Response, service: TheService) -> None:
    """Ends every session of the account; its keys stay."""
    sign_out_everywhere(service, visitor.account.id)
    clear_session(response)


@router.post("/links", response_model=wire.SignedIn)
async def take_link(body: wire.LinkUse, request: Request, response: Response, service: TheService) -> Any:
    """Uses a one-time link: sets a password, ends all sessions, and signs in."""
    client, address = request.headers.get("user-agent", ""), address_of(request)
    new = await hashing(
        request, use_link, service, body.token, body.new_password, body.name, client=client, address=address
    )
    return _signed_in(request, response, new)


@router.get("/account", response_model=wire.Account)
def get_own(visitor: Reader) -> Any:
    """The account that asks."""
    return visitor.account


@router.patch("/account", response_model=wire.Account)
def change_own(body: wire.AccountChange, visitor: Person, service: TheService) -> Any:
    """Chooses the language."""
    return kept.set_language(service, visitor.account.id, body.language)


@router.put("/account/password", response_model=wire.SignedIn)
async def new_password(
    body: wire.PasswordChange, visitor: Person, request: Request, response: Response, service: TheService
) -> Any:
    """Sets a new password; every session ends, and this browser gets a new one."""
    client, address = request.headers.get("user-agent", ""), address_of(request)
    new = await hashing(
        request,
        change_password,
        service,
        visitor.account.id,
        body.old_password,
        body.new_password,
        client=client,
        address=address,
    )
    return _signed_in(request, response, new)


@router.post("/account/delete", response_model=wire.Freed)
async def delete_own(
    body: wire.PasswordProof, visitor: Person, request: Request, response: Response, service: TheService
) -> Any:
    """Deletes the account with everything it has; only the amounts of its bill stay. There is no way back."""
    account_id = visitor.account.id
    await hashing(request, check_again, service, account_id, body.password, address=address_of(request))
    own = await anyio.to_thread.run_sync(own_adapters, service, account_id)
    freed = await anyio.to_thread.run_sync(delete_account, service, account_id)
    for adapter_id in own:
        await request.app.state.door.detach(adapter_id)
    clear_session(response)
    return wire.Freed(freed_bytes=freed)


async def _begin(request: Request, response: Response, service: TheService, name: str, password: str) -> wire.SignedIn:
    client, old = request.headers.get("user-agent", ""), session_token(request.headers)
    address = address_of(request)
    new = await hashing(request, sign_in, service, name, password, client, address=address, old_token=old)
    return _signed_in(request, response, new)


def _signed_in(request: Request, response: Response, new: NewSession) -> wire.SignedIn:
    set_session(response, request, new.token)
    return wire.SignedIn.model_validate(new)
