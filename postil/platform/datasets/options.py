"""How a file is to be read, as its owner has said: kept with every version, as jobs need it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postil.config import known_encoding
from postil.data.options import PURPOSES, ReadOptions
from postil.data.purposes import DATA_PURPOSES
from postil.errors import UsageError

_MAX_COLUMN_CHARS = 1000


@dataclass(frozen=True, slots=True)
class DatasetOptions:
    """What is not left to be found out.

    Args:
        encoding: Python's name of a text file's codec.
        columns: purpose -> header or field, for `ReadOptions.columns`.
        single_turn: every question stands alone.
        kind: what the data are for; one of `DATA_PURPOSES`.
    """

    encoding: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    single_turn: bool = False
    kind: str | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DatasetOptions":
        """What `as_dict` made; {} is no options."""
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types."""
        return {
            "encoding": self.encoding,
            "columns": dict(self.columns),
            "single_turn": self.single_turn,
            "kind": self.kind,
        }

    def checked(self) -> "DatasetOptions":
        """The same with the encoding's usual name.

        Raises:
            UsageError: everything in it that is not known, at once.
        """
        problems, encoding = [], self.encoding
        if encoding is not None:
            try:
                encoding = known_encoding(encoding[:100])
            except ValueError as error:
                problems.append(f"encoding: {error}")
        for purpose, column in self.columns.items():
            if purpose not in PURPOSES:
                problems.append(f"columns: {purpose[:40]!r} is none of {', '.join(PURPOSES)}")
            elif not 0 < len(column) <= _MAX_COLUMN_CHARS:
                problems.append(f"columns: {purpose}")
        if self.kind is not None and self.kind not in DATA_PURPOSES:
            problems.append(f"kind: {self.kind[:40]!r} is none of {', '.join(DATA_PURPOSES)}")
        if problems:
            raise UsageError("platform.datasets.bad_options", problems="\n  ".join(problems))
        return DatasetOptions(encoding, dict(self.columns), self.single_turn, self.kind)

    def reading(self) -> ReadOptions:
        """For the data room."""
        columns = {purpose: self.columns[purpose] for purpose in PURPOSES if purpose in self.columns}
        return ReadOptions(self.encoding, columns, self.single_turn)
