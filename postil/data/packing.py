"""Whole examples laid end to end, up to a number of tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from postil.data.examples import Example


@dataclass(frozen=True, slots=True)
class Pack:
    """Whole examples that are computed together; attention never crosses from one to another.

    Args:
        examples: in the order they were drawn.
    """

    examples: tuple[Example, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of all examples."""
        return sum(len(e.input_ids) for e in self.examples)

    @property
    def num_trained_tokens(self) -> int:
        """Tokens that carry a label."""
        return sum(e.num_trained_tokens for e in self.examples)


def pack_examples(examples: Sequence[Example], max_tokens: int) -> list[Pack]:
    """Splits examples, in order, into packs of at most `max_tokens` tokens.

    An example longer than `max_tokens` gets a pack of its own: rows are never cut.
    """
    packs: list[Pack] = []
    current: list[Example] = []
    size = 0
    for example in examples:
        if current and size + len(example.input_ids) > max_tokens:
            packs.append(Pack(tuple(current)))
            current, size = [], 0
        current.append(example)
        size += len(example.input_ids)
    if current:
        packs.append(Pack(tuple(current)))
    return packs
