"""Reads 44 real files as `postil check` does and writes docs/results/data.md: what a careful reader would make of each,
what was read, and whether it is the same.

    python -m tools.results.data --data DIR

DIR is the folder of real files that lies outside the repository. What is expected was typed in from the files' index,
which people wrote by looking at the files; where we read a file otherwise on purpose, the row says why.
"""

import argparse
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from postil.data.records import read_records
from postil.data.validation import ValidationReport, validate_dataset
from postil.errors import DataError
from postil.language import use_language

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "results" / "data.md"


@dataclass(frozen=True)
class Expected:
    """What a careful reader makes of a file.

    Args:
        name: the beginning of the file's name, which no other file has.
        records: None where the index does not say.
        turns: questions of the user's side, in all conversations.
        flagged: problems that must be named, by code, with how many.
        otherwise: how many of some we name on purpose, where the index counts in another way.
        note: why.
    """

    name: str
    records: int | None
    conversations: int
    multi_turn: int = 0
    turns: int | None = None
    kind: str = "qa"
    flagged: dict[str, int] = field(default_factory=dict)
    otherwise: dict[str, int] = field(default_factory=dict)
    note: str = ""

    @property
    def all_turns(self) -> int:
        """Turns; as many as conversations where every one has a single question."""
        return self.conversations if self.turns is None else self.turns


FOLDED = "The index compares questions letter by letter; here case, width and final punctuation are set aside"

FILES = (
    Expected("o01_", 1000, 1000, flagged={"duplicate": 8}),
    Expected("o02_", 999, 999, flagged={"duplicate": 14}),
    Expected("o03_", 91, 91, flagged={"placeholder": 85, "conflicting_answers": 2}),
    Expected("o04_", 500, 500, flagged={"placeholder": 50, "duplicate": 1}),
    Expected("o05_", 300, 300, 221, 722, "tool_calls", {"duplicate": 43, "tool_calls": 1}),
    Expected("o06_", 300, 300, 77, 487, "preference", {"preference_data": 1, "rejected_answer": 150}),
    Expected("o07_", 500, 500, 333, 1000, "chat"),
    Expected("o08_", 128, 128),
    Expected("o09_swift_alpaca.csv", 3, 3),
    Expected("o09_swift_alpaca2.csv", 3, 3),
    Expected("o09_swift_alpaca.jsonl", 3, 3, 1, 4),
    Expected("o09_swift_chatml", 3, 3, 2, 5, "chat"),
    Expected("o09_swift_conversations", 3, 3, 2, 5, "chat"),
    Expected("o09_swift_sharegpt", 3, 3, 1, 5),
    Expected("o09_swift_s_multi", 3, 3, 1, 5),
    Expected("o09_swift_s_pre", 3, 0, kind="not_qa", flagged={"no_question_column": 1}),
    Expected("o09_swift_s_single.csv", 3, 3),
    Expected("o09_swift_s_single.jsonl", 3, 3),
    Expected("o10_", 300, 300, flagged={"conflicting_answers": 77}),
    Expected("o11_", 240, 240),
    Expected("o12_", 800, 800),
    Expected("o13_", 1439, 1439, 1432, 3808, "chat"),
    Expected("o14_", 240, 240),
    Expected("o15_", 240, 240),
    Expected(
        "o16_",
        *(85, 85),
        flagged={"duplicate": 1, "conflicting_answers": 5},
        otherwise={"conflicting_answers": 4},
        note=f"{FOLDED}: two of the five are the same but for a question mark.",
    ),
    Expected("o17_", 246, 246, flagged={"duplicate": 3, "conflicting_answers": 5}),
    Expected("o18_", 100, 100, flagged={"duplicate": 4, "conflicting_answers": 1}),
    Expected("o19_", 14, 14),
    Expected("o20_", 12, 12),
    Expected("o21_", 15, 15),
    Expected("o22_", 5, 5, flagged={"too_few_rows": 1}),
    Expected("o23_", 10003, 10003, kind="classification", flagged={"classification": 1, "duplicate": 4}),
    Expected(
        "o24_",
        *(11987, 11987),
        kind="classification",
        flagged={"classification": 1, "conflicting_answers": 7},
        otherwise={"conflicting_answers": 17},
        note=f"{FOLDED}: ten more reviews carry both labels.",
    ),
    Expected("o25_", 20, 20, flagged={"conflicting_answers": 2}),
    Expected("o26_", 18, 18),
    Expected(
        "o27_",
        *(6459, 6459),
        flagged={"duplicate": 329, "conflicting_answers": 7},
        otherwise={"conflicting_answers": 11},
        note=f"{FOLDED}: four more questions are the same.",
    ),
    Expected("o28_", 1, 1, 1, 10, "chat"),
    Expected("o29_", 64, 64, kind="preference", flagged={"preference_data": 1, "duplicate": 63}),
    Expected(
        "o30_",
        *(52, 52),
        flagged={"conflicting_answers": 2},
        otherwise={"conflicting_answers": 1},
        note=f"{FOLDED}: the two are one, once with a capital letter and once without.",
    ),
    Expected("o31_", 31, 31),
    Expected("o32_", 29, 0, flagged={"missing_answer": 29}),
    Expected("o33_", None, 0, kind="not_qa", flagged={"no_pair_columns": 1}),
    Expected("o34_", 10, 10),
    Expected("o35_", 1, 1, 1, 3, "chat"),
)


@dataclass(frozen=True)
class Read:
    """What was read of a file, in the same terms."""

    format: str
    records: int
    kept: int
    fixed: int
    dropped: int
    conversations: int
    multi_turn: int
    turns: int
    kind: str
    problems: Mapping[str, int]
    seconds: float

    @classmethod
    def of(cls, report: ValidationReport, seconds: float) -> "Read":
        """The figures of a report."""
        values = report.as_dict()
        problems = Counter(p.code for p in report.problems)
        counts = {name: values[name] for name in ("conversations", "multi_turn", "turns", "kind")}
        ledger = {name: getattr(report, name) for name in ("kept", "fixed", "dropped")}
        return cls(values["format"], report.records_in, **ledger, **counts, problems=problems, seconds=seconds)

    @classmethod
    def refused(cls, error: DataError, seconds: float) -> "Read":
        """A file that could not be read as a whole."""
        return cls("-", 0, 0, 0, 0, 0, 0, 0, "-", {error.key: 1}, seconds)


def read(path: Path) -> Read:
    """Reads a file as `postil check` does."""
    started = time.perf_counter()
    try:
        report = validate_dataset(read_records(path), keep=False)
    except DataError as error:
        return Read.refused(error, time.perf_counter() - started)
    return Read.of(report, time.perf_counter() - started)


def differences(expected: Expected, found: Read) -> list[str]:
    """What is not as expected, in words; empty where all is."""
    pairs = {
        "records": (expected.records, found.records),
        "conversations": (expected.conversations, found.conversations),
        "chats of several turns": (expected.multi_turn, found.multi_turn),
        "turns": (expected.all_turns, found.turns),
        "kind": (expected.kind, found.kind),
        **{
            code: (count, found.problems.get(code, 0))
            for code, count in (expected.flagged | expected.otherwise).items()
        },
    }
    return [f"{name}: {read}, not {wanted}" for name, (wanted, read) in pairs.items() if wanted not in (None, read)]


def row(file: str, expected: Expected, found: Read) -> str:
    """A line of the table."""
    wanted = _counts(expected.records, expected.conversations, expected.multi_turn, expected.all_turns, expected.kind)
    read = _counts(found.records, found.conversations, found.multi_turn, found.turns, found.kind)
    differing = differences(expected, found)
    notes = [*differing, *([expected.note] if expected.note else [])]
    same = "no" if differing else "yes, but" if expected.otherwise else "yes"
    flagged = ", ".join(f"{code} {count}" for code, count in expected.flagged.items())
    named = ", ".join(f"{code} {count}" for code, count in sorted(found.problems.items()))
    ledger = f"{found.records} = {found.kept} + {found.fixed} + {found.dropped}"
    cells = [f"`{file}`", found.format, wanted, flagged, read, ledger, named, same]
    return f"| {' | '.join(cells)} | {'; '.join(notes)} |"


def _counts(records: int | None, conversations: int, multi_turn: int, turns: int, kind: str) -> str:
    return f"{'?' if records is None else records} / {conversations} / {multi_turn} / {turns}, {kind}"


INTRODUCTION = """\
Written by `python -m tools.results.data --data DIR`: {files} real files by people who never heard of Postil, none of
them in this repository, read as `postil check` reads them, without any option. "Expected" is what a careful reader
makes of the file, typed in from the files' index. Counts are records / conversations / chats of several turns /
questions in all of them, and the kind. The ledger is records = kept + mended + left out. Problems are named by code;
`docs/data.md` explains each.

**{same} of {files} are read as expected**; "yes, but" marks those where something is counted in another way on purpose,
and the remark says which. Reading and checking all of them took {seconds:.0f} s on one thread."""

HEAD = """\
| file | format | expected | must be named | read | ledger | problems named | same | remark |
|---|---|---|---|---|---|---|---|---|"""


def page(data: Path, files: Sequence[Expected] = FILES) -> str:
    """The whole page."""
    rows, same, seconds = [], 0, 0.0
    for expected in files:
        (path,) = data.glob(f"{expected.name}*")
        found = read(path)
        seconds += found.seconds
        same += not differences(expected, found)
        rows.append(row(path.name, expected, found))
        print(f"{path.name}: {differences(expected, found) or 'as expected'} ({found.seconds:.1f} s)", flush=True)
    introduction = INTRODUCTION.format(files=len(files), same=same, seconds=seconds)
    return "\n\n".join(["# Real files, read and compared", introduction, "\n".join([HEAD, *rows])]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real files")
    parser.add_argument("--only", nargs="*", help="beginnings of file names; prints only")
    args = parser.parse_args()
    use_language("en")
    if args.only:
        page(args.data, [e for e in FILES if e.name.startswith(tuple(args.only))])
    else:
        PAGE.write_text(page(args.data), "utf-8")


if __name__ == "__main__":
    main()
