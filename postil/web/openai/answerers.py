"""Who may answer an account: the base in memory, and adapters of its own or shared with it, attached when asked for."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from postil.errors import ConflictError, MissingInputError
from postil.platform.adapters.adapters import note_used
from postil.platform.adapters.servable import Servable, find_servable, usable_adapters
from postil.platform.service import Service
from postil.platform.store.storage import LocalStorage
from postil.web.serving_door import ServingDoor

BASE_OWNER = "postil"


@dataclass(frozen=True, slots=True)
class Answerer:
    """Something that answers.

    Args:
        id: what the process that answers calls it, and `GET /v1/models` lists.
        adapter: None for the base.
    """

    id: str
    name: str
    base: str
    owner: str
    created: int
    adapter: Servable | None


def list_answerers(service: Service, account_id: str) -> list[Answerer]:
    """The base first, then adapters on it, oldest first."""
    base = service.settings.serving_base
    return [_base(base), *(_adapter(a) for a in usable_adapters(service, account_id, base=base))]


def find_answerer(service: Service, account_id: str, wanted: str) -> Answerer:
    """What a request's `model` names.

    Raises:
        MissingInputError: nothing that the account may ask.
        ConflictError: an adapter whose base is not the one in memory.
    """
    base = service.settings.serving_base
    if wanted == base:
        return _base(base)
    found = find_servable(service, account_id, wanted)
    if found is None:
        raise MissingInputError("web.no_such_model", model=wanted[:200])
    if found.base != base:
        raise ConflictError("web.other_base", model=found.name, base=found.base, served=base)
    return _adapter(found)


def own_adapters(service: Service, account_id: str) -> list[str]:
    """Identifiers of an account's own adapters, whatever base they stand on."""
    return [adapter.adapter_id for adapter in usable_adapters(service, account_id) if adapter.is_own]


async def attach(service: Service, door: ServingDoor, adapter: Servable, again: bool = False) -> None:
    """Sees to it that the process that answers has an adapter.

    Args:
        again: it said that it has not, whatever is remembered here.

    Raises:
        TryAgainError: it is not there, or refuses.
        MissingInputError: the adapter's files are gone.
    """
    if again or not door.has(adapter.adapter_id, adapter.name):
        folder = await anyio.to_thread.run_sync(_lasting_folder, service, adapter)
        await door.attach(adapter.adapter_id, adapter.name, folder)


def note_answer(service: Service, adapter: Servable) -> None:
    """Keeps that it was used, so that it is not deleted by mistake."""
    note_used(service, adapter.adapter_id)


def _lasting_folder(service: Service, adapter: Servable) -> Path:
    """The adapter's folder at a path that stays: it is read again whenever it was put away to make room."""
    with service.storage.local_path(adapter.storage_key) as path:
        if isinstance(service.storage, LocalStorage):
            return path
        kept = service.settings.data_dir / "cache" / "adapters" / adapter.adapter_id
        if not kept.exists():
            beside = kept.with_name(f".{kept.name}.part")
            shutil.rmtree(beside, ignore_errors=True)
            shutil.copytree(path, beside)
            beside.rename(kept)
        return kept


def _base(name: str) -> Answerer:
    return Answerer(name, name, name, BASE_OWNER, 0, None)


def _adapter(found: Servable) -> Answerer:
    created = int(found.created_at.timestamp())
    return Answerer(found.name, found.display_name, found.base, found.owner, created, found)
