"""Tokens of model hubs that an admin has entered: kept encrypted, and seen by the process that downloads alone.

A variable of the environment (HF_TOKEN, MODELSCOPE_API_TOKEN) does as well, and then nothing is kept here.
"""

import re

from postil.errors import UsageError
from postil.platform.service import Service
from postil.platform.store.secrets import decrypt, encrypt
from postil.platform.store.tables import Machine

HUBS = ("hf", "modelscope")
_TOKEN = re.compile(r"[!-~]{1,500}")


def set_hub_token(service: Service, hub: str, token: str | None) -> None:
    """Keeps a token; None forgets it.

    Raises:
        UsageError: there is no such hub, or this is no token.
        UnavailableError: the key that encrypts it is not there.
    """
    if hub not in HUBS:
        raise UsageError("platform.hub_tokens.no_such_hub", hub=hub, hubs=", ".join(HUBS))
    if token is not None and not _TOKEN.fullmatch(token):
        raise UsageError("platform.hub_tokens.not_one")
    kept = None if token is None else encrypt(service.settings.data_dir, token)
    with service.database.writing() as session:
        session.merge(Machine(key=_row(hub), value={"encrypted": kept}, updated_at=service.now()))


def has_hub_token(service: Service, hub: str) -> bool:
    """True where one is kept; what it is, nobody is shown."""
    return _kept(service, hub) is not None


def find_hub_token(service: Service, hub: str) -> str | None:
    """The token, for the process that downloads.

    Raises:
        UnavailableError: the key that encrypted it is not there.
    """
    kept = _kept(service, hub)
    return None if kept is None else decrypt(service.settings.data_dir, kept)


def _kept(service: Service, hub: str) -> str | None:
    with service.database.reading() as session:
        row = session.get(Machine, _row(hub))
        return None if row is None else row.value.get("encrypted")


def _row(hub: str) -> str:
    return f"hub_token.{hub}"
