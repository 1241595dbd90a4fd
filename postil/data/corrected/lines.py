"""Text again: only the lines that a change concerns go, or say something else."""

from collections.abc import Iterable, Iterator, Sequence

from postil.data.corrected.changes import RecordChange, pair_drafts

NumberedLine = tuple[int, str]
"""(number, text without its line end). Several lines may have one number: the lines of a paragraph."""


def corrected_lines(lines: Sequence[NumberedLine], changes: Iterable[RecordChange]) -> list[NumberedLine]:
    """The lines that stay, as they should be.

    Where several lines become one text of another length, the new text stands at the first of them.
    """
    texts: list[list[str] | None] = [[text] for _, text in lines]
    by_number: dict[int, list[int]] = {}
    for index, (number, _) in enumerate(lines):
        by_number.setdefault(number, []).append(index)
    for change in changes:
        indices = [i for row in sorted(change.rows) for i in by_number.get(row, ())]
        if change.after is None:
            for i in indices:
                texts[i] = None
        else:
            _rewrite(texts, indices, by_number, change)
    return list(_without_double_gaps(lines, texts))


def _without_double_gaps(lines: Sequence[NumberedLine], texts: Sequence[list[str] | None]) -> Iterator[NumberedLine]:
    """The lines that stay; of two blank ones that meet because what stood between them went, one."""
    has_gone, last = False, ""
    for (number, _), found in zip(lines, texts, strict=True):
        if found is None:
            has_gone = True
            continue
        for text in found:
            if not (has_gone and not text.strip() and not last.strip()):
                yield number, text
                last = text
                has_gone = False


def _rewrite(
    texts: list[list[str] | None], indices: Sequence[int], by_number: dict[int, list[int]], change: RecordChange
) -> None:
    assert change.after is not None
    if not change.before.turns:
        at = 0
        for name, old in change.before.fields.items():
            new = change.after.fields.get(name, "")
            at = _replace(texts, indices, at, str(old), str(new))
        return
    at = 0
    for draft, left in pair_drafts(change.before.turns, change.after.turns):
        own = by_number.get(draft.place.row, ()) if draft.place is not None else ()
        at = next((k for k, i in enumerate(indices) if i in own), at)
        at = _replace(texts, indices, at, str(draft.content), None if left is None else str(left.content))
        if left is None and len(own) == 1:
            texts[own[0]] = None  # who speaks may stand on a line above what is said


def _replace(texts: list[list[str] | None], indices: Sequence[int], start: int, old: str, new: str | None) -> int:
    """Finds the lines of `old` from `start` on and writes `new` there; None takes the lines out.

    Returns:
        Where the search for the next text begins.
    """
    found: list[tuple[int, str]] = []
    at = start
    for piece in (line for line in old.split("\n") if line.strip()):
        index = next((k for k in range(at, len(indices)) if piece.strip() in _first(texts[indices[k]])), None)
        if index is None:
            return start
        found.append((indices[index], piece.strip()))
        at = index + 1
    if new == old or not found:
        return max(at - 1, start) if found else start
    _write(texts, found, new)
    return max(at - 1, start)


def _write(texts: list[list[str] | None], found: Sequence[tuple[int, str]], new: str | None) -> None:
    if new is None:
        for index, _ in found:
            texts[index] = None
        return
    shown = [line for line in new.split("\n") if line.strip()]
    if len(shown) == len(found):
        for (index, piece), line in zip(found, shown, strict=True):
            texts[index] = [_first(texts[index]).replace(piece, line.strip(), 1)]
        return
    first, piece = found[0]
    texts[first] = _first(texts[first]).replace(piece, new.strip(), 1).split("\n")
    for index, _ in found[1:]:
        if index != first:
            texts[index] = None


def _first(text: list[str] | None) -> str:
    return "\n".join(text or ())
