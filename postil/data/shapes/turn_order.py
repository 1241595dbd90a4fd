"""The order of messages: [system,] user, assistant, user, assistant ..., calls of tools and their answers between."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile, groupby

from postil.data.conversations import Message
from postil.data.shapes.drafts import CALL_ROLES, Draft, Findings
from postil.problems import FixAction


@dataclass(frozen=True, slots=True)
class Turn:
    """A message, where it comes from, and the ids of the calls in it."""

    message: Message
    draft: Draft
    call_ids: tuple[str, ...] = ()


def check_order(turns: Sequence[Turn], findings: Findings) -> None:
    """Notes what stands where it cannot be learned: at the beginning, first between, and at the end.

    The fixes are noted in the order in which one makes room for the next.
    """
    turns = turns[1:] if turns and turns[0].message.role == "system" else turns
    if not any(t.message.role == "user" for t in turns):
        findings.add("no_user_turn")
        return
    if _is_spoken_answer(turns[0]):
        findings.add("opens_with_assistant", turns[0].draft, found=turns[0].message.content, fix="drop_opening")
        turns = list(dropwhile(_is_spoken_answer, turns))
    _check_sequence(turns, findings)
    _check_end(turns, findings)


def _is_spoken_answer(turn: Turn) -> bool:
    return turn.message.role == "assistant" and not turn.call_ids and not turn.message.tool_calls


def _check_sequence(turns: Sequence[Turn], findings: Findings) -> None:
    """Notes the first message that does not follow upon the one before."""
    caller: Turn | None = None
    answered: list[str | None] = []
    previous = ""
    for number, turn in enumerate(turns, start=1):
        message = turn.message
        if message.role == "tool":
            answered.append(turn.draft.call_id)
            if caller is None and previous in ("assistant", "tool") and turn.draft.call_id is None:
                if previous == "assistant":
                    findings.add("call_in_text", turn.draft, found=message.content, severity="warning", number=number)
            elif caller is None or not _answers(turn, caller, len(answered)):
                findings.add("tool_answer_without_call", turn.draft, found=message.content, number=number)
                return
        elif caller is not None and (name := _unanswered(caller, answered)):
            findings.add("call_without_answer", caller.draft, found=name, name=name)
            return
        else:
            expected = "assistant" if previous in ("user", "tool") else "user"
            if message.role != expected:
                fix: FixAction | None = "merge_messages" if _can_merge(turns) else None
                found, role = message.content, message.role
                findings.add(
                    "wrong_role_order", turn.draft, found=found, fix=fix, number=number, expected=expected, role=role
                )
                return
            caller, answered = (turn if message.tool_calls else None), []
        previous = message.role


def _answers(turn: Turn, caller: Turn, number: int) -> bool:
    """Whether a tool's message is the `number`th answer to one of the caller's calls."""
    if turn.draft.call_id is not None and caller.call_ids:
        return turn.draft.call_id in caller.call_ids
    return number <= len(caller.message.tool_calls)


def _unanswered(caller: Turn, answered: Sequence[str | None]) -> str | None:
    """The name of a call that nothing answers. Without ids one answer may be for all of them."""
    calls = caller.message.tool_calls
    if not answered:
        return calls[0].name
    if None in answered or len(caller.call_ids) != len(calls):
        return None
    return next((call.name for call, i in zip(calls, caller.call_ids, strict=True) if i not in answered), None)


def _check_end(turns: Sequence[Turn], findings: Findings) -> None:
    last = turns[-1]
    if last.message.role == "user":
        has_answer = any(t.message.role == "assistant" for t in turns)
        fix: FixAction | None = "drop_last_question" if has_answer else None
        findings.add("ends_with_user", last.draft, found=last.message.content, fix=fix)
    elif last.message.role == "tool":
        findings.add("ends_with_tool", last.draft, found=last.message.content)
    elif not any(t.message.weight for t in turns if t.message.role == "assistant"):
        findings.add("nothing_to_learn")


def join_neighbours(turns: Sequence[Turn]) -> list[Turn]:
    """Messages of one speaker in a row as one, line by line; calls of tools and what tools answer stay apart."""
    joined: list[Turn] = []
    for turn in turns:
        last = joined[-1] if joined else None
        if last is None or not _is_spoken(last) or not _is_spoken(turn) or last.message.role != turn.message.role:
            joined.append(turn)
            continue
        text = "\n".join(filter(None, (last.message.content, turn.message.content)))
        weight = min(last.message.weight, turn.message.weight)
        joined[-1] = Turn(replace(last.message, content=text, weight=weight), last.draft)
    return joined


def _is_spoken(turn: Turn) -> bool:
    is_call = turn.call_ids or turn.message.tool_calls or turn.draft.role in CALL_ROLES
    return turn.message.role in ("user", "assistant") and not is_call


def _can_merge(turns: Sequence[Turn]) -> bool:
    """Whether joining neighbours of the same role makes it questions and answers in turn, a last question set aside."""
    return is_learnable(inner_roles([role for role, _ in groupby(turns, key=lambda t: t.message.role)]))


def inner_roles(roles: Sequence[str | None]) -> list[str | None]:
    """Without an answer that opens and a question that ends: fixes leave both out."""
    start, end = roles[:1] == ["assistant"], len(roles) - (roles[-1:] == ["user"])
    return list(roles[start:end])


def is_learnable(roles: Sequence[str | None]) -> bool:
    """Whether these roles are questions and answers in turn."""
    return bool(roles) and list(roles) == ["user", "assistant"] * (len(roles) // 2)
