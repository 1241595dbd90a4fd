"""Drafts of messages, judged: known roles, text, and an order that can be learned."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from postil.data.conversations import Message, Role
from postil.problems import Place, Problem

ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer", "系统", "系統"), "system"),
    **dict.fromkeys(("user", "human", "customer", "client", "prompter", "usr", "question"), "user"),
    **dict.fromkeys(("用户", "客户", "顾客", "提问", "问", "用戶", "客戶", "顧客"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "ai", "model", "agent", "answer"), "assistant"),
    **dict.fromkeys(("客服", "助手", "机器人", "回答", "答", "機器人"), "assistant"),
}
TOOL_ROLES = frozenset(
    (
        *("tool", "tools", "observation", "function", "function_call", "function_response", "tool_call", "tool_calls"),
        *("tool_response", "ipython"),
    )
)
_TEXT_PARTS = ("text", "input_text", "output_text")
_BLANK_CODES = {"user": "missing_question", "assistant": "missing_answer"}


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before its text and order are judged.

    Args:
        column: the record's field it comes from.
        place: where it stands, if elsewhere than the record: chats put together of several rows or lines.
    """

    role: str
    content: Any
    path: str
    column: str | None = None
    weight: Any = None
    calls_tool: bool = False
    is_pair: bool = False
    place: Place | None = None


@dataclass(slots=True)
class Findings:
    """The problems of one record while it is read."""

    place: Place
    problems: list[Problem] = field(default_factory=list)

    def add(
        self, code: str, draft: Draft | None = None, *, found: Any = "", blamed: str | None = None, **values: Any
    ) -> None:
        """Notes an error. `blamed` is the record's field where no draft names it; `values` fill the sentences."""
        path = draft.path if draft else None
        column = draft.column if draft else blamed
        excerpt = " ".join(str(found)[:200].split())[:80]
        self.problems.append(Problem(code, "error", self.place, column, path, excerpt, values))


def judge_drafts(drafts: Sequence[Draft], findings: Findings, has_tools: bool) -> tuple[Message, ...]:
    """Messages of the drafts, where each has a known role and text and they follow one another as they should."""
    tool_draft = next((d for d in drafts if d.role in TOOL_ROLES or d.calls_tool), None)
    if has_tools or tool_draft is not None:
        findings.add("tool_call", tool_draft, found=tool_draft.content if tool_draft else "")
        return ()
    messages = [message for draft in drafts if (message := _message(draft, findings)) is not None]
    if findings.problems:
        return ()
    messages = _with_one_system(messages, findings)
    _check_order(messages, findings)
    return tuple(messages)


def _message(draft: Draft, findings: Findings) -> Message | None:
    role = ROLES.get(draft.role)
    if role is None:
        findings.add("unknown_role", draft, found=draft.content, role=draft.role or "-")
        return None
    if is_blank(draft.content):
        if role != "system":
            code = _BLANK_CODES[role] if draft.is_pair else "empty_message"
            findings.add(code, draft, role=draft.role)
        return None
    text = plain_text(draft.content)
    if text is None:
        findings.add("not_text", draft, found=draft.content)
        return None
    weight = _weight(draft.weight) if role == "assistant" else 1
    if weight is None:
        findings.add("bad_weight", draft, found=draft.weight)
        return None
    return Message(role, text, weight)


def _weight(value: Any) -> int | None:
    if value is None or value in (0, 1):
        return 1 if value is None else int(value)
    return None


def _with_one_system(messages: list[Message], findings: Findings) -> list[Message]:
    """The system message moved to no other place, only its repetitions in later turns left out."""
    systems = list(dict.fromkeys(m.content for m in messages if m.role == "system"))
    if len(systems) > 1:
        findings.add("two_system_messages", found=systems[1])
    first = messages[:1]
    return first + [m for m in messages[1:] if not (m.role == "system" and first[0].role == "system")]


def _check_order(messages: Sequence[Message], findings: Findings) -> None:
    turns = messages[1:] if messages and messages[0].role == "system" else messages
    if not any(m.role == "user" for m in turns):
        findings.add("no_user_turn")
        return
    for number, message in enumerate(turns, start=1):
        expected = "user" if number % 2 else "assistant"
        if message.role != expected:
            findings.add("wrong_role_order", found=message.content, number=number, expected=expected, role=message.role)
            return
    if turns[-1].role == "user":
        findings.add("ends_with_user", found=turns[-1].content)
    elif not any(m.weight for m in turns if m.role == "assistant"):
        findings.add("nothing_to_learn")


def is_blank(value: Any) -> bool:
    """True for nothing, white space, and lists of nothing; 0 and False are something."""
    if isinstance(value, list):
        return all(_is_nothing(part.get("text", part.get("value")) if _is_text_part(part) else part) for part in value)
    return _is_nothing(value)


def _is_nothing(value: Any) -> bool:
    return not value.strip() if isinstance(value, str) else value is None or value == {} or value == []


def _is_text_part(value: Any) -> bool:
    return (
        isinstance(value, dict) and value.get("type", "text") in _TEXT_PARTS and ("text" in value or "value" in value)
    )


def plain_text(content: Any) -> str | None:
    """The text of a string, a number or a list of text parts, exactly as written; None for anything else."""
    if isinstance(content, str):
        return content
    if isinstance(content, int | Decimal) and not isinstance(content, bool):
        return str(content)
    if isinstance(content, list) and all(isinstance(p, str) or _is_text_part(p) for p in content):
        parts = [p if isinstance(p, str) else p.get("text", p.get("value")) for p in content]
        return "".join(parts) if all(isinstance(p, str) for p in parts) else None
    return None
