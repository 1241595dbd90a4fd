"""`tokens.json`: how many tokens each trained row has, in file order. What a bill is computed from."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import msgspec

from postil.config import TrainingConfig
from postil.data.examples import Example
from postil.models.manifest import write_text_atomically

NAME = "tokens.json"


class RowTokens(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of a run's rows.

    Args:
        row_tokens: of each row that trains, in file order; a row that was split into several examples counts once.
        steps_per_pass: steps that go once over all rows.
    """

    row_tokens: list[int]
    steps_per_pass: int

    def passes(self, step: int) -> Fraction:
        """How often the rows were seen after `step` steps."""
        return Fraction(step, self.steps_per_pass)


def write_row_tokens(folder: Path, examples: Sequence[Example], config: TrainingConfig) -> None:
    """Writes `tokens.json`.

    Args:
        examples: what trains, in the order of the file.
        config: resolved.

    Raises:
        CannotWriteError: the folder is read-only or the disk is full.
    """
    rows = (config.batch_rows or 1) * config.accumulation
    found = RowTokens(row_tokens=tokens_of_rows(examples), steps_per_pass=-(-len(examples) // rows))
    write_text_atomically(folder / NAME, msgspec.json.encode(found).decode() + "\n")


def tokens_of_rows(examples: Sequence[Example]) -> list[int]:
    """Tokens of each row, in file order; a row that was split into several examples counts once."""
    by_place: dict[object, int] = {}
    for example in examples:
        by_place[example.place] = by_place.get(example.place, 0) + len(example.input_ids)
    return list(by_place.values())


def find_row_tokens(folder: Path) -> RowTokens | None:
    """What `write_row_tokens` wrote; None before the data were read."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=RowTokens)
    except (OSError, msgspec.DecodeError):
        return None
