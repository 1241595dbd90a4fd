"""The edits of a version: each version keeps its own, and those of the versions before it come first.

1 ── 2 ── 3 ── 4 undoes 2 ── 5        edits of 5: those of 1, 2 and 5
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.data.checks.overlay import FORMAT, Edit, Overlay, overlay_from_dict
from postil.platform.store.tables import Dataset, DatasetVersion


def overlay_at(session: Session, dataset: Dataset, number: int) -> Overlay:
    """All edits of a version, in order."""
    version = DatasetVersion
    query = select(version.number, version.undoes, version.overlay)
    rows = session.execute(query.where(version.dataset_id == dataset.id, version.number <= number))
    steps = {row.number: row for row in rows}
    parts: list[list[Any]] = []
    while number:
        step = steps[number]
        if step.undoes is None:
            parts.append(step.overlay["edits"])
        number = number - 1 if step.undoes is None else step.undoes
    edits = [edit for part in reversed(parts) for edit in part]
    return Overlay(dataset.sha256, tuple(read_edits(edits)))


def version_before(session: Session, dataset_id: str, number: int) -> int:
    """The version to which undoing leads from `number`; 0 where there is nothing before it."""
    version = DatasetVersion
    query = select(version.number, version.undoes)
    rows = session.execute(query.where(version.dataset_id == dataset_id, version.number <= number))
    undoes = {row.number: row.undoes for row in rows}
    while (earlier := undoes[number]) is not None:
        number = earlier
    return number - 1


def read_edits(plain: Iterable[Mapping[str, Any]]) -> list[Edit]:
    """Edits out of `Edit.as_dict`."""
    return list(overlay_from_dict({"format": FORMAT, "sha256": "", "edits": list(plain)}).edits)
