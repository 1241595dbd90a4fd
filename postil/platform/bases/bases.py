"""Bases that may be trained here: the catalog, and what an admin has allowed besides, as hub ids or folders.

    absent ──start_download──> waiting ──> downloading ──> ready
                                  ^             └────────> failed ──start_download──> waiting
                                  └── base_downloads.py, run by the supervisor

Ids are checked by their form: nothing that is fetched is ever named by an address or a path. Folders are read and
checked before they are allowed: no code of theirs runs, and weights are safetensors only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.errors import ConflictError, MissingInputError, UsageError
from postil.language import say
from postil.models.catalog import CATALOG, STARTER_ENTRY, CatalogEntry, find_entry, nearest_name
from postil.models.memory import ModelShape, gigabytes
from postil.platform.bases.facts import fits, folder_facts, needed_bytes
from postil.platform.bases.this_machine import MachineMemory, find_memory
from postil.platform.ids import new_id
from postil.platform.service import Service
from postil.platform.store.tables import BaseModelEntry, Job
from postil.platform.stored_errors import StoredError

Fits = Literal["train", "answer", "no", "unknown"]
HUBS = ("hf", "modelscope")
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9_]|[.-](?![.-]))*"
_HUB_ID = re.compile(rf"(?=.{{3,200}}\Z){_PART}/{_PART}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FOLDER_NAME = re.compile(r"\w[\w .-]{0,99}")


@dataclass(frozen=True, slots=True)
class BaseView:
    """A base as a card shows it.

    Args:
        name: as a job names it: "starter", a hub id, or a folder's name.
        title: short.
        description: one line, in the current language; "" for what is not in the catalog.
        source: "package", "hf", "modelscope" or "folder".
        state: "ready", "absent", "waiting", "downloading" or "failed".
        num_bytes, done_bytes: of a download; 0 before the hub was asked.
        path: where it lies, when it is ready; None for the starter.
        fits: what this machine's memory suffices for.
        bytes_to_train: 0 where nothing is known of its shape.
        memory_bytes: what this machine has.
    """

    name: str
    title: str
    description: str
    source: str
    revision: str | None
    state: str
    is_allowed: bool
    is_recommended: bool
    is_gated: bool
    licence: str
    family: str
    num_parameters: int
    context_tokens: int
    num_bytes: int
    done_bytes: int
    error: StoredError | None
    path: str | None
    fits: Fits
    bytes_to_train: int
    bytes_to_answer: int
    memory_bytes: int
    facts: Mapping[str, Any]

    @property
    def fits_in_words(self) -> str:
        """Whether it fits this machine, in the current language."""
        needed = gigabytes(self.bytes_to_train if self.fits != "answer" else self.bytes_to_answer)
        return say(f"platform.bases.fits.{self.fits}", needed=needed, available=gigabytes(self.memory_bytes))

    @property
    def percent(self) -> int:
        """Of the download."""
        return 100 * self.done_bytes // self.num_bytes if self.num_bytes else 0


def list_bases(service: Service, *, all_known: bool = False) -> tuple[BaseView, ...]:
    """Every base that may be trained here: recommended ones first, then by size.

    Args:
        all_known: also those that an admin has forbidden.
    """
    memory = find_memory()
    with service.database.reading() as session:
        rows = {row.name: row for row in session.scalars(select(BaseModelEntry))}
    views = [_view(entry, rows.pop(entry.id, None), memory) for entry in CATALOG]
    views += [_view(None, row, memory) for row in rows.values()]
    views.sort(key=lambda view: (not view.is_recommended, view.num_parameters))
    return tuple(view for view in views if view.is_allowed or all_known)


def get_base(service: Service, name: str) -> BaseView:
    """One base that may be trained here.

    Raises:
        MissingInputError: none of this name may be.
    """
    with service.database.reading() as session:
        entry, row = _known(session, name)
    return _view(entry, row, find_memory())


def allow_base(service: Service, name: str, *, hub: str = "hf", revision: str | None = None) -> BaseView:
    """Allows a hub's model; it is fetched when somebody asks for it. For admins.

    Args:
        name: "organisation/name", or a short name of the catalog.

    Raises:
        UsageError: this is no such id, hub or revision.
    """
    entry = find_entry(name) if len(name) <= 200 else None
    model_id = entry.id if entry else name
    if entry is None and not _HUB_ID.fullmatch(name):
        raise UsageError("platform.bases.no_hub_id", name=name[:200])
    if hub not in HUBS:
        raise UsageError("platform.bases.no_hub", hub=hub[:50])
    if revision is not None and not _REVISION.fullmatch(revision):
        raise UsageError("platform.bases.no_revision", revision=revision[:100])
    source = "package" if model_id == STARTER_ENTRY.id else hub
    with service.database.writing() as session:
        row = _row(session, service, model_id, source)
        row.is_allowed, row.updated_at = True, service.now()
        if row.state in ("absent", "failed"):
            row.source, row.revision = source, revision
    return _view(entry, row, find_memory())


def allow_folder(service: Service, folder: str, *, name: str | None = None) -> BaseView:
    """Allows a base in a folder of this machine. For admins.

    Args:
        folder: its absolute path.
        name: by which jobs name it; None takes the folder's.

    Raises:
        UsageError: the path is not absolute, or leads into the data folder; or the name is none.
        MissingInputError, DataError, UnavailableError: it is no base that can be used; see `inspect_base_folder`.
        ConflictError: the name is another base's.
    """
    path = _checked_path(service, folder)
    kept = (name if name is not None else path.name).strip()
    if not _FOLDER_NAME.fullmatch(kept) or find_entry(kept) is not None:
        raise UsageError("platform.bases.bad_folder_name", name=kept[:100])
    facts = folder_facts(path)
    with service.database.writing() as session:
        row = _row(session, service, kept, "folder")
        if row.source != "folder" or row.path not in (None, str(path)):
            raise ConflictError("platform.bases.name_taken", name=kept)
        row.path, row.state, row.is_allowed, row.facts = str(path), "ready", True, facts
        row.num_bytes = row.done_bytes = facts["stored_bytes"]
        row.error, row.updated_at = None, service.now()
    return _view(None, row, find_memory())


def forbid_base(service: Service, name: str) -> None:
    """Takes a base off the list; files that were fetched stay in the hub's cache, which other programs share.

    Raises:
        MissingInputError: there is none of this name.
        ConflictError: it is the starter, or a job needs it.
    """
    from postil.platform.datasets.datasets import ENDED_JOBS

    with service.database.writing() as session:
        entry, row = _known(session, name)
        known = entry.id if entry else name
        if known == STARTER_ENTRY.id:
            raise ConflictError("platform.bases.starter_stays")
        if job_id := session.scalar(select(Job.id).where(Job.base == known, Job.state.not_in(ENDED_JOBS)).limit(1)):
            raise ConflictError("platform.bases.in_use", name=known, job=job_id)
        row = row or _row(session, service, known, "hf")
        row.is_allowed, row.updated_at = False, service.now()
        if row.state in ("waiting", "downloading"):
            row.state = "absent"


def start_download(service: Service, name: str, *, hub: str | None = None) -> BaseView:
    """Asks for a base to be fetched; nothing happens where it is here, or on its way.

    Args:
        hub: "hf" or "modelscope"; None takes the one that it was allowed for.

    Raises:
        MissingInputError: none of this name may be trained here.
        UsageError: there is no such hub.
    """
    if hub is not None and hub not in HUBS:
        raise UsageError("platform.bases.no_hub", hub=hub[:50])
    with service.database.writing() as session:
        entry, found = _known(session, name)
        known = entry.id if entry else name
        is_starter = known == STARTER_ENTRY.id
        row = found or _row(session, service, known, "package" if is_starter else hub or "hf")
        is_gone = row.source == "folder" and not Path(str(row.path)).is_dir()
        if is_gone:
            raise MissingInputError("platform.bases.folder_gone", name=known, path=row.path)
        if not is_starter and row.state in ("absent", "failed"):
            row.source = hub or row.source
            row.state, row.error, row.done_bytes = "waiting", None, 0
            row.updated_at = service.now()
    return _view(entry, row, find_memory())


def _known(session: Session, name: str) -> tuple[CatalogEntry | None, BaseModelEntry | None]:
    entry = find_entry(name) if len(name) <= 200 else None
    row = session.scalar(select(BaseModelEntry).where(BaseModelEntry.name == (entry.id if entry else name[:200])))
    if (row is not None and not row.is_allowed) or (row is None and entry is None):
        raise MissingInputError("platform.requests.no_base", name=name[:200], suggestion=nearest_name(name[:200]))
    return entry, row


def _row(session: Session, service: Service, name: str, source: str) -> BaseModelEntry:
    row = session.scalar(select(BaseModelEntry).where(BaseModelEntry.name == name))
    if row is None:
        entry, now = find_entry(name), service.now()
        row = BaseModelEntry(
            id=new_id("base"),
            name=name,
            source=source,
            revision=None,
            path=None,
            state="ready" if source == "package" else "absent",
            is_allowed=True,
            num_bytes=0,
            done_bytes=0,
            error=None,
            facts={} if entry is None else {"family": entry.family, "num_parameters": entry.num_parameters},
            created_at=now,
            updated_at=now,
        )
        session.add(row)
    return row


def _checked_path(service: Service, folder: str) -> Path:
    try:
        path = Path(folder).resolve(strict=True) if folder.startswith("/") or Path(folder).is_absolute() else None
    except (OSError, ValueError, RuntimeError):
        raise MissingInputError("platform.bases.no_folder", path=folder[:500].replace("\0", "")) from None
    if path is None:
        raise UsageError("platform.bases.not_absolute", path=folder[:500])
    if path.is_relative_to(service.settings.data_dir.resolve()):
        raise UsageError("platform.bases.own_folder", path=path)
    return path


def _view(entry: CatalogEntry | None, row: BaseModelEntry | None, memory: MachineMemory) -> BaseView:
    assert entry is not None or row is not None
    facts = dict(row.facts) if row else {}
    shape = entry.shape if entry else ModelShape(**facts["shape"]) if facts.get("shape") else None
    to_train, to_answer = needed_bytes(shape, memory)
    name = entry.id if entry else row.name if row else ""
    is_starter = name == STARTER_ENTRY.id
    return BaseView(
        name=name,
        title=name.rpartition("/")[2],
        description=entry.description if entry else "",
        source="package" if is_starter else row.source if row else "hf",
        revision=row.revision if row else None,
        state="ready" if is_starter else row.state if row else "absent",
        is_allowed=row.is_allowed if row else True,
        is_recommended=bool(entry and entry.recommended),
        is_gated=bool(entry and entry.gated),
        licence=entry.licence if entry else "",
        family=entry.family if entry else str(facts.get("family", "")),
        num_parameters=entry.num_parameters if entry else int(facts.get("num_parameters", 0)),
        context_tokens=shape.context_tokens if shape else int(facts.get("context_tokens", 0)),
        num_bytes=row.num_bytes if row else 0,
        done_bytes=row.done_bytes if row else 0,
        error=StoredError.from_dict(row.error) if row and row.error else None,
        path=row.path if row else None,
        fits=fits(to_train, to_answer, memory),
        bytes_to_train=to_train,
        bytes_to_answer=to_answer,
        memory_bytes=memory.num_bytes,
        facts=facts,
    )
