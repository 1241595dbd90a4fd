"""The base that a job names: allowed here, on this machine, and what advice needs to know of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.advice.facts import BaseFacts
from postil.errors import MissingInputError, UnavailableError
from postil.models.catalog import STARTER_ENTRY, find_entry, nearest_name
from postil.models.memory import ModelShape
from postil.platform.bases.this_machine import MachineMemory
from postil.platform.store.tables import BaseModelEntry

STARTER = STARTER_ENTRY.id
MAX_NAME_CHARS = 200
UNKNOWN_HIDDEN = 1024
"""Width that is taken where a base does not tell its own."""


@dataclass(frozen=True, slots=True)
class BaseForJob:
    """A base that may be trained here.

    Args:
        name: as a request names it, and as the job keeps it.
        path: its folder; None for the starter, which is in the package.
        state: "ready", or why not yet: "absent", "waiting", "downloading" or "failed".
        memory: where its run would compute.
    """

    name: str
    path: str | None
    state: str
    facts: BaseFacts
    memory: MachineMemory

    def check(self) -> None:
        """Sees to it that it can be trained now.

        Raises:
            UnavailableError: it is not on this machine yet.
            MissingInputError: its folder is gone.
        """
        if self.state != "ready":
            raise UnavailableError("platform.requests.base_not_ready", base=self.name)
        if self.path is not None and not Path(self.path).is_dir():
            raise MissingInputError("platform.jobs.base_gone", base=self.name)


def base_for_job(session: Session, name: str, memory: MachineMemory) -> BaseForJob:
    """The base of this name: of the catalog, by its id or its short name, or one that an admin has allowed.

    Args:
        memory: where its run would compute; asked for outside of the transaction, since a driver may be slow.

    Raises:
        MissingInputError: none of this name may be trained here; the nearest one is named.
    """
    entry = find_entry(name) if len(name) <= MAX_NAME_CHARS else None
    known = entry.id if entry else name[:MAX_NAME_CHARS]
    row = session.scalar(select(BaseModelEntry).where(BaseModelEntry.name == known))
    if (row is not None and not row.is_allowed) or (row is None and entry is None):
        suggestion = nearest_name(name[:MAX_NAME_CHARS])
        raise MissingInputError("platform.requests.no_base", name=name[:MAX_NAME_CHARS], suggestion=suggestion)
    if known == STARTER:
        return BaseForJob(STARTER, None, "ready", _facts(known, {}, memory), memory)
    facts = _facts(known, dict(row.facts) if row else {}, memory)
    return BaseForJob(known, row.path if row else None, row.state if row else "absent", facts, memory)


def _facts(name: str, facts: Mapping[str, Any], memory: MachineMemory) -> BaseFacts:
    dtype = "fp32" if memory.dtype_bytes == 4 else "bf16"
    entry = find_entry(name)
    if entry is not None:
        return BaseFacts.of_entry(entry, memory.device, dtype)
    shape = ModelShape(**facts["shape"]) if facts.get("shape") else None
    return BaseFacts(
        name=name,
        family=str(facts.get("family", "")),
        hidden_size=shape.hidden if shape else UNKNOWN_HIDDEN,
        num_parameters=int(facts.get("num_parameters") or 0),
        device=memory.device,
        shape=shape,
        dtype=dtype,
        context_tokens=shape.context_tokens if shape else None,
    )


def whole_memory_bytes(memory: MachineMemory) -> int:
    """What a run can have at most: a GPU's memory, or all of the machine's, whatever takes it just now."""
    import psutil  # type: ignore[import-untyped]

    return memory.num_bytes if memory.device == "cuda" else int(psutil.virtual_memory().total)
