"""From messages to a template's text: what templates are given, and where they run.

our own and the starter's template     here
templates that came with a model       in the child (`template_child.py`), 2 seconds and 512 MB each time
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any

from postil.data.conversations import Message
from postil.data.template_child import CHILD, HAS_LIMITS
from postil.data.template_sandbox import TemplateRefusal, inspect_source, render_job

__all__ = ["Rendering", "TemplateRefusal", "check_template", "has_generation_marks", "render", "render_all"]

KNOWN_TEMPLATES = frozenset(
    {
        "c8b330f61c2723cbe5a91dd3a8f069dc2ece1eca553804f6f45202a997940629",  # the starter's
        "80c526f2a9e8d93ef62257641c8eb1839c3479279d1ff884539d3cff194664a0",  # instruction_form.INSTRUCTION_TEMPLATE
    }
)
"""sha256 of the templates that ship with Postil: these need no limits."""

_CALL_ID = re.compile(r"tool_call_id|\.id\b|\[\s*['\"]id['\"]\s*\]")
_TOOL_NAME = re.compile(r"(?:message|msg|\bm)(?:\.name\b|\[\s*['\"]name['\"]\s*\])")


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is to be rendered.

    Args:
        marks: put before and after every generation block.
        tools: JSON schemas of functions, as in `Conversation.tools`.
    """

    messages: Sequence[Message]
    marks: tuple[str, str] | None = None
    tools: Sequence[Mapping[str, Any]] = ()


def check_template(source: str) -> None:
    """Compiles a template.

    Raises:
        TemplateRefusal: too long, or not jinja.
    """
    has_generation_marks(source)


def has_generation_marks(source: str) -> bool:
    """True when the template says itself which part the model writes.

    Raises:
        TemplateRefusal: too long, or not jinja.
    """
    answer = _inspect(source)
    if isinstance(answer, TemplateRefusal):
        raise answer
    return answer


@lru_cache(maxsize=64)
def _inspect(source: str) -> bool | TemplateRefusal:
    try:
        return bool(_value(CHILD.ask("inspect", source, [{}])[0])) if _is_foreign(source) else inspect_source(source)
    except TemplateRefusal as refusal:
        return refusal


def render(
    source: str,
    messages: Sequence[Message],
    special_tokens: Mapping[str, str],
    today: date,
    marks: tuple[str, str] | None = None,
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The text of a whole conversation, without a generation prompt.

    Args:
        special_tokens: `bos_token`, `eos_token` and so on, as the tokenizer names them.
        today: what `strftime_now` tells, at midnight: the same text tomorrow.
        marks: put before and after every generation block.
        tools: JSON schemas of functions that the assistant may call.

    Raises:
        TemplateRefusal: the template raised, wrote too much, or took too long.
    """
    return render_all(source, [Rendering(messages, marks, tools)], special_tokens, today)[0]


def render_all(
    source: str, renderings: Sequence[Rendering], special_tokens: Mapping[str, str], today: date
) -> list[str]:
    """Several texts in one go.

    Raises:
        TemplateRefusal: as `render`, of the first that is refused.
    """
    constant = {"special_tokens": dict(special_tokens), "today": today.isoformat()}
    jobs = [constant | _job(source, rendering) for rendering in renderings]
    if not _is_foreign(source):
        return [render_job(source, job) for job in jobs]
    try:
        answers = CHILD.ask("render", source, jobs)
    except (OverflowError, TypeError, UnicodeEncodeError) as error:  # a number or a text that msgpack cannot hold
        raise TemplateRefusal(" ".join(str(error).split())[:300]) from error
    return [str(_value(answer)) for answer in answers]


def _value(answer: Any) -> Any:
    if isinstance(answer, TemplateRefusal):
        raise answer
    return answer


@lru_cache(maxsize=64)
def _is_foreign(source: str) -> bool:
    return HAS_LIMITS and hashlib.sha256(source.encode()).hexdigest() not in KNOWN_TEMPLATES


def _job(source: str, rendering: Rendering) -> dict[str, Any]:
    tools = [dict(tool) for tool in rendering.tools] or None
    return {"messages": plain_messages(source, rendering.messages), "tools": tools, "marks": rendering.marks}


def plain_messages(source: str, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as dictionaries, the way `apply_chat_template` is given them.

    A template that asks for ids of calls, or for the name of a tool that answers, gets those as well: they are made up
    from the order of the calls ("call00001"; Mistral wants nine characters).
    """
    has_ids, has_names = _wants(source)
    plain: list[dict[str, Any]] = []
    pending: list[tuple[str, str]] = []
    count = 0
    for message in messages:
        values: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls:
            names = [call.name for call in message.tool_calls]
            pending = [(f"call{count + k + 1:05d}", name) for k, name in enumerate(names)]
            count += len(names)
            values["tool_calls"] = [
                ({"id": key} if has_ids else {})
                | {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
                for call, (key, _) in zip(message.tool_calls, pending, strict=True)
            ]
        elif message.role == "tool" and pending:
            key, name = pending.pop(0) if len(pending) > 1 else pending[0]
            values |= ({"tool_call_id": key} if has_ids else {}) | ({"name": name} if has_names else {})
        plain.append(values)
    return plain


@lru_cache(maxsize=64)
def _wants(source: str) -> tuple[bool, bool]:
    return bool(_CALL_ID.search(source)), bool(_TOOL_NAME.search(source))
