"""Chat logs: who speaks, what is said, and where one chat ends and the next begins."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from postil.data.shapes.columns import list_names
from postil.data.shapes.media_stand_ins import is_messenger_notice, is_withdrawal
from postil.data.shapes.speaker_lines import (
    Speech,
    find_speech,
    is_chat_title,
    is_day,
    is_moment,
    is_stamped,
    is_undecorated,
)
from postil.data.shapes.speaker_names import Side, folded_name, is_notice, side_of
from postil.data.shapes.speakers import find_asker
from postil.data.shapes.text_lines import Line, is_rule
from postil.data.shapes.text_pairs import Chat, TextReading, TextShape, rows_of, written

# --- Who is who ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cast:
    """The side of every name that speaks, and whether names told it."""

    sides: Mapping[str, Side]
    confidence: float
    guess: tuple[str, str] | None = None


def _find_cast(lines: Sequence[Line], speeches: Sequence[Speech]) -> _Cast | None:
    """Who speaks; None where the names do not look like speakers."""
    known = {name: side for name in dict.fromkeys(s.name for s in speeches) if (side := side_of(name)) is not None}
    told = set(known.values()) - {"system"}
    unknown = [speech for speech in speeches if speech.name not in known]
    is_log = 2 * sum(speech.has_time for speech in speeches) >= len(speeches)
    share = len(speeches) / sum(not line.is_blank for line in lines)
    if len(told) == 2:
        timed = [speech.name for speech in unknown if speech.has_time]
        changes = _num_changes([speech for speech in speeches if speech.name in known])
        is_certain = is_log or changes > 2 or (share >= 0.2 and 2 * len(unknown) < len(speeches))
        return _Cast(known | dict.fromkeys(timed, "user"), 0.97 if is_certain else 0.5)
    unknown = [speech for speech in unknown if speech.has_time or not lines[speech.index].head.startswith(("-", "•"))]
    counts = Counter(speech.name for speech in unknown)
    names = {name for name, count in counts.items() if count > 1 or share >= 0.7 or is_log}
    spoken = [speech for speech in speeches if speech.name in known or speech.name in names]
    if not names or not (is_log or share >= 0.4 or _num_changes(spoken) > 2):
        return None
    if told:
        other: Side = "assistant" if told == {"user"} else "user"
        num_known = sum(speech.name in known for speech in spoken)
        return _Cast(known | dict.fromkeys(names, other), 0.93) if 4 * num_known >= len(spoken) else None
    return _guessed_cast([s for s in unknown if s.name in names], is_log, share, known)


def _num_changes(speeches: Sequence[Speech]) -> int:
    return sum(before.name != after.name for before, after in pairwise(speeches))


def _guessed_cast(speeches: Sequence[Speech], is_log: bool, share: float, known: Mapping[str, Side]) -> _Cast | None:
    """Sides of persons' names: who speaks first asks, unless one of many speaks far more than the others."""
    counts = Counter(speech.name for speech in speeches)
    if len(counts) < 2 or len(speeches) < 3 or 2 * _num_changes(speeches) < len(speeches) - 1:
        return None
    if len(counts) > 2 and len({(a.name, b.name) for a, b in pairwise(speeches)}) == len(counts):
        return None  # always in the same order: fields of a form, not speakers
    repeated = sum(count for count in counts.values() if count > 1)
    if 2 * repeated < len(speeches) or (not is_log and (len(speeches) < 4 or share < 0.4)):
        return None
    first, (top, most) = speeches[0].name, counts.most_common(1)[0]
    if len(counts) > 2 and most >= 0.4 * len(speeches):
        sides: dict[str, Side] = {name: "assistant" if name == top else "user" for name in counts}
    else:
        if len(counts) == 2:
            first = find_asker([s.name for s in speeches], ((s.name, s.text) for s in speeches))
        sides = {name: "user" if name == first else "assistant" for name in counts}
    num_users = sum(sides[speech.name] == "user" for speech in speeches)
    if not 0.2 * len(speeches) <= num_users <= 0.8 * len(speeches):
        return None
    shown = {speech.name: speech.shown for speech in reversed(speeches)}
    users, assistants = ([shown[n] for n, side in sides.items() if side == wanted] for wanted in ("user", "assistant"))
    return _Cast({**known, **sides}, 0.85 if is_log else 0.7, (list_names(users), list_names(assistants)))


# --- Messages and chats ----------------------------------------------------------------------------------------------

_Edge = Literal[0, 1, 2, 3]  # what stands before a message: nothing, a blank line, a rule or date, a chat's title


@dataclass(slots=True)
class _Message:
    """One message; `lead` are the titles, dates and rules above it, `body` the lines below its first."""

    side: Side
    first: Line
    text: str
    edge: _Edge
    lead: list[Line]
    body: list[Line] = field(default_factory=list)

    @property
    def is_bare(self) -> bool:
        """True where nothing is said yet."""
        return not self.text and not self.body

    @property
    def rows(self) -> tuple[int, ...]:
        return rows_of([*self.lead, self.first, *self.body])


def read_chat(lines: Sequence[Line]) -> TextReading | None:
    """Chats of two sides or more; None where nobody can be seen to speak."""
    found = [speech for i, line in enumerate(lines) if (speech := find_speech(i, line)) is not None]
    speeches = [speech for speech in found if not is_messenger_notice(speech.text)]
    if len(speeches) < 2 or _mostly_silent(lines, speeches) or (cast := _find_cast(lines, speeches)) is None:
        return None
    spoken = {speech.index: speech for speech in speeches if speech.name in cast.sides}
    messages, skipped = _find_messages(lines, spoken, _notices(lines, found, spoken), cast)
    chats = [chat for part in _split(messages, 3) for chat in _split_where_both_speak(part)]
    items: list[tuple[int, Chat | Line]] = [(line.number, line) for line in skipped]
    confidence = cast.confidence
    for messages_of_chat in chats:
        kept, notices = _without_notices(messages_of_chat)
        items.extend((line.number, line) for line in notices)
        if kept:
            items.append((kept[0].first.number, _chat(kept)))
    made = [item for _, item in sorted(items, key=lambda item: item[0])]
    sides = Counter(side for chat in made if isinstance(chat, Chat) for side, _, _ in chat.turns)
    if not sides["user"] or not sides["assistant"]:
        return None
    num_chats = sum(isinstance(item, Chat) for item in made)
    evidence = {
        "questions": sides["user"],
        "answers": sides["assistant"],
        "chats": num_chats,
        "skipped": len(made) - num_chats,
    }
    return TextReading(TextShape("chat", confidence, evidence), tuple(made), cast.guess)


def _notices(lines: Sequence[Line], found: Sequence[Speech], spoken: Mapping[int, Speech]) -> set[int]:
    """Lines of the messenger: its notices, and lines with a day and a time of nobody where all messages have them."""
    notices = {speech.index for speech in found if is_messenger_notice(speech.text)}
    if all(is_stamped(lines[index]) for index in spoken):
        notices |= {index for index, line in enumerate(lines) if index not in spoken and is_stamped(line)}
    return notices


def _mostly_silent(lines: Sequence[Line], speeches: Sequence[Speech]) -> bool:
    """True where most names have nothing to say, as in a timetable."""
    ends = [*(speech.index for speech in speeches[1:]), len(lines)]
    silent = sum(
        not speech.text and all(map(_divides, lines[speech.index + 1 : min(end, speech.index + 4)]))
        for speech, end in zip(speeches, ends, strict=True)
    )
    return 2 * silent > len(speeches)


def _find_messages(
    lines: Sequence[Line], speeches: Mapping[int, Speech], notices: Collection[int], cast: _Cast
) -> tuple[list[_Message], list[Line]]:
    """Messages in order, and the lines that belong to none."""
    messages: list[_Message] = []
    skipped: list[Line] = []
    held: list[Line] = []  # blank lines, rules, dates and titles, whose place the next line decides
    for index, line in enumerate(lines):
        if index in speeches:
            speech = speeches[index]
            edge, lead, titles = _edge_of(held)
            skipped.extend(titles)
            messages.append(_Message(cast.sides[speech.name], line, speech.text, edge, lead))
            held = []
        elif messages and messages[-1].is_bare and is_undecorated(line) and all(h.is_blank for h in held):
            messages[-1].body.extend((*held, line))  # somebody may say nothing but a day, or a time
            held = []
        elif index in notices or (is_withdrawal(line.text) and not (messages and messages[-1].is_bare)):
            skipped.append(line)
        elif _divides(line):
            held.append(line)
        elif messages:
            messages[-1].body.extend((*held, line))
            held = []
        else:
            skipped.extend(held_line for held_line in (*held, line) if not held_line.is_blank)
            held = []
    skipped.extend(line for line in held if not line.is_blank)
    return messages, skipped


def _divides(line: Line) -> bool:
    return line.is_blank or _edge_at(line) > 1 or line.head.startswith("#") or is_moment(line)


def _edge_at(line: Line) -> _Edge:
    if line.is_blank:
        return 1
    if is_chat_title(line):
        return 3
    return 2 if is_rule(line) or is_day(line) else 0


def _edge_of(held: Sequence[Line]) -> tuple[_Edge, list[Line], list[Line]]:
    """(what stands before a message, lines that belong to its chat, titles that belong to nothing)."""
    edges = [_edge_at(line) for line in held]
    is_title = [line.head.startswith("#") and edge < 2 for line, edge in zip(held, edges, strict=True)]
    lead = [line for line, title in zip(held, is_title, strict=True) if not title]
    titles = [line for line, title in zip(held, is_title, strict=True) if title]
    return max((3 if titles else 0, *edges)), lead, titles


def _split(messages: Sequence[_Message], edge: int) -> list[list[_Message]]:
    """Runs of messages, cut before each that has at least `edge` above it."""
    parts: list[list[_Message]] = []
    for message in messages:
        if not parts or message.edge >= edge:
            parts.append([])
        parts[-1].append(message)
    return parts


def _split_where_both_speak(messages: Sequence[_Message]) -> list[list[_Message]]:
    """Rules and dates, or else blank lines, divide chats if in four parts of five both sides speak, the same first."""
    for edge in (2, 1):
        parts = _split(messages, edge)
        whole = [part for part in parts if _is_whole(part, parts[0])]
        if len(parts) > 1 and len(whole) >= 0.8 * len(parts):
            return parts
    return [list(messages)]


def _is_whole(part: Sequence[_Message], first: Sequence[_Message]) -> bool:
    opens_alike = _opening(part) == _opening(first)
    return opens_alike and {"user", "assistant"} <= {message.side for message in part}


def _opening(part: Sequence[_Message]) -> Side | None:
    return next((message.side for message in part if message.side != "system"), None)


def _without_notices(messages: Sequence[_Message]) -> tuple[list[_Message], list[Line]]:
    """A system message opens a chat; later ones tell that somebody came or left."""
    kept: list[_Message] = []
    notices: list[Line] = []
    for number, message in enumerate(messages):
        opens = number == 0 and message.text and not is_notice(folded_name(message.first.head.split(":")[0]))
        if message.side != "system" or opens:
            kept.append(message)
        else:
            notices.extend(line for line in (*message.lead, message.first, *message.body) if not line.is_blank)
    return kept, notices


def _chat(messages: Sequence[_Message]) -> Chat:
    rows = tuple(dict.fromkeys(row for message in messages for row in message.rows))
    said = tuple((m.side, written(m.text, m.body), m.first.number) for m in messages)
    return Chat(said, rows)
