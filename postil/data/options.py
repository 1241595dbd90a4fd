"""What the user may say about a file before it is read; by default everything is found out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Purpose = Literal["question", "answer", "system", "history", "session", "speaker", "content", "time"]
PURPOSES: tuple[Purpose, ...] = ("question", "answer", "system", "history", "session", "speaker", "content", "time")


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Overrides of what would be found out.

    Args:
        encoding: Python's name of the codec of a text file; None sniffs it.
        columns: purpose -> header, JSON key, or a column's letter where it has no name.
        single_turn: rows of one chat are kept apart, and chats are split: every question stands alone.
    """

    encoding: str | None = None
    columns: Mapping[Purpose, str] = field(default_factory=dict)
    single_turn: bool = False
