"""Who asks and who answers in a table of speakers: told by their names, or by how they behave."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from postil.data.shapes.columns import list_names, normalize_name
from postil.data.shapes.drafts import CALL_ROLES, ROLES
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
    if folded in CALL_ROLES or folded in PAIR_MARKS:
        return PAIR_MARKS.get(folded, folded)
    return ROLES.get(folded) or _DIRECTIONS.get(folded) or side_of(" ".join(name.casefold().split()))


def find_cast(chats: Sequence[Sequence[str]]) -> Cast:
    """The roles of all names.

    Args:
        chats: the speakers of each chat, row by row; "" where none is named.
    """
    names = dict.fromkeys(name for chat in chats for name in chat if name)
    known = {name: role for name in names if (role := role_of(name)) is not None}
    unknown = [name for name in names if name not in known]
    told = {"user", "assistant"} & set(known.values())
    if not unknown or len(told) == 2:
        return Cast(known)
    if told:
        return Cast(known | dict.fromkeys(unknown, "assistant" if told == {"user"} else "user"))
    return _guessed_cast(chats, known, unknown)


def _guessed_cast(chats: Sequence[Sequence[str]], known: Mapping[str, str], unknown: Sequence[str]) -> Cast:
    """Persons' names: those that come back in chat after chat answer, or else whoever does not speak first."""
    persons = set(unknown)
    speakers = [[name for name in chat if name in persons] for chat in chats]
    counts = Counter(name for chat in speakers for name in set(chat))
    most = max(counts.values())
    first = next(chat[0] for chat in speakers if chat)
    most_often, often = ({name for name, count in counts.items() if count >= least} for least in (most, 2))
    for answering in (most_often, often, persons - {first}):
        meetings = sum(bool(answering & set(chat)) and not answering >= set(chat) for chat in speakers)
        if len(answering) < len(persons) and meetings >= 0.8 * len(chats):
            break
    else:
        return Cast(known)
    roles = {name: "assistant" if name in answering else "user" for name in unknown}
    users, assistants = ([n for n, role in roles.items() if role == wanted] for wanted in ("user", "assistant"))
    return Cast({**known, **roles}, (list_names(users), list_names(assistants)))
