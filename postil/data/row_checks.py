"""What keeps one conversation from being trained exactly, and the words for it."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from postil.data.answer_spans import RowRefused
from postil.data.call_spans import spoken_text
from postil.data.checks.fixes import break_control_tokens
from postil.data.conversations import Conversation, Message
from postil.data.template_renderer import TemplateRefusal
from postil.data.text_tokenizer import ControlTokens, first_difference
from postil.problems import Place, Problem

Tools = Sequence[Mapping[str, Any]]
"""JSON schemas of functions, as in `Conversation.tools`."""


def uses_tools(messages: Sequence[Message], tools: Tools) -> bool:
    """True when a template must know tools to show all of this."""
    return bool(tools) or any(m.tool_calls or m.role == "tool" for m in messages)


def check_contents(
    messages: Sequence[Message], tools: Tools, controls: ControlTokens, stop_strings: Sequence[str], is_built_in: bool
) -> None:
    """Refuses text that the tokenizer would read as control tokens, or at which answering would stop.

    Args:
        is_built_in: the form for bases without a template, whose stops are ordinary text.

    Raises:
        RowRefused: with every such place in its `also`.
    """
    said: list[tuple[str, str]] = [(m.role, spoken_text(m)) for m in messages]
    said += [("tools", json.dumps(list(tools), ensure_ascii=False, default=str))] if tools else []
    refusals: list[RowRefused] = []
    if controls.find_in("\n".join(text for _, text in said)):
        for column, text in said:
            for token, at in controls.find_in(text):
                refusals.append(RowRefused("control_token", column, _around(text, at), token=token))
    for column, text in said:
        for stop in stop_strings:
            if (at := text.find(stop)) < 0 or (is_built_in and column != "assistant"):
                continue  # questions may hold the built-in form's stops: only answers are searched for them
            code = "answer_holds_stop" if is_built_in else "control_token"
            refusals.append(RowRefused(code, column, _around(text, at), token=stop))
    if refusals:
        refusals[0].also = tuple(refusals[1:])
        raise refusals[0]


def _around(text: str, at: int) -> str:
    return text[max(0, at - 20) : at + 40]


def check_round_trip(text: str, decoded: str) -> None:
    """What the model reads must be what the template wrote: some tokenizers have no token for a character.

    Raises:
        RowRefused: they differ in more than blanks and letter forms.
    """
    if difference := first_difference(text, decoded):
        raise RowRefused("round_trip_differs", excerpt=difference[0], text=difference[0], found=difference[1])


def explain_template(
    refusal: TemplateRefusal, conversation: Conversation, takes: Callable[[Sequence[Message], Tools], bool]
) -> RowRefused:
    """Tells a template that refuses tools or system messages from one that refuses something else.

    Args:
        takes: whether the template writes these messages.
    """
    messages, tools = conversation.messages, conversation.tools
    plain = [*(m for m in messages[:1] if m.role == "system"), Message("user", "?"), Message("assistant", "!")]
    if uses_tools(messages, tools) and takes(plain, ()):
        return RowRefused("template_refuses_tools", column="assistant", reason=str(refusal))
    others = [m for m in messages if m.role != "system"]
    if len(others) < len(messages) and takes(others, tools):
        return RowRefused("template_refuses_system", column="system")
    return RowRefused("template_refuses", reason=str(refusal))


def problems_of(refusal: RowRefused, place: Place, template: str) -> list[Problem]:
    """A refusal as problems of its row; control tokens come with the fix that breaks all of them.

    Args:
        template: its name.
    """
    refusals = (refusal, *refusal.also)
    tokens = sorted({str(r.values["token"]) for r in refusals if r.code == "control_token"})
    fix = break_control_tokens(place, tokens) if tokens else None
    return [
        Problem(
            code=r.code,
            severity="error",
            place=place,
            column=r.column,
            excerpt=r.excerpt,
            values={"template": template} | r.values,
            fix=fix if r.code == "control_token" else None,
        )
        for r in refusals
    ]
