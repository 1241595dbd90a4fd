"""JSON whose entries are single messages: chats are put together of them."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from postil.data.shapes.columns import Layout, find_label, find_layout, normalize_name
from postil.data.shapes.drafts import Draft
from postil.data.shapes.record import Record
from postil.data.shapes.speakers import find_cast, role_of
from postil.data.shapes.turns import message_draft
from postil.problems import Place, Problem

FEWEST_MESSAGES = 4


@dataclass(slots=True)
class _Chat:
    layout: Layout
    turns: list[tuple[Any, Draft]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


def is_log_row(value: Any, layout: Layout) -> bool:
    """Whether an entry is one message: who speaks, in a role that is known, and what."""
    if not isinstance(value, dict) or not layout.is_log or layout.is_pair or layout.turns:
        return False
    return role_of(str(value.get(layout.speaker or ""))) is not None


def people_layout(value: Mapping[str, Any]) -> Layout:
    """What an entry's fields are for where it is a message: "user" beside a text and no answer says who speaks."""
    layout = find_layout(tuple(value))
    if layout.is_log or layout.content is None or layout.answer is not None or layout.question is None:
        return layout
    if normalize_name(layout.question) != "user":
        return layout
    return replace(layout, speaker=layout.question, question=None, reason="structure", confidence=0.8)


def is_people_log(values: Sequence[Any]) -> bool:
    """Whether a few people speak in turns: entries without labels, few names, and mostly another than before.

    Reviews and posts name who wrote them as well; there one name hardly comes back, or all of its texts stand together.
    """
    if len(values) < FEWEST_MESSAGES or not all(isinstance(value, dict) for value in values):
        return False
    layouts = [people_layout(value) for value in values]
    if not all(layout.is_log for layout in layouts) or find_label(tuple(values[0]), strong=False) is not None:
        return False
    names = [repr(value[layout.speaker or ""]) for value, layout in zip(values, layouts, strict=True)]
    num_changes = sum(before != after for before, after in pairwise(names))
    return 2 <= len(set(names)) <= max(2, len(names) // 5) and 2 * num_changes >= len(names) - 1


def log_records(
    file: str, entries: Iterable[tuple[int, Mapping[str, Any], Layout] | Problem]
) -> Iterator[Record | Problem]:
    """One record for each chat: entries with the same session, or all of them where they name none."""
    chats: dict[Hashable, _Chat] = {}
    for entry in entries:
        if isinstance(entry, Problem):
            yield entry
            continue
        number, value, layout = entry
        session = value.get(layout.session or "")
        chat = chats.setdefault(repr(session), _Chat(layout))
        draft = message_draft(value, layout.speaker or "", layout.content or "", layout.content, Place(file, number))
        chat.turns.append((value.get(layout.time or ""), draft))
        chat.names.append(draft.speaker or str(value[layout.speaker or ""]).strip())
    said = (
        (name, draft.content)
        for chat in chats.values()
        for name, (_, draft) in zip(chat.names, chat.turns, strict=True)
    )
    cast = find_cast([chat.names for chat in chats.values()], said)
    if cast.guess is not None:
        values = {"user": cast.guess[0], "assistant": cast.guess[1]}
        yield Problem("speakers_guessed", "warning", Place(file), values=values)
    for chat in chats.values():
        named = zip(chat.turns, chat.names, strict=True)
        turns = [(time, replace(draft, role=cast.roles.get(name, draft.role))) for (time, draft), name in named]
        drafts = tuple(draft for _, draft in _in_time(turns))
        rows = tuple(sorted(draft.place.row for draft in drafts if draft.place))
        yield Record(Place(file, rows[0]), {}, chat.layout, drafts, rows, len(rows))


def _in_time(turns: list[tuple[Any, Draft]]) -> list[tuple[Any, Draft]]:
    """Ordered by time where times can be compared as they are written; else as they stand."""
    times = [time for time, _ in turns]
    are_numbers = all(isinstance(t, int | float) and not isinstance(t, bool) for t in times)
    are_stamps = all(isinstance(t, str) and t[:4].isdigit() for t in times) and len({len(t) for t in times}) == 1
    return sorted(turns, key=lambda turn: turn[0]) if are_numbers or are_stamps else turns
