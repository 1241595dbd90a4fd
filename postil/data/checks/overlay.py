"""Edits laid over a file that is never touched: training data = original + overlay, and can be replayed."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from postil.data.checks.fixes import LEAVES_OUT, apply_fix
from postil.data.shapes.record import Record
from postil.errors import CannotWriteError, DataError, MissingInputError
from postil.problems import ADDED, Fix, FixAction, Place, Problem

if TYPE_CHECKING:
    from postil.data.records import Records

_CHUNK_BYTES = 1 << 20
FORMAT = "postil-overlay-1"
BY_HAND = "by_hand"
"""The code of edits that no problem proposed."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One change at one place.

    Args:
        code: the problem that caused it.
        values: what the action needs besides.
    """

    place: Place
    action: FixAction
    code: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)

    def does_same(self, other: "Edit") -> bool:
        """True where both change the same row in the same way, whatever caused them."""
        return (self.place, self.action, dict(self.values)) == (other.place, other.action, dict(other.values))

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        where = {"file": self.place.file, "sheet": self.place.sheet, "row": self.place.row}
        return {**where, "action": self.action, "code": self.code, "values": dict(self.values)}


@dataclass(frozen=True)
class Overlay:
    """Edits in order, and the file that they are for.

    Args:
        sha256: of the original's bytes (`fingerprint`); "" for edits that are not tied to a file yet.
    """

    sha256: str = ""
    edits: tuple[Edit, ...] = ()

    @cached_property
    def _by_place(self) -> dict[Place, list[tuple[int, Edit]]]:
        found: dict[Place, list[tuple[int, Edit]]] = {}
        for number, edit in enumerate(self.edits):
            found.setdefault(edit.place, []).append((number, edit))
        return found

    @cached_property
    def repairs(self) -> dict[str, set[int]]:
        """Rows by file whose JSON is repaired: reading has to know them, since a broken row is no record."""
        rows: dict[str, set[int]] = {}
        for edit in self.edits:
            if edit.action == "repair_json":
                rows.setdefault(edit.place.file, set()).add(edit.place.row)
        return rows

    @cached_property
    def added(self) -> tuple[Record, ...]:
        """Conversations that the file lacks: they are read after its own."""
        edits = (edit for edit in self.edits if edit.action == "add_conversation")
        return tuple(Record(edit.place, {"messages": edit.values["messages"]}) for edit in edits)

    def laid_over(self, records: "Records") -> "Records":
        """The file as it is read with these edits: broken JSON repaired, and what was added after the rest."""
        return records.with_repairs(self.repairs).with_added(self.added)

    def touches(self, place: Place) -> bool:
        """True where an edit is for this very place."""
        return place in self._by_place

    def drops(self, place: Place) -> bool:
        """True where the row is left out: also one so broken that it is no record."""
        return any(edit.action in LEAVES_OUT for _, edit in self._by_place.get(place, ()))

    def settles(self, problem: Problem) -> bool:
        """True where the row is left out, or the very cell has got another text: the file's own cell is not learned."""
        edits = (edit for _, edit in self._by_place.get(problem.place, ()))
        return self.drops(problem.place) or any(
            edit.action == "set_text" and problem.column and edit.values.get("path") == problem.column for edit in edits
        )

    def edits_of(self, record: Record) -> list[Edit]:
        """The edits of a record in order: at its own place, its other rows, and those of its messages."""
        places = {record.place, *(d.place for d in record.turns if d.place is not None)}
        places |= {replace(record.place, row=row) for row in record.rows}
        numbered = [pair for place in places for pair in self._by_place.get(place, ())]
        return [edit for _, edit in sorted(numbered, key=lambda pair: pair[0])]

    def apply(self, record: Record) -> Record | None:
        """The record as it is trained; None where it is left out. The same object where nothing changes."""
        changed: Record | None = record
        for edit in self.edits_of(record):
            if changed is None:
                return None
            changed = apply_fix(edit.action, changed, edit.values, edit.place)
        return record if changed == record else changed

    def plus(self, edits: Iterable[Edit]) -> "Overlay":
        """With more edits at the end; none is done twice."""
        known = list(self.edits)
        by_place = {place: [e for _, e in pairs] for place, pairs in self._by_place.items()}
        for edit in edits:
            same_place = by_place.setdefault(edit.place, [])
            if not any(edit.does_same(e) for e in same_place):
                same_place.append(edit)
                known.append(edit)
        return Overlay(self.sha256, tuple(known))

    def for_file(self, name: str) -> "Overlay":
        """The same for a single file that is called otherwise now; `check` says whether it is the file."""
        renamed = tuple(
            edit if edit.place.file == ADDED else replace(edit, place=replace(edit.place, file=name))
            for edit in self.edits
        )
        return Overlay(self.sha256, renamed)

    def check(self, path: Path) -> None:
        """Sees to it that the file is the one that the edits are for.

        Raises:
            DataError: it has other bytes.
        """
        if self.sha256 and fingerprint(path) != self.sha256:
            raise DataError("data.overlay_of_other_file", path=str(path))

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape of an overlay's file."""
        return {"format": FORMAT, "sha256": self.sha256, "edits": [edit.as_dict() for edit in self.edits]}

    def write(self, path: Path) -> None:
        """Writes the overlay as JSON, whole or not at all.

        Raises:
            CannotWriteError: the disk is full, or the folder is not to be written to.
        """
        beside = path.with_name(f".{path.name}.part")
        try:
            beside.write_text(json.dumps(self.as_dict(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
            os.replace(beside, path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            reason = error.strerror or type(error).__name__
            raise CannotWriteError("data.cannot_write", path=str(path), reason=reason) from error


def read_overlay(path: Path) -> Overlay:
    """Reads what `Overlay.write` wrote.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is no overlay.
    """
    if not path.is_file():
        raise MissingInputError("data.no_file", path=str(path))
    try:
        return overlay_from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError("data.broken_overlay", path=str(path)) from error


def overlay_from_dict(values: Mapping[str, Any]) -> Overlay:
    """The overlay that `as_dict` described.

    Raises:
        ValueError, KeyError, TypeError: it describes none.
    """
    if values["format"] != FORMAT:
        raise ValueError(values["format"])
    return Overlay(str(values["sha256"]), tuple(_edit(entry) for entry in values["edits"]))


def _edit(entry: Mapping[str, Any]) -> Edit:
    if entry["action"] not in get_args(FixAction):
        raise ValueError(entry["action"])
    sheet = entry["sheet"] if entry["sheet"] is None else str(entry["sheet"])
    place = Place(str(entry["file"]), int(entry["row"]), sheet)
    return Edit(place, entry["action"], str(entry["code"]), dict(entry["values"]))


def pick_edits(
    problems: Iterable[Problem], only: Sequence[str] = (), excluded: Sequence[str] = (), also: Sequence[str] = ()
) -> list[Edit]:
    """The changes that mend the problems: the automatic ones, or all of the codes that are asked for.

    Args:
        only: codes of problems; nothing else is mended then. Empty: every automatic fix.
        excluded: codes that are left alone.
        also: codes that are mended besides.
    """
    wanted = [p for p in problems if p.fix and p.code not in excluded and _is_wanted(p, p.fix, only, also)]
    return [Edit(place, p.fix.action, p.code, p.fix.values) for p in wanted if p.fix for place in p.fix.places]


def _is_wanted(problem: Problem, fix: Fix, only: Sequence[str], also: Sequence[str]) -> bool:
    return problem.code in also or (problem.code in only if only else fix.automatic)


def overlay_of(
    problems: Iterable[Problem], only: Sequence[str] = (), excluded: Sequence[str] = (), sha256: str = ""
) -> Overlay:
    """An overlay of the changes that `pick_edits` finds."""
    return Overlay(sha256).plus(pick_edits(problems, only, excluded))


def fingerprint(path: Path) -> str:
    """sha256 of a file's bytes; of a folder, over the names and fingerprints of its files in order."""
    digest = hashlib.sha256()
    if path.is_dir():
        for member in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{member.relative_to(path).as_posix()}\0{fingerprint(member)}\n".encode())
        return digest.hexdigest()
    try:
        with path.open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                digest.update(piece)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError("data.unreadable", path=str(path), reason=reason) from error
    return digest.hexdigest()
