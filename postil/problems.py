"""One thing that is wrong in the user's input, located, with the change that would mend it where a machine can."""

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal

from postil.language import say

Severity = Literal["error", "warning"]

FixAction = Literal[
    "drop_row",
    "trim",
    "strip_control_characters",
    "decode_mojibake",
    "strip_html",
    "mask_personal_data",
    "break_control_tokens",
    "merge_messages",
    "drop_opening",
    "drop_last_question",
    "drop_empty_messages",
    "drop_stand_ins",
    "keep_first_answer",
    "keep_added_answer",
    "fill_down",
    "set_text",
    "repair_json",
    "add_conversation",
]
"""What a machine can do to rows; `postil.data.checks.fixes` does each, `problems.fix.<action>` says what it does."""

ADDED = "(added)"
"""In place of a file's name: a conversation that the file lacks, added to it by an edit; `row` counts them."""
_TABLES = frozenset({".csv", ".tsv", ".parquet"})
"""Files of one table: what their rows have are columns; JSON and text have fields. Workbooks have sheets as well."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands in the user's file.

    `row` counts from 1: the spreadsheet's row, a text file's line, or a JSON file's record; 0 is the whole file.
    """

    file: str
    row: int = 0
    sheet: str | None = None

    def __str__(self) -> str:
        sheet = f" {self.sheet}" if self.sheet else ""
        return f"{self.file}{sheet}:{self.row}" if self.row else f"{self.file}{sheet}"

    def in_words(self, column: str | None = None, known_file: str = "") -> str:
        """For people, in the current language: "sheet FAQ, row 8, column Answer"; programs get `str(place)`.

        Args:
            column: the header or field to blame.
            known_file: the file that need not be said; a place that is the whole of it is "".
        """
        if self.file == ADDED and self.row:
            return say("problems.place.added_row", number=self.row)
        name = say("problems.place.added") if self.file == ADDED else self.file
        words = [name] if self.file != known_file else []
        if self.sheet:
            words.append(say("problems.place.sheet", sheet=self.sheet))
        if self.row:
            words.append(say("problems.place.row", row=self.row))
        if column:
            is_table = self.sheet or PurePath(self.file).suffix.lower() in _TABLES
            words.append(say("problems.place.column" if is_table else "problems.place.field", name=column))
        return say("problems.place.comma").join(words)


@dataclass(frozen=True, slots=True)
class Fix:
    """A change to the user's rows that a machine can make. The original file is never touched.

    Args:
        places: the rows that it changes, each whole.
        automatic: nothing that the user meant to say is lost, or the row could not train anyway: `postil fix` does it
            unasked. Others (masking, choosing one of several answers) are done when asked for by the problem's code.
        values: what the action needs besides, such as the text of "set_text".
    """

    action: FixAction
    places: tuple[Place, ...]
    automatic: bool = True
    values: dict[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What it does, in the current language."""
        return say(f"problems.fix.{self.action}", **self.values)

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that every surface shows."""
        rows = [{"file": p.file, "sheet": p.sheet, "row": p.row} for p in self.places]
        return {"action": self.action, "label": self.label, "automatic": self.automatic, "rows": rows, **self.values}


@dataclass(frozen=True, slots=True)
class Passage:
    """A row that a problem is about, with the beginning of what is to be compared."""

    place: Place
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Frozen, so that the shell, the API and the page show the same thing.

    Args:
        code: a stable id such as "missing_answer"; its sentences are `problems.<code>` and `problems.<code>.hint`.
        severity: "error" rows cannot train; "warning" rows can.
        column: the column's header or the field's name, where one is to blame.
        excerpt: the first characters of what was found.
        values: what the sentences name besides.
        fix: None where only the user can mend it.
        passages: the rows, its own among them, that have to be seen side by side.
    """

    code: str
    severity: Severity
    place: Place
    column: str | None = None
    json_path: str | None = None
    excerpt: str = ""
    values: dict[str, Any] = field(default_factory=dict)
    fix: Fix | None = None
    passages: tuple[Passage, ...] = ()

    @property
    def message(self) -> str:
        """What is wrong, in the current language."""
        return say(f"problems.{self.code}", **self.values)

    @property
    def hint(self) -> str:
        """What to do about it, in the current language."""
        return say(f"problems.{self.code}.hint", **self.values)

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that every surface shows."""
        return {
            "code": self.code,
            "severity": self.severity,
            "file": self.place.file,
            "sheet": self.place.sheet,
            "row": self.place.row,
            "column": self.column,
            "json_path": self.json_path,
            "excerpt": self.excerpt,
            "message": self.message,
            "hint": self.hint,
            "fix": self.fix.as_dict() if self.fix else None,
        }
