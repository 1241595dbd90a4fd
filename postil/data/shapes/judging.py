"""Drafts of messages, judged: known roles, text, and an order that can be learned."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import msgspec

from postil.data.conversations import Message, Role
from postil.data.shapes.columns import list_names
from postil.data.shapes.drafts import CALL_ROLES, ROLES, Draft, Findings, Origin, is_blank, origin_of, plain_text
from postil.data.shapes.media_stand_ins import is_stand_in
from postil.data.shapes.speakers import people_roles
from postil.data.shapes.tool_calls import ToolFault, plain_json, read_calls
from postil.data.shapes.turn_order import Turn, check_order, inner_roles, is_learnable, join_neighbours
from postil.problems import FixAction

_BLANK_CODES = {"user": "missing_question", "assistant": "missing_answer"}


def judge_drafts(
    drafts: Sequence[Draft], findings: Findings, *, is_log: bool = False
) -> tuple[tuple[Message, ...], tuple[Origin, ...]]:
    """Messages of the drafts and their origins, where each has a known role and text and their order can be learned.

    Everything that is wrong is noted in `findings`, with what could be read all the same; then both are empty.

    Args:
        is_log: written by people, who send one message after another before they are answered: these are joined.
    """
    drafts = _with_system_as_speaker(_with_cast(_without_internal(drafts, findings), findings))
    drops_empty = _can_drop_empty(drafts)
    joined = turns = _turns(drafts, drops_empty, findings)
    if not any(p.code in ("unknown_role", "bad_tool_call") for p in findings.problems):
        joined = turns = _with_one_system(turns, findings)
        if is_log:
            joined = _joined(turns, findings)
        check_order(joined, findings)
        if drops_empty:
            _check_order_without_empty(turns, findings, is_log)
    if findings.has_errors or joined is not turns:
        findings.readable = tuple((t.message, origin_of(t.draft)) for t in turns if t.message.content)
    if findings.has_errors:
        return (), ()
    return tuple(t.message for t in joined), tuple(origin_of(t.draft) for t in joined)


def _turns(drafts: Sequence[Draft], drops_empty: bool, findings: Findings) -> list[Turn]:
    turns: list[Turn] = []
    for draft in drafts:
        if draft.role not in ROLES and draft.role not in CALL_ROLES:
            findings.add("unknown_role", draft, found=draft.content, role=draft.role or "-")
            turns.append(Turn(Message("user", plain_text(draft.content) or ""), draft))
        elif (turn := _turn(draft, drops_empty, findings)) is not None:
            _append(turns, turn)
        if draft.left_out:
            findings.add("thinking_left_out", draft, severity="warning", column=draft.left_out)
    return turns


def _joined(turns: list[Turn], findings: Findings) -> list[Turn]:
    """The turns with neighbours of one speaker as one, which is told; the same list where there are none."""
    joined = join_neighbours(turns)
    if len(joined) == len(turns):
        return turns
    first = next(before for before, after in zip(turns, joined, strict=False) if before is not after)
    num_joined, text = len(turns) - len(joined), first.message.content
    findings.add("messages_joined", first.draft, found=text, severity="warning", messages=num_joined)
    return joined


def _without_internal(drafts: Sequence[Draft], findings: Findings) -> Sequence[Draft]:
    """What was said to the customer; notes among colleagues are told and left out."""
    if not any(d.is_internal for d in drafts):
        return drafts
    for draft in drafts:
        if draft.is_internal:
            findings.add("internal_note", draft, found=draft.content, severity="warning")
    return [d for d in drafts if not d.is_internal]


def _with_cast(drafts: Sequence[Draft], findings: Findings) -> Sequence[Draft]:
    """Roles for the names of people, as they behave in this chat; who was taken for whom is told."""
    roles = people_roles(drafts)
    if not roles:
        return drafts
    users, assistants = (list_names([n for n in roles if roles[n] == role]) for role in ("user", "assistant"))
    column = drafts[0].column
    findings.add("speakers_guessed", blamed=column, severity="warning", user=users, assistant=assistants)
    return [replace(d, role=roles[d.speaker]) for d in drafts]


def _with_system_as_speaker(drafts: Sequence[Draft]) -> Sequence[Draft]:
    """Dialogue corpora call the two speakers USER and SYSTEM: there the system is the one who answers."""
    roles = [ROLES.get(draft.role) for draft in drafts]
    if set(roles) != {"user", "system"} or roles[0] != "user" or "system" not in roles[1:]:
        return drafts
    return [replace(d, role="assistant") if r == "system" else d for d, r in zip(drafts, roles, strict=True)]


def _turn(draft: Draft, drops_empty: bool, findings: Findings) -> Turn | None:
    """The draft as a message; one with a fault stands in the order all the same, without text. None: says nothing."""
    role: Role = "assistant" if draft.role in CALL_ROLES else ROLES[draft.role]
    if draft.role in CALL_ROLES:
        return _calling(draft, draft.content, draft.path, "", findings)
    if draft.calls and role == "assistant":
        text = "" if is_blank(draft.content) else plain_text(draft.content)
        if text is None:
            findings.add("not_text", draft, found=draft.content)
        return _calling(draft, draft.calls, draft.calls_path, text or "", findings)
    if role == "tool":
        return Turn(Message("tool", _tool_text(draft.content)), draft)
    if is_blank(draft.content):
        if role == "system":
            return None
        code = _BLANK_CODES[role] if draft.is_pair else "empty_message"
        fix: FixAction | None = "drop_empty_messages" if drops_empty else None
        findings.add(code, draft, fix=fix, role=draft.role)
        return Turn(Message(role, ""), draft)
    text = plain_text(draft.content)
    if draft.is_pair and isinstance(draft.content, list) and len(draft.content) > 1 and text is not None:
        findings.add("several_texts", draft, found=draft.content, texts=len(draft.content))
    elif text is None:
        findings.add("not_text", draft, found=draft.content)
    message = Message(role, text or "", _weight(draft, findings) if role == "assistant" else 1)
    _note_stand_in(message, draft, findings)
    return Turn(message, draft)


def _note_stand_in(message: Message, draft: Draft, findings: Findings) -> None:
    """A question that is a stand-in may be meant: a table of answers says what to do when somebody sends a picture."""
    if message.role == "system" or not message.weight or (draft.is_pair and message.role == "user"):
        return
    if is_stand_in(message.content):
        fix: FixAction = "drop_row" if draft.is_pair else "drop_stand_ins"
        found = message.content.strip()
        findings.add("media_stand_in", draft, found=found, fix=fix, severity="warning", text=found)


def _can_drop_empty(drafts: Sequence[Draft]) -> bool:
    """Whether there are empty messages, and what is left without them can be mended by the fixes of order, if at all.

    What stands on both sides of an empty message of the other speaker is not joined: there an answer is missing.
    The empty half of a pair is no message to leave out.
    """
    empty = [d for d in drafts if _says_nothing(d)]
    if not empty or any(d.is_pair for d in empty):
        return False
    sides = [(role, list(same)) for role, same in groupby(drafts, key=lambda d: ROLES.get(d.role))]
    roles = [role for role, same in sides if not all(map(_says_nothing, same))]
    return is_learnable(inner_roles(roles[1:] if roles[:1] == ["system"] else roles))


def _check_order_without_empty(turns: Sequence[Turn], findings: Findings, is_log: bool) -> None:
    """Notes what leaving out the empty messages would bring to light."""
    later = Findings(findings.place)
    said = [t for t in turns if not _says_nothing(t.draft)]
    check_order(join_neighbours(said) if is_log else said, later)
    noted = {p.code for p in findings.problems}
    findings.problems += [p for p in later.problems if p.code not in noted]


def _says_nothing(draft: Draft) -> bool:
    """True for a question or an answer without text or calls."""
    return is_blank(draft.content) and not draft.calls and ROLES.get(draft.role) in ("user", "assistant")


def _calling(draft: Draft, value: Any, path: str, text: str, findings: Findings) -> Turn:
    weight = _weight(draft, findings)
    try:
        calls, ids = read_calls(value)
    except ToolFault as fault:
        findings.add("bad_tool_call", draft, found=fault.found, path=path + fault.path)
        return Turn(Message("assistant", text, weight), draft)
    return Turn(Message("assistant", text, weight, calls), draft, ids)


def _append(turns: list[Turn], turn: Turn) -> None:
    """Adds a turn; a call that is an entry of its own belongs to what the assistant said, or called, just before."""
    last = turns[-1] if turns else None
    if last is None or turn.draft.role not in CALL_ROLES or last.message.role != "assistant":
        turns.append(turn)
        return
    both = replace(last.message, tool_calls=last.message.tool_calls + turn.message.tool_calls)
    turns[-1] = Turn(both, last.draft, last.call_ids + turn.call_ids)


def _weight(draft: Draft, findings: Findings) -> int:
    value = draft.weight
    if isinstance(value, list | dict) or (value is not None and value not in (0, 1)):
        findings.add("bad_weight", draft, found=value)
        return 1
    return 1 if value is None else int(value)


def _with_one_system(turns: list[Turn], findings: Findings) -> list[Turn]:
    """The system message moved to no other place, only its repetitions in later turns left out."""
    systems = [t for t in turns if t.message.role == "system"]
    other = next((t for t in systems if t.message.content != systems[0].message.content), None)
    if other is not None:
        findings.add("two_system_messages", other.draft, found=other.message.content)
    first = turns[:1]
    return first + [t for t in turns[1:] if not (t.message.role == "system" and first[0].message.role == "system")]


def _tool_text(content: Any) -> str:
    """What a tool answered: text as it stands, anything else as JSON."""
    text = "" if content is None else plain_text(content)
    return msgspec.json.encode(plain_json(content)).decode() if text is None else text
