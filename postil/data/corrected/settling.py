"""All fixes that there are for a file: applied, judged again, and applied again while one uncovers another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from postil.data.checks.overlay import Edit, Overlay, fingerprint, pick_edits
from postil.data.options import ReadOptions
from postil.data.records import Records, read_records
from postil.data.validation import ValidationReport, validate_dataset

MOST_ROUNDS = 6
_FIND_OUT = ReadOptions()


@dataclass(frozen=True, slots=True)
class Settled:
    """A file with every fix that was asked for.

    Args:
        before: what was wrong with the original.
        after: what is left to be done by hand, and the ledger.
    """

    records: Records
    overlay: Overlay
    before: ValidationReport
    after: ValidationReport


def settle(
    path: Path,
    options: ReadOptions = _FIND_OUT,
    *,
    system: str | None = None,
    only: Sequence[str] = (),
    excluded: Sequence[str] = (),
    also: Sequence[str] = (),
    name: str | None = None,
    begin: Overlay | None = None,
) -> Settled:
    """Finds the fixes of a file until nothing more can be fixed, in at most six rounds.

    Args:
        name: how the user calls the file, as in `read_records`.
        begin: edits that are there already, of this file; the fixes come after them.
        system: a system message for conversations that have none, as in `validate_dataset`.
        only: codes of problems whose fixes are applied, also those that are not automatic; none: all automatic ones.
        excluded: codes that are left alone.
        also: codes of problems whose fixes are applied besides, automatic or not.

    Raises:
        MissingInputError, DataError: the file cannot be read.
    """
    records = read_records(path, options, name)
    overlay = begin or Overlay(fingerprint(records.path))

    def judge() -> ValidationReport:
        return validate_dataset(
            records,
            system,
            overlay=overlay,
            single_turn=options.single_turn,
            keep=False,
            near="near_duplicate" in (*only, *also),
        )

    before = after = judge()
    for _ in range(MOST_ROUNDS):
        wider = overlay.plus(_next_edits(pick_edits(after.problems, only, excluded, also)))
        if wider == overlay:
            break
        overlay = wider
        after = judge()
    return Settled(records, overlay, before, after)


def _next_edits(found: Sequence[Edit]) -> Sequence[Edit]:
    """Repairs come before all else: a file whose first row is broken may be read otherwise once it is not."""
    return [edit for edit in found if edit.action == "repair_json"] or found
