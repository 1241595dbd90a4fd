"""Rows that begin alike, laid once: a tree of token stretches.

    rows            A + question 1,  A + question 2,  A + question 2 + answer + question 3,  B + question 4
                    (A and B: system prompts)

    tree            A (0) ─┬─ question 1 (1)
                           └─ question 2 (2) ── answer, question 3 (3)
                    B, question 4 (4)

    laid            | A .......... | question 1 | question 2 | answer, question 3 | B, question 4 |
    position          0 .......... P-1  P ...     P ...        P+n ...              0 ...
    history           nothing        A            A            A, question 2        nothing

A segment attends to its history and, causally, to itself: token for token what each row attends to when it is alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

MIN_SHARED_TOKENS = 16
"""A stretch shorter than this is computed again: every segment costs calls of its own in every layer."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of tokens that is laid once, for all rows that have it after the same history.

    Args:
        start: index of its first token in the pack; segments lie end to end, in order.
        length: its tokens, at least one.
        position: of its first token within its rows.
        history: (start, end) of the indices before it in its rows, from the row's first token on; adjoining ones are
            one. Their lengths sum to `position`.
    """

    start: int
    length: int
    position: int = 0
    history: tuple[tuple[int, int], ...] = ()

    @property
    def end(self) -> int:
        """Index after its last token."""
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class LaidRows:
    """Where the tokens of some rows are laid.

    Args:
        token_ids: of all segments, end to end.
        paths: for each row, the segments that make it up, by number; empty for a row without tokens.
    """

    token_ids: tuple[int, ...]
    segments: tuple[Segment, ...]
    paths: tuple[tuple[int, ...], ...]

    def indices(self, row: int) -> list[int]:
        """Index in the pack of each token of a row."""
        segments = (self.segments[number] for number in self.paths[row])
        return [index for s in segments for index in range(s.start, s.end)]


def lay_end_to_end(rows: Sequence[Sequence[int]]) -> LaidRows:
    """Every row a segment of its own."""
    segments: list[Segment] = []
    paths: list[tuple[int, ...]] = []
    start = 0
    for row in rows:
        paths.append((len(segments),) if row else ())
        if row:
            segments.append(Segment(start, len(row)))
        start += len(row)
    return LaidRows(tuple(token for row in rows for token in row), tuple(segments), tuple(paths))


@dataclass(slots=True, eq=False)
class _Node:
    tokens: tuple[int, ...]
    parent: "_Node | None" = None
    children: list["_Node"] = field(default_factory=list)


@dataclass(slots=True)
class PrefixTree:
    """A tree that rows are added to one after the other; which segments it has depends on the rows and their order.

    Args:
        row_tokens: tokens of the rows added so far, each counted whole.
        laid_tokens: tokens of the segments.
    """

    row_tokens: int = 0
    laid_tokens: int = 0
    _root: _Node = field(default_factory=lambda: _Node(()))
    _ends: list[_Node] = field(default_factory=list)

    def new_tokens(self, row: tuple[int, ...]) -> int:
        """How many tokens of a row are not there yet."""
        _, shared, _ = self._descend(row)
        return len(row) - shared

    def add(self, row: tuple[int, ...]) -> None:
        """Adds a row."""
        node, shared, inside = self._descend(row)
        if inside:
            node = _split(node, inside)
        if shared < len(row):
            node = _attach(node, row[shared:])
        self._ends.append(node)
        self.row_tokens += len(row)
        self.laid_tokens += len(row) - shared

    def _descend(self, row: tuple[int, ...]) -> tuple[_Node, int, int]:
        """The deepest node that a row goes through, how many of its tokens are there, and how many of these lie inside
        that node, where the row leaves it before its end (0: it goes through the whole node)."""
        node, done = self._root, 0
        while done < len(row):
            best, common = None, 0
            for child in node.children:
                length = _common(child.tokens, row, done)
                if length > common:
                    best, common = child, length
            if best is None or (common < len(best.tokens) and common < MIN_SHARED_TOKENS):
                break
            node, done = best, done + common
            if common < len(best.tokens):
                return node, done, common
        return node, done, 0

    def lay(self) -> LaidRows:
        """Lays the tree's nodes end to end, each before its children."""
        numbers: dict[_Node, int] = {self._root: -1}
        segments: list[Segment] = []
        tokens: list[int] = []
        for node in _before_their_children(self._root):
            numbers[node] = len(segments)
            before = numbers[node.parent] if node.parent is not None else -1
            position, history = _after(segments[before]) if before >= 0 else (0, ())
            segments.append(Segment(len(tokens), len(node.tokens), position, history))
            tokens.extend(node.tokens)
        return LaidRows(tuple(tokens), tuple(segments), tuple(_path(end, numbers) for end in self._ends))


def _common(tokens: tuple[int, ...], row: tuple[int, ...], start: int) -> int:
    """How many tokens agree with a row from `start` on."""
    length = min(len(tokens), len(row) - start)
    if tokens[0] != row[start]:
        return 0
    if tokens[:length] == row[start : start + length]:
        return length
    return next(i for i in range(length) if tokens[i] != row[start + i])


def _split(node: _Node, length: int) -> _Node:
    """Puts the first tokens of a node into a new one above it, which is returned."""
    upper = _Node(node.tokens[:length], node.parent, [node])
    assert node.parent is not None  # the root has no tokens and is never split
    node.parent.children[node.parent.children.index(node)] = upper
    node.parent, node.tokens = upper, node.tokens[length:]
    return upper


def _attach(parent: _Node, tokens: tuple[int, ...]) -> _Node:
    child = _Node(tokens, parent)
    parent.children.append(child)
    return child


def _before_their_children(root: _Node) -> Iterator[_Node]:
    waiting = list(reversed(root.children))
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(reversed(node.children))


def _after(segment: Segment) -> tuple[int, tuple[tuple[int, int], ...]]:
    """Position and history of what follows a segment."""
    *earlier, last = segment.history or ((segment.start, segment.start),)
    if last[1] == segment.start:
        history = (*earlier, (last[0], segment.end))
    else:
        history = (*segment.history, (segment.start, segment.end))
    return segment.position + segment.length, history


def _path(end: _Node, numbers: dict[_Node, int]) -> tuple[int, ...]:
    path: list[int] = []
    node: _Node | None = end
    while node is not None and node.parent is not None:
        path.append(numbers[node])
        node = node.parent
    return tuple(reversed(path))
