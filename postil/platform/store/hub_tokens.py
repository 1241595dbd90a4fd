"""Tokens of model hubs that an admin has entered: kept encrypted, and seen by the process that downloads alone.

A variable of the environment (HF_TOKEN, MODELSCOPE_API_TOKEN) does as well, and then nothing is kept here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from postil.errors import UsageError
from postil.platform.service import Service
from postil.platform.store.secrets import decrypt, encrypt
from postil.platform.store.tables import Machine

HUBS = ("hf", "modelscope")
_TOKEN = re.compile(r"[!-~]{1,500}")


@dataclass(frozen=True, slots=True)
class HubTokenView:
    """What may be known of a token.

    Args:
        kept_since: when it was entered; None where none is kept.
    """

    hub: str
    kept_since: datetime | None


def set_hub_token(service: Service, hub: str, token: str | None) -> None:
    """Keeps a token; None forgets it.

    Raises:
        UsageError: there is no such hub, or this is no token.
        UnavailableError: the key that encrypts it is not there.
    """
    _check_hub(hub)
    if token is not None and not _TOKEN.fullmatch(token):
        raise UsageError("platform.hub_tokens.not_one")
    kept = None if token is None else encrypt(service.settings.data_dir, token)
    with service.database.writing() as session:
        session.merge(Machine(key=_row(hub), value={"encrypted": kept}, updated_at=service.now()))


def list_hub_tokens(service: Service) -> Sequence[HubTokenView]:
    """Each hub, and since when a token of it is kept; what it is, nobody is shown."""
    return [get_hub_token_view(service, hub) for hub in HUBS]


def get_hub_token_view(service: Service, hub: str) -> HubTokenView:
    """One hub, and since when a token of it is kept.

    Raises:
        UsageError: there is no such hub.
    """
    _check_hub(hub)
    with service.database.reading() as session:
        row = session.get(Machine, _row(hub))
        if row is None or row.value.get("encrypted") is None:
            return HubTokenView(hub, None)
        return HubTokenView(hub, row.updated_at)


def find_hub_token(service: Service, hub: str) -> str | None:
    """The token, for the process that downloads.

    Raises:
        UnavailableError: the key that encrypted it is not there.
    """
    with service.database.reading() as session:
        row = session.get(Machine, _row(hub))
        kept = None if row is None else row.value.get("encrypted")
    return None if kept is None else decrypt(service.settings.data_dir, kept)


def _row(hub: str) -> str:
    return f"hub_token.{hub}"


def _check_hub(hub: str) -> None:
    if hub not in HUBS:
        raise UsageError("platform.hub_tokens.no_such_hub", hub=hub, hubs=", ".join(HUBS))
