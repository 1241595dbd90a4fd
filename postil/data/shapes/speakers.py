"""Who asks and who answers in a table of speakers: told by their names, or by how they behave."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any

from postil.data.shapes.column_contents import asks
from postil.data.shapes.columns import list_names, normalize_name
from postil.data.shapes.drafts import CALL_ROLES, ROLES, Draft, plain_text
from postil.data.shapes.speaker_names import side_of

PAIR_MARKS = {
    **dict.fromkeys(("q", "question", "问", "问题", "提问", "問", "問題", "質問"), "user"),
    **dict.fromkeys(("a", "answer", "答", "答案", "回答"), "assistant"),
}
"""In the place of speakers' names: each question begins anew."""

_DIRECTIONS = {
    **dict.fromkeys(("in", "inbound", "incoming", "received", "receive", "接收", "收到", "收", "进线"), "user"),
    **dict.fromkeys(("out", "outbound", "outgoing", "sent", "send", "发送", "发出", "发", "回复"), "assistant"),
    **dict.fromkeys(("outbound_api", "outbound_reply"), "assistant"),
}
"""Which way a message went, as those who answer see it."""


@dataclass(frozen=True, slots=True)
class Cast:
    """The role of every speaker's name, and the (users, assistants) that only their behaviour tells."""

    roles: Mapping[str, str]
    guess: tuple[str, str] | None = None


def role_of(name: str) -> str | None:
    """The role that a name tells of; None for a person's."""
    folded = normalize_name(name)
    if folded in CALL_ROLES:
        return folded
    if (side := pair_mark(folded)) is not None:
        return side
    return ROLES.get(folded) or _DIRECTIONS.get(folded) or side_of(" ".join(name.casefold().split()))


def pair_mark(name: str) -> str | None:
    """The role of a mark such as "Q", "答" or "Q12"; None for anything else."""
    return PAIR_MARKS.get(normalize_name(name).rstrip("0123456789_."))


def find_cast(chats: Sequence[Sequence[str]], said: Iterable[tuple[str, Any]] = ()) -> Cast:
    """The roles of all names.

    Args:
        chats: the speakers of each chat, row by row; "" where none is named.
        said: (speaker, what is said) of all rows, where only that may tell who asks.
    """
    names = dict.fromkeys(name for chat in chats for name in chat if name)
    known = {name: role for name in names if (role := role_of(name)) is not None}
    unknown = [name for name in names if name not in known]
    told = {"user", "assistant"} & set(known.values())
    if not unknown or len(told) == 2:
        return Cast(known)
    if told:
        return Cast(known | dict.fromkeys(unknown, "assistant" if told == {"user"} else "user"))
    return _guessed_cast(chats, known, unknown, said)


def people_roles(drafts: Sequence[Draft]) -> Mapping[str, str]:
    """The roles of all who speak in one list of messages, where people's names stand among them; {} elsewhere."""
    people = {d.speaker for d in drafts if d.speaker and d.role not in ROLES and d.role not in CALL_ROLES}
    if not people or not all(d.speaker for d in drafts):
        return {}
    roles = find_cast([[d.speaker for d in drafts]], ((d.speaker, plain_text(d.content)) for d in drafts)).roles
    return roles if {"user", "assistant"} <= set(roles.values()) and people <= roles.keys() else {}


def find_answerer(speakers: Sequence[str]) -> str | None:
    """Of three or more who speak in one log the one with whom each of the others speaks, and they only with him.

    Args:
        speakers: row by row.
    """
    meetings = [pair for pair in pairwise(name for name in speakers if name) if pair[0] != pair[1]]
    counts = Counter(name for pair in meetings for name in set(pair))
    if len(counts) < 3:
        return None
    (top, most), (_, second) = counts.most_common(2)
    return top if most >= 0.9 * len(meetings) and most > second else None


def find_asker(speakers: Sequence[str], said: Iterable[tuple[str, Any]]) -> str:
    """Of two who speak the one who asks: the first, unless it was only a greeting and the other asks far more.

    Args:
        speakers: in the order in which they speak, two different ones.
    """
    first = speakers[0]
    other = next(name for name in speakers if name != first)
    counts = Counter(name for name, text in said if isinstance(text, str) and asks(text.strip()))
    return other if counts[other] >= 2 and counts[other] > 2 * counts[first] else first


def _guessed_cast(
    chats: Sequence[Sequence[str]], known: Mapping[str, str], unknown: Sequence[str], said: Iterable[tuple[str, Any]]
) -> Cast:
    """Persons' names: those that come back in chat after chat answer, or else whoever does not speak first.

    In one log of many it is the one with whom all others speak.
    """
    persons = set(unknown)
    speakers = [[name for name in chat if name in persons] for chat in chats]
    counts = Counter(name for chat in speakers for name in set(chat))
    most = max(counts.values())
    first = next(chat[0] for chat in speakers if chat)
    if len(persons) == 2:
        first = find_asker(list(chain.from_iterable(speakers)), said)
    most_often, often = ({name for name, count in counts.items() if count >= least} for least in (most, 2))
    if len(speakers) == 1 and (answerer := find_answerer(speakers[0])) is not None:
        most_often = {answerer}
    for answering in (most_often, often, persons - {first}):
        meetings = sum(bool(answering & set(chat)) and not answering >= set(chat) for chat in speakers)
        if len(answering) < len(persons) and meetings >= 0.8 * len(chats):
            break
    else:
        return Cast(known)
    roles = {name: "assistant" if name in answering else "user" for name in unknown}
    users, assistants = ([n for n, role in roles.items() if role == wanted] for wanted in ("user", "assistant"))
    return Cast({**known, **roles}, (list_names(users), list_names(assistants)))
