"""One thing that is wrong in the user's input, located."""

from dataclasses import dataclass, field
from typing import Any, Literal

from postil.language import say

Severity = Literal["error", "warning"]


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


@dataclass(frozen=True, slots=True)
class Problem:
    """Frozen, so that the shell, the API and the page show the same thing.

    Args:
        code: a stable id such as "missing_answer"; its sentences are `problems.<code>` and `problems.<code>.hint`.
        severity: "error" rows cannot train; "warning" rows can.
        column: the column's header or the field's name, where one is to blame.
        excerpt: the first characters of what was found.
        values: what the sentences name besides.
    """

    code: str
    severity: Severity
    place: Place
    column: str | None = None
    json_path: str | None = None
    excerpt: str = ""
    values: dict[str, Any] = field(default_factory=dict)

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
        }
