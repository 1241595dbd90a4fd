"""All that a service wants to know of a file at once: the report, the first rows, the profile and the tokens.

Runs in the sandboxed child (`files/sandbox_child.py`), which sends its parts on; no part is larger than a frame.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from postil.data.checks.fixes import LEAVES_OUT, apply_fix
from postil.data.checks.overlay import BY_HAND, Edit, Overlay
from postil.data.checks.plain_problems import plain_problem
from postil.data.corrected.settling import settle
from postil.data.options import ReadOptions
from postil.data.profile import Profile, profile_conversations
from postil.data.purposes import DataPurpose
from postil.data.records import Records, read_records
from postil.data.reports import ValidationReport
from postil.data.shapes.record import Record
from postil.data.token_counts import TokenCounter
from postil.data.validation import validate_dataset
from postil.data.viewing import plain_conversation, view_rows
from postil.errors import DataError
from postil.problems import Place, Problem

MOST_KEPT_ROWS, MOST_KEPT_CHARS = 1000, 2_000_000
"""Rows are kept as a page shows them until there are so many, or so long; a page of them needs no second reading."""
_NUM_EXAMPLES = 5
_NUM_IN_FRAME = 500

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of an examination.

    Args:
        overlay: the edits so far.
        fixes: codes of problems whose fixes are to be added, or "*" for all automatic ones.
        purpose: what the user says the data are for.
        tokenizer: a base's folder whose tokenizer counts.
        token_seconds: when they are over, tokens are guessed.
    """

    overlay: Overlay
    fixes: tuple[str, ...]
    purpose: DataPurpose | None
    tokenizer: Path
    token_seconds: float


def examine(path: Path, options: ReadOptions, name: str, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """Yields {"edits": [...]}, {"problems": [...]}, {"rows": [...]}, {"tokens": [...]} in pieces.

    Then once {"summary": {...}, "has_all_rows": whether the rows are all that the file holds}.

    Raises:
        DataError: the file cannot be read, or an edit by hand is for a cell that is not there.
    """
    records = read_records(path, options, name)
    _refuse_lost_edits(records, wanted.overlay)
    overlay = wanted.overlay
    if wanted.fixes:
        codes = [code for code in wanted.fixes if code != "*"]
        is_all = "*" in wanted.fixes
        only, also = ([], codes) if is_all else (codes, [])
        overlay = settle(path, options, only=only, also=also, name=name, begin=overlay).overlay
    report = validate_dataset(records, overlay=overlay, single_turn=options.single_turn, near=True)
    for edits in _pieces(overlay.edits):
        yield {"edits": [edit.as_dict() for edit in edits]}
    for problems in _pieces(report.problems):
        yield {"problems": [plain_problem(problem) for problem in problems]}
    kept, has_all_rows = _first_rows(view_rows(path, options, name, overlay, limit=MOST_KEPT_ROWS + 1))
    for shown in _pieces(kept):
        yield {"rows": shown}
    counts = TokenCounter(wanted.tokenizer).count(report.conversations, wanted.token_seconds)
    for rows in _pieces(counts.rows.tolist()):
        yield {"tokens": list(rows)}
    profile = None
    if report.conversations:
        profile = profile_conversations(report.conversations, report.kind, purpose=wanted.purpose)
    yield {"summary": _summary(report, profile, counts.as_dict()), "has_all_rows": has_all_rows}


def _first_rows(rows: Iterator[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
    """Rows up to the limits, and whether they are all."""
    kept: list[dict[str, Any]] = []
    num_chars = 0
    for row in rows:
        num_chars += sum(len(cell["text"]) for cell in row["cells"])
        if len(kept) == MOST_KEPT_ROWS or num_chars > MOST_KEPT_CHARS:
            return kept, False
        kept.append(row)
    return kept, True


def _summary(report: ValidationReport, profile: Profile | None, tokens: Mapping[str, Any]) -> dict[str, Any]:
    """The report without its problems, and all that is small."""
    found = replace(report, problems=()).as_dict()
    del found["problems"]
    return {
        **found,
        "trainable": report.num_trainable,
        "num_errors": len(report.errors),
        "num_warnings": len(report.warnings),
        "codes": _codes(report.problems),
        "rows_to_drop": _rows_to_drop(report.problems),
        "profile": profile and _plain_profile(profile),
        "examples": [plain_conversation(c) for c in report.conversations[:_NUM_EXAMPLES]],
        "tokens": dict(tokens),
    }


def _codes(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """How often each code was found, errors first; how many of them a machine can mend, and how many unasked."""
    counts = Counter((p.severity, p.code) for p in problems)
    fixable = Counter((p.severity, p.code) for p in problems if p.fix)
    automatic = Counter((p.severity, p.code) for p in problems if p.fix and p.fix.automatic)
    ordered = sorted(counts, key=lambda key: (key[0] != "error", -counts[key]))
    return [
        {"code": key[1], "severity": key[0], "count": counts[key], "fixable": fixable[key], "automatic": automatic[key]}
        for key in ordered
    ]


def _rows_to_drop(problems: Sequence[Problem]) -> dict[str, int]:
    """How many problems of each code a machine mends unasked by leaving the row out."""
    return dict(Counter(p.code for p in problems if p.fix and p.fix.automatic and p.fix.action in LEAVES_OUT))


def _plain_profile(profile: Profile) -> dict[str, Any]:
    """Evidence as keys, so that it can be said in any language."""
    evidence = [{"key": e.key, "values": e.values} for e in profile.evidence]
    return {**profile.as_dict(), "evidence": evidence}


def _refuse_lost_edits(records: Records, overlay: Overlay) -> None:
    """Edits by hand must meet what they are for; those of fixes were made from the file itself.

    Raises:
        DataError: no row, or no such cell in it.
    """
    waiting = {edit.place: edit for edit in overlay.edits if edit.code == BY_HAND}
    if not waiting:
        return
    for item in overlay.laid_over(records):
        if isinstance(item, Record):
            _try_edits(item, overlay)
            for edit in overlay.edits_of(item):
                waiting.pop(edit.place, None)
        elif (edit_here := waiting.get(item.place)) and edit_here.action == "drop_row":
            del waiting[item.place]  # a row too broken to be a record can still be left out
    for place, edit in waiting.items():
        raise _lost(edit, place)


def _try_edits(record: Record, overlay: Overlay) -> None:
    """Each text is set in what the edits before it have left of the record."""
    current: Record | None = record
    for edit in overlay.edits_of(record):
        if current is None:
            return
        try:
            after = apply_fix(edit.action, current, edit.values, edit.place)
        except KeyError:
            raise _lost(edit, edit.place) from None
        if edit.action == "set_text" and current.turns and not _has_message(current, edit):
            raise _lost(edit, edit.place)
        current = after


def _has_message(record: Record, edit: Edit) -> bool:
    here = (draft for draft in record.turns if edit.place in (record.place, draft.place))
    return any(edit.values["path"] in (draft.path, draft.column) for draft in here)


def _lost(edit: Edit, place: Place) -> DataError:
    column = str(edit.values.get("path", ""))
    return DataError("data.edit_without_place", place=place.in_words(column or None))


def _pieces(items: Sequence[_T]) -> Iterator[list[_T]]:
    left = iter(items)
    while piece := list(islice(left, _NUM_IN_FRAME)):
        yield piece
