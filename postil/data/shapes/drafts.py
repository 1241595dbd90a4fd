"""Drafts of messages, and what is found wrong in them."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec

from postil.data.conversations import Message, Role
from postil.problems import Fix, FixAction, Place, Problem, Severity

ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer", "系统", "系統"), "system"),
    **dict.fromkeys(("user", "human", "customer", "client", "prompter", "usr", "question", "q"), "user"),
    **dict.fromkeys(("buyer", "visitor", "caller", "guest", "patient", "student", "end_user"), "user"),
    **dict.fromkeys(("contact", "lead", "requester"), "user"),
    **dict.fromkeys(("用户", "客户", "顾客", "提问", "问", "用戶", "客戶", "顧客", "提问者"), "user"),
    **dict.fromkeys(("买家", "访客", "患者", "学生", "来访者", "咨询者", "求助者", "會員", "会员"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "bot", "chatgpt", "chatbot", "ai", "model", "agent", "answer", "a"), "assistant"
    ),
    **dict.fromkeys(
        ("admin", "seller", "support", "operator", "representative", "doctor", "teacher", "therapist"), "assistant"
    ),
    **dict.fromkeys(("客服", "助手", "机器人", "回答", "答", "機器人", "回答者", "智能客服", "ai助手"), "assistant"),
    **dict.fromkeys(("卖家", "商家", "店家", "医生", "老师", "咨询师", "专家"), "assistant"),
    **dict.fromkeys(("tool", "tools", "observation", "function", "function_response", "tool_response"), "tool"),
    **dict.fromkeys(("tool_result", "ipython"), "tool"),
}
CALL_ROLES = frozenset(("function_call", "function_calls", "tool_call", "tool_calls"))
"""Roles of entries whose content is a call: they belong to the assistant."""

_TEXT_PARTS = frozenset(
    (
        *("text", "input_text", "output_text"),
        # Parts of a text that messengers save by their looks.
        *("plain", "link", "text_link", "bold", "italic", "underline", "strikethrough", "spoiler", "blockquote"),
        *("code", "pre", "mention", "mention_name", "hashtag", "cashtag", "email", "phone", "bot_command"),
        "custom_emoji",
    )
)


@dataclass(frozen=True, slots=True)
class Draft:
    """A message before its text and order are judged.

    Args:
        role: as written, folded by `normalize_name`.
        path: the way to the text inside the record, such as "messages[2].content"; "" where there is none.
        column: the record's field it comes from.
        is_pair: the question or answer of a record of two fields, not an entry of a list of messages.
        place: where it stands, if elsewhere than the record: chats put together of several rows or lines.
        calls: what stands under `tool_calls` or `function_call` beside the content.
        calls_path: the way to that.
        call_id: which call a tool's answer belongs to.
        left_out: a key beside the content that is not learned, such as "reasoning_content".
        speaker: who speaks, as written, where that may be a person's name and not a role.
        is_internal: only colleagues were to see it; it is told and not learned.
    """

    role: str
    content: Any
    path: str
    column: str | None = None
    weight: Any = None
    is_pair: bool = False
    place: Place | None = None
    calls: Any = None
    calls_path: str = ""
    call_id: str | None = None
    left_out: str = ""
    speaker: str = ""
    is_internal: bool = False


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the text of one message stands.

    Args:
        column: the header or the record's field, such as "answer" or "messages".
        json_path: the way to the text inside the record, such as "messages[2].content", or the column itself.
        place: where it stands, if elsewhere than the record: chats put together of several rows or lines.
    """

    column: str | None = None
    json_path: str | None = None
    place: Place | None = None


@dataclass(slots=True)
class Findings:
    """The problems of one record while it is read.

    Args:
        readable: what it says all the same, where it has errors.
    """

    place: Place
    problems: list[Problem] = field(default_factory=list)
    readable: tuple[tuple[Message, Origin], ...] = ()

    def add(
        self,
        code: str,
        draft: Draft | None = None,
        *,
        found: Any = "",
        blamed: str | None = None,
        fix: FixAction | None = None,
        path: str | None = None,
        severity: Severity = "error",
        **values: Any,
    ) -> None:
        """Notes what is wrong.

        Args:
            blamed: the record's field where no draft names it.
            path: where it is, if elsewhere than the draft's text.
            values: fill the sentences.
        """
        path = path or (draft.path if draft else None) or None
        column = draft.column if draft else blamed
        place = (draft.place if draft else None) or self.place
        change = Fix(fix, (place,)) if fix else None
        self.problems.append(Problem(code, severity, place, column, path, excerpt_of(found), values, change))

    @property
    def has_errors(self) -> bool:
        """True where the record cannot train."""
        return any(p.severity == "error" for p in self.problems)


def origin_of(draft: Draft) -> Origin:
    """Where a draft's text stands."""
    return Origin(draft.column, draft.path or None, draft.place)


def excerpt_of(value: Any) -> str:
    """The first characters of anything on one line; what is no text as JSON."""
    if not isinstance(value, str):
        try:
            value = msgspec.json.encode(value).decode()
        except (TypeError, ValueError, RecursionError):
            value = "..."
    return " ".join(value[:200].split())[:80]


def is_blank(value: Any) -> bool:
    """True for nothing, white space, and lists of nothing; 0 and False are something."""
    if isinstance(value, list):
        return all(_is_nothing(part.get("text", part.get("value")) if _is_text_part(part) else part) for part in value)
    return _is_nothing(value)


def _is_nothing(value: Any) -> bool:
    return not value.strip() if isinstance(value, str) else value is None or value == {} or value == []


def _is_text_part(value: Any) -> bool:
    if not isinstance(value, dict) or not ("text" in value or "value" in value):
        return False
    kind = value.get("type", "text")
    return isinstance(kind, str) and kind in _TEXT_PARTS


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
