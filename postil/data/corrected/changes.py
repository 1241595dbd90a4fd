"""What an overlay does to a file's records, one change per text: for the preview, the workbook's list, the writers."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from postil.data.checks.fixes import apply_fix
from postil.data.checks.overlay import Edit, Overlay
from postil.data.checks.text_fixes import mask_personal_data
from postil.data.records import Records
from postil.data.shapes.drafts import Draft
from postil.data.shapes.record import Record
from postil.data.shapes.turns import ROLE_KEYS
from postil.problems import FixAction, Place, Problem

_SAYS_WHO = frozenset((*ROLE_KEYS, "type"))


@dataclass(frozen=True, slots=True)
class RecordChange:
    """A record before and after its edits.

    Args:
        before: the record as it was read; of a row too broken to be one, the beginning of what stands there.
        after: None where it is left out.
        edits: those that changed it, in order.
    """

    before: Record
    after: Record | None
    edits: tuple[Edit, ...]
    is_broken: bool = False

    @property
    def rows(self) -> tuple[int, ...]:
        """All rows or lines of the file that the record is made of."""
        own = self.before.rows or (self.before.place.row,)
        return tuple(dict.fromkeys((*own, *(d.place.row for d in self.before.turns if d.place is not None))))


@dataclass(frozen=True, slots=True)
class Change:
    """One text that was changed, or one record that was left out.

    Args:
        column: the header or JSON path of the text; None for a whole record, left out or repaired.
        after: None where the record, or the message, is left out.
    """

    place: Place
    action: FixAction
    code: str
    column: str | None
    before: str
    after: str | None

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape."""
        return {
            "file": self.place.file,
            "sheet": self.place.sheet,
            "row": self.place.row,
            "column": self.column,
            "action": self.action,
            "code": self.code,
            "before": self.before,
            "after": self.after,
        }


def walk_changes(records: Records, overlay: Overlay) -> Iterator[tuple[Record | Problem, RecordChange | None]]:
    """Every item of a file with what the overlay does to it; None where it does nothing."""
    lost_places: set[Place] = set()
    for item in records.with_repairs(overlay.repairs):
        if isinstance(item, Record):
            edits = overlay.edits_of(item)
            after = overlay.apply(item) if edits else item
            is_same = after is item and not item.repairs
            yield item, None if is_same else RecordChange(item, after, tuple(edits))
        elif item.place.row and item.place not in lost_places and overlay.drops(item.place):
            lost_places.add(item.place)  # one broken row may have several problems
            lost = Record(item.place, {item.column or "": item.excerpt})
            yield item, RecordChange(lost, None, tuple(overlay.edits_of(lost)), is_broken=True)
        else:
            yield item, None


def changed_records(records: Records, overlay: Overlay) -> Iterator[RecordChange]:
    """The records that an overlay changes or leaves out, in file order."""
    return (change for _, change in walk_changes(records, overlay) if change is not None)


def list_all_changes(records: Sequence[RecordChange]) -> tuple[Change, ...]:
    """Every change of a correction. Where personal data are masked, the list does not show them either."""
    changes = tuple(change for record in records for change in list_changes(record))
    if not any(edit.action == "mask_personal_data" for record in records for edit in record.edits):
        return changes
    return tuple(
        replace(c, before=mask_personal_data(c.before), after=c.after and mask_personal_data(c.after)) for c in changes
    )


def list_changes(change: RecordChange) -> Iterator[Change]:
    """Each text that differs, edit by edit; of a record that is left out only that."""
    if change.after is None:
        edit = _dropping(change)
        yield Change(change.before.place, edit.action, edit.code, None, " | ".join(_texts_of(change.before)), None)
        return
    before = change.before
    repairs = {repair.row: repair for repair in before.repairs}
    for edit in change.edits:
        if edit.action == "repair_json" and (repair := repairs.get(edit.place.row)):
            yield Change(edit.place, edit.action, edit.code, None, repair.before, repair.after)
        after = apply_fix(edit.action, before, edit.values, edit.place)
        if after is not None:
            for place, path, old, new in _differences(before, after):
                yield Change(place, edit.action, edit.code, path, old, new)
            before = after


def _dropping(change: RecordChange) -> Edit:
    """The edit after which nothing of the record is left."""
    record: Record | None = change.before
    for edit in change.edits:
        record = apply_fix(edit.action, record, edit.values, edit.place) if record else None
        if record is None:
            return edit
    return change.edits[-1]


def _texts_of(record: Record) -> Iterator[str]:
    values: Iterable[Any] = (d.content for d in record.turns) if record.turns else record.fields.values()
    for value in values:
        yield from (text for text in _strings(value) if text.strip())


def _differences(before: Record, after: Record) -> Iterator[tuple[Place, str, str, str | None]]:
    if not before.turns:
        for path, old, new in different_texts(before.fields, after.fields):
            yield before.place, path, old, new
        return
    for draft, new_draft in pair_drafts(before.turns, after.turns):
        new = None if new_draft is None else new_draft.content
        if new_draft is None or draft.content != new:
            place = draft.place or before.place
            yield place, draft.column or draft.path, _shown(draft.content), None if new is None else _shown(new)


def pair_drafts(before: Sequence[Draft], after: Sequence[Draft]) -> Iterator[tuple[Draft, Draft | None]]:
    """Each draft with what became of it: the one at the same place; None where it went or was joined to another."""
    left = list(after)
    for draft in before:
        is_same = bool(left) and _where(left[0]) == _where(draft)
        yield draft, left.pop(0) if is_same else None


def _where(draft: Draft) -> tuple[Place | None, str, str | None, str]:
    return draft.place, draft.path, draft.column, draft.role


def different_texts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """(path, old, new) of every text that differs; lists of another length are compared as a whole."""
    for name in before:
        yield from _different(before[name], after.get(name), str(name))
    for name in after.keys() - before.keys():  # a field that a JSON record lacked
        yield str(name), "", _shown(after[name])


def _different(old: Any, new: Any, path: str) -> Iterator[tuple[str, str, str | None]]:
    if old == new:
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping) and old.keys() == new.keys():
        for key in old:
            yield from _different(old[key], new[key], f"{path}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (first, second) in enumerate(zip(old, new, strict=True)):
            yield from _different(first, second, f"{path}[{i}]")
    else:
        yield path, _shown(old), None if new is None else _shown(new)


def _strings(value: Any) -> Iterator[str]:
    """What is said in nested lists and objects; roles and types of parts are not."""
    match value:
        case str():
            yield value
        case Mapping():
            for key, item in value.items():
                if key not in _SAYS_WHO:
                    yield from _strings(item)
        case list():
            for item in value:
                yield from _strings(item)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else " | ".join(_strings(value))
