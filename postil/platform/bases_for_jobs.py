"""The base that a job names: allowed here, on this machine, and what advice needs to know of it."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.advice.facts import BaseFacts
from postil.errors import MissingInputError, UnavailableError
from postil.models.catalog import STARTER_ENTRY, find_entry, nearest_name
from postil.models.memory import ModelShape
from postil.platform.service import Service
from postil.platform.tables import BaseModelEntry

STARTER = STARTER_ENTRY.id


@dataclass(frozen=True, slots=True)
class BaseForJob:
    """A base that may be trained here.

    Args:
        name: as a request names it, and as the job keeps it.
        path: its folder; None for the starter, which is in the package.
        state: "ready", or why not yet: "absent", "waiting", "downloading" or "failed".
    """

    name: str
    path: str | None
    state: str
    facts: BaseFacts

    def check(self) -> None:
        """Sees to it that it can be trained now.

        Raises:
            UnavailableError: it is not on this machine yet.
        """
        if self.state != "ready":
            raise UnavailableError("platform.requests.base_not_ready", base=self.name)


def base_for_job(session: Session, service: Service, name: str) -> BaseForJob:
    """The base of this name.

    Raises:
        MissingInputError: none of this name may be trained here; the nearest one is named.
    """
    if name == STARTER:
        return BaseForJob(STARTER, None, "ready", BaseFacts.of_entry(STARTER_ENTRY))
    query = select(BaseModelEntry).where(BaseModelEntry.name == name, BaseModelEntry.is_allowed.is_(True))
    row = session.scalar(query)
    if row is None:
        raise MissingInputError("platform.requests.no_base", name=name[:200], suggestion=nearest_name(name[:200]))
    return BaseForJob(row.name, row.path, row.state, _facts(row))


def _facts(row: BaseModelEntry) -> BaseFacts:
    entry = find_entry(row.name)
    if entry is not None:
        return BaseFacts.of_entry(entry)
    shape = row.facts.get("shape")
    found = ModelShape(**shape) if shape else None
    return BaseFacts(
        name=row.name,
        family=str(row.facts.get("family", "")),
        hidden_size=found.hidden if found else int(row.facts.get("hidden_size") or 1024),
        num_parameters=int(row.facts.get("num_parameters") or (found.num_parameters if found else 0)),
        device="cpu",
        shape=found,
        context_tokens=found.context_tokens if found else None,
    )


def total_memory_bytes() -> int:
    """Memory of this machine."""
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().total)
