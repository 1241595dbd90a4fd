"""Whole examples laid end to end, up to a number of tokens; what they begin with alike may be laid once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from postil.data.examples import IGNORED, Example
from postil.data.prefix_tree import LaidRows, PrefixTree, lay_end_to_end

MIN_SAVED_SHARE = 0.15
"""Beginnings are shared where that saves at least this share of the tokens; below, the plain layout is as quick."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Whole examples that are computed together; attention never crosses from one to another.

    Args:
        examples: in the order they were drawn.
        shares: tokens that examples begin with alike may be laid once, and what comes after an example's last trained
            token may be left out; neither changes a loss or a gradient.
    """

    examples: tuple[Example, ...]
    shares: bool = False

    @property
    def num_tokens(self) -> int:
        """Tokens of all examples."""
        return sum(len(e.input_ids) for e in self.examples)

    @property
    def num_trained_tokens(self) -> int:
        """Tokens that carry a label."""
        return sum(e.num_trained_tokens for e in self.examples)

    def lay(self) -> LaidRows:
        """Where the tokens are laid."""
        if not self.shares:
            return lay_end_to_end([e.input_ids for e in self.examples])
        rows = [predicting_tokens(e) for e in self.examples]
        tree = PrefixTree()
        for row in rows:
            tree.add(row)
        return tree.lay() if _is_worth_sharing(tree.row_tokens, tree.laid_tokens) else lay_end_to_end(rows)


def predicting_tokens(example: Example) -> tuple[int, ...]:
    """An example up to the token that predicts its last trained one: nothing that is learned sees the rest."""
    trained = (i for i in range(len(example.labels) - 1, 0, -1) if example.labels[i] != IGNORED)
    return example.input_ids[: next(trained, 0)]


def pack_examples(examples: Sequence[Example], max_tokens: int, *, shares: bool = False) -> list[Pack]:
    """Splits examples, in order, into packs of at most `max_tokens` laid tokens.

    An example longer than `max_tokens` gets a pack of its own: rows are never cut.

    Args:
        shares: see `Pack`.
    """
    packs: list[Pack] = []
    current = _Filling()
    for example in examples:
        row = predicting_tokens(example) if shares else example.input_ids
        if current.examples and current.tokens_with(row, shares) > max_tokens:
            packs.append(Pack(tuple(current.examples), shares))
            current = _Filling()
        current.add(example, row, shares)
    if current.examples:
        packs.append(Pack(tuple(current.examples), shares))
    return packs


@dataclass(slots=True)
class _Filling:
    """A pack that still grows."""

    examples: list[Example] = field(default_factory=list)
    tokens: int = 0
    tree: PrefixTree = field(default_factory=PrefixTree)

    def tokens_with(self, row: tuple[int, ...], shares: bool) -> int:
        """Tokens laid once this row is in it."""
        whole = self.tokens + len(row)
        laid = self.tree.laid_tokens + self.tree.new_tokens(row) if shares else whole
        return laid if _is_worth_sharing(whole, laid) else whole

    def add(self, example: Example, row: tuple[int, ...], shares: bool) -> None:
        self.examples.append(example)
        self.tokens += len(row)
        if shares:
            self.tree.add(row)


def _is_worth_sharing(row_tokens: int, laid_tokens: int) -> bool:
    return row_tokens - laid_tokens >= MIN_SAVED_SHARE * row_tokens
