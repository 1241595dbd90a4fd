"""Changes of a data set. The original is never touched: each change makes a new version, which is checked in its turn.

Whoever changes something says which version they saw; where somebody else was quicker, they are told, and nothing is
overwritten. A change is written at once and comes back at once: its check follows, and several quick changes share one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from postil.data.checks.overlay import BY_HAND, Edit
from postil.errors import ConflictError, UsageError
from postil.platform.datasets.options import DatasetOptions
from postil.platform.datasets.overlays import overlay_at, version_before
from postil.platform.datasets.reports import numbered_problems
from postil.platform.datasets.views import DatasetView, checked_version, get_version, own_dataset, view_of
from postil.platform.service import Service
from postil.platform.store.tables import Dataset, DatasetVersion
from postil.problems import ADDED, Place

MOST_TEXT_CHARS = 1_000_000
MOST_MESSAGES = 200
ALL_AUTOMATIC = "*"


def apply_fixes(
    service: Service,
    account_id: str,
    dataset_id: str,
    *,
    version: int,
    problems: Sequence[int] = (),
    codes: Sequence[str] = (),
    automatic: bool = False,
) -> DatasetView:
    """Lets a machine mend problems.

    Args:
        version: the one whose report was seen.
        problems: numbers of single problems in its report.
        codes: of problems; all like these, also those that mending uncovers.
        automatic: all for which nobody needs to be asked.

    Raises:
        MissingInputError: there is no such data set or problem.
        ConflictError: the data set has been changed meanwhile.
        TryAgainError: the version is still being checked.
        UsageError: nothing is named, or a problem that only its owner can mend.
    """
    wanted = (ALL_AUTOMATIC,) * automatic + tuple(dict.fromkeys(codes))
    if not problems and not wanted:
        raise UsageError("platform.datasets.nothing_to_fix")
    with service.database.reading() as session:
        row = own_dataset(session, account_id, dataset_id)
        _refuse_stale(row, version)
        seen = get_version(session, row, version)
        counts = {c["code"]: c["fixable"] for c in checked_version(row, seen)["codes"]}
        report_key = str(seen.report_key)
    if unknown := [code for code in dict.fromkeys(codes) if not counts.get(code)]:
        fixable = ", ".join(code for code, count in counts.items() if count) or "-"
        raise UsageError("platform.datasets.not_fixable", codes=", ".join(unknown)[:200], fixable=fixable)
    edits = _edits_of(service, report_key, problems)
    return _change(service, account_id, dataset_id, version, "fixes", edits=edits, fixes=wanted)


def edit_cell(
    service: Service, account_id: str, dataset_id: str, *, version: int, place: Place, column: str, text: str
) -> DatasetView:
    """Writes another text into a cell, or at a JSON path.

    Args:
        place: a row, as problems and previews name it; a file of "" is the data set's own.
        column: the header or path, as problems and previews name it. Where there is none, the check says so.

    Raises:
        MissingInputError, ConflictError: as `apply_fixes`.
        UsageError: no row or column is named, or the text is too long or holds half a character.
    """
    _check_text(text)
    if not column or place.row < 1:
        raise UsageError("platform.datasets.no_cell")
    values = {"path": column, "value": text}
    return _change_rows(service, account_id, dataset_id, version, "cell", [place], "set_text", values)


def leave_out(
    service: Service, account_id: str, dataset_id: str, *, version: int, places: Sequence[Place]
) -> DatasetView:
    """Takes rows out of the training.

    Raises:
        MissingInputError, ConflictError: as `apply_fixes`.
        UsageError: no row is named.
    """
    if not places or any(place.row < 1 for place in places):
        raise UsageError("platform.datasets.no_cell")
    return _change_rows(service, account_id, dataset_id, version, "leave_out", places, "drop_row", {})


def add_conversation(
    service: Service,
    account_id: str,
    dataset_id: str,
    *,
    version: int,
    messages: Sequence[Mapping[str, str]],
    also: Callable[[Session, int], None] = lambda session, number: None,
) -> DatasetView:
    """Adds a conversation to what the file holds, such as a question with the answer that it should have had.

    Args:
        messages: role ("system", "user" or "assistant") and content of each, the last an assistant's.
        also: gets the new version's number; what it writes is written together with the version, or not at all.

    Raises:
        MissingInputError, ConflictError: as `apply_fixes`.
        UsageError: a role or a text is missing, or the order is wrong.
    """
    plain = [{"role": str(m.get("role")), "content": str(m.get("content") or "")} for m in messages]
    _check_messages(plain)
    with service.database.reading() as session:
        dataset = own_dataset(session, account_id, dataset_id)
        _refuse_stale(dataset, version)
        added = overlay_at(session, dataset, version).added
    number = max((record.place.row for record in added), default=0) + 1
    edit = Edit(Place(ADDED, number), "add_conversation", BY_HAND, {"messages": plain})
    return _change(
        service,
        account_id,
        dataset_id,
        version,
        "add",
        edits=[edit],
        finish=lambda session, row, new: also(session, new.number),
    )


def set_options(
    service: Service, account_id: str, dataset_id: str, *, version: int, options: DatasetOptions
) -> DatasetView:
    """Says how the file is to be read from now on, in place of what was said before.

    Raises:
        MissingInputError, ConflictError: as `apply_fixes`.
        UsageError: everything in the options that is not known.
    """
    return _change(service, account_id, dataset_id, version, "options", options=options.checked())


def undo(service: Service, account_id: str, dataset_id: str, *, version: int, to: int | None = None) -> DatasetView:
    """Goes back to what an earlier version was; that is a new version, so it can be undone as well.

    Args:
        to: the version to go back to; None is the one before.

    Raises:
        MissingInputError: there is no such data set or version.
        ConflictError: as `apply_fixes`, or there is nothing before it.
    """

    def go_back(session: Session, row: Dataset, new: DatasetVersion) -> None:
        number = version_before(session, row.id, version) if to is None else to
        if not number:
            raise ConflictError("platform.datasets.nothing_to_undo")
        earlier = get_version(session, row, number)
        new.undoes, new.options, new.overlay = number, earlier.options, {"edits": [], "fixes": []}
        new.num_edits, new.rows = earlier.num_edits, earlier.rows
        new.summary, new.report_key = earlier.summary, earlier.report_key
        row.options = earlier.options
        if new.summary is not None:  # checked already, and the same now
            is_ready = new.summary["trainable"] and not new.summary["num_errors"]
            row.state = "ready" if is_ready else "needs_attention"

    return _change(service, account_id, dataset_id, version, "undo", finish=go_back)


def _change_rows(
    service: Service,
    account_id: str,
    dataset_id: str,
    version: int,
    what: str,
    places: Iterable[Place],
    action: Any,
    values: dict[str, Any],
) -> DatasetView:
    with service.database.reading() as session:
        file_name = own_dataset(session, account_id, dataset_id).file_name
    named = (Place(place.file or file_name, place.row, place.sheet) for place in places)
    edits = [Edit(place, action, BY_HAND, values) for place in dict.fromkeys(named)]
    return _change(service, account_id, dataset_id, version, what, edits=edits)


def _change(
    service: Service,
    account_id: str,
    dataset_id: str,
    version: int,
    what: str,
    *,
    edits: Sequence[Edit] = (),
    fixes: Sequence[str] = (),
    options: DatasetOptions | None = None,
    finish: Callable[[Session, Dataset, DatasetVersion], None] | None = None,
) -> DatasetView:
    """Writes the next version and lets it be checked, if `version` is the newest."""
    now = service.now()
    with service.database.writing() as session:
        row = own_dataset(session, account_id, dataset_id)
        _refuse_stale(row, version)
        moved = session.execute(
            update(Dataset)
            .where(Dataset.id == dataset_id, Dataset.account_id == account_id, Dataset.current_version == version)
            .values(current_version=version + 1, state="validating", error=None, updated_at=now)
        )
        if not moved.rowcount:  # type: ignore[attr-defined]
            raise _changed_meanwhile(version, version + 1)
        session.refresh(row)
        last = get_version(session, row, version)
        # Fixes that the last version has not been given yet come after this change; an undo drops them.
        waiting = tuple(last.overlay["fixes"])
        last.overlay = {"edits": last.overlay["edits"], "fixes": []}
        new = DatasetVersion(
            dataset_id=dataset_id,
            number=version + 1,
            account_id=account_id,
            what=what,
            overlay={"edits": [e.as_dict() for e in edits], "fixes": list(dict.fromkeys((*waiting, *fixes)))},
            num_edits=last.num_edits + len(edits),
            options=last.options if options is None else options.as_dict(),
            summary=None,
            report_key=None,
            undoes=None,
            rows=0,
            created_at=now,
        )
        row.options = new.options
        if finish is not None:
            finish(session, row, new)
        session.add(new)
        session.flush()
        return view_of(session, row)


def _refuse_stale(row: Dataset, version: int) -> None:
    if row.state == "uploading":
        raise ConflictError("platform.datasets.uploading")
    if row.current_version != version:
        raise _changed_meanwhile(version, row.current_version)


def _changed_meanwhile(seen: int, current: int) -> ConflictError:
    return ConflictError("platform.datasets.changed_meanwhile", seen=seen, current=current)


def _edits_of(service: Service, report_key: str, numbers: Sequence[int]) -> list[Edit]:
    found = numbered_problems(service, report_key, numbers)
    if by_hand := [number for number, problem in found.items() if problem.fix is None]:
        raise UsageError("platform.datasets.no_fix", number=by_hand[0], code=found[by_hand[0]].code)
    return [
        Edit(place, problem.fix.action, problem.code, problem.fix.values)
        for problem in found.values()
        if problem.fix is not None
        for place in problem.fix.places
    ]


def _check_messages(messages: Sequence[Mapping[str, str]]) -> None:
    for message in messages:
        _check_text(message["content"])
    said = [m["role"] for m in messages if m["role"] != "system"]
    systems = len(messages) - len(said)
    is_in_order = said == ["user", "assistant"] * (len(said) // 2) and bool(said) and len(said) <= MOST_MESSAGES
    has_texts = all(m["content"].strip() for m in messages)
    if not is_in_order or not has_texts or systems > 1 or (systems and messages[0]["role"] != "system"):
        raise UsageError("platform.datasets.no_conversation")


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("platform.datasets.half_character") from None
    if len(text) > MOST_TEXT_CHARS:
        raise UsageError("platform.datasets.text_too_long", most=MOST_TEXT_CHARS)
