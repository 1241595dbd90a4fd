"""Keys of programs; they are made and revoked by somebody who is signed in."""

from typing import Any

from fastapi import APIRouter

from postil.platform.accounts.api_keys import list_keys, make_key, revoke_key
from postil.web.auth import Person, Reader, TheService
from postil.web.document import REST_ERRORS
from postil.wire import accounts as wire

router = APIRouter(prefix="/api/keys", tags=["keys"], responses=REST_ERRORS)


@router.get("", response_model=wire.KeyList)
def list_own(visitor: Reader, service: TheService) -> Any:
    """All keys of the account, the newest first, revoked ones too; never their secrets."""
    return {"keys": list_keys(service, visitor.account.id)}


@router.post("", status_code=201, response_model=wire.NewKey)
def make(body: wire.KeyRequest, visitor: Person, service: TheService) -> Any:
    """Makes a key. Its text is in this answer and nowhere else."""
    key, secret = make_key(service, visitor.account.id, body.name, body.scopes, body.expires_at)
    return wire.NewKey(secret=secret, **wire.Key.model_validate(key).model_dump())


@router.delete("/{key_id}", response_model=wire.Key)
def revoke(key_id: str, visitor: Person, service: TheService) -> Any:
    """Ends a key at once; a second time does no harm."""
    return revoke_key(service, visitor.account.id, key_id)
