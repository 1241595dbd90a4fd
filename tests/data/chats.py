"""Conversations, real templates and tokenizers, and what transformers makes of them: for the tests of chat formats."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from postil.data.conversations import Conversation, Message, ToolCall
from postil.data.row_encoding import IGNORED
from postil.data.template_renderer import render
from postil.models.tokenizer import HFTokenizer, load_tokenizer
from postil.problems import Place

STARTER = Path(__file__).parents[2] / "postil" / "models" / "starter"
TODAY = date(2026, 3, 5)
TEMPLATES = (
    *("cohere", "deepseek_r1_distill", "deepseekv3", "gemma", "gemma3", "gptoss", "lfm2", "llama3", "llama3_1"),
    *("llama3_2", "phi3", "phi3_5", "qwen2_5", "qwen3", "qwen3_5_nothink", "qwen3_6", "qwen3_instruct_2507"),
)
TOKENIZERS = ("starter", "qwen2.5-0.5b", "minimind-6400")
WITHOUT_BOS = ("starter", "qwen2.5-0.5b")
"""Tokenizers without the token that llama3 begins every text with."""
PAIRS = [(t, n) for t in ("own", *TEMPLATES) for n in TOKENIZERS if not (t == "llama3" and n in WITHOUT_BOS)]
"""Every template with every tokenizer that it can be used with; "own" is the tokenizer's."""

_loaded: dict[str, HFTokenizer] = {}


def tokenizer(name: str = "starter") -> HFTokenizer:
    """A real tokenizer, loaded once."""
    if name not in _loaded:
        folder = STARTER if name == "starter" else STARTER.parents[3] / "shared" / "tokenizers" / name
        if not folder.is_dir():
            pytest.skip("needs the folder of real files beside the repository")
        _loaded[name] = load_tokenizer(folder)
    return _loaded[name]


def real_template(name: str, shared: Path) -> str:
    """The source of one of the templates beside the repository."""
    return (shared / "templates" / f"{name}.jinja").read_text("utf-8")


def paired(template: str, name: str, shared: Path) -> tuple[HFTokenizer, str]:
    """A tokenizer and the source of its template, as in `PAIRS`."""
    reader = tokenizer(name)
    return reader, (reader.chat_template or "") if template == "own" else real_template(template, shared)


def chat(*contents: str, system: str | None = None) -> Conversation:
    """Questions and answers in turn, on row 1."""
    roles = ("user", "assistant")
    messages = [Message(roles[i % 2], text) for i, text in enumerate(contents)]  # type: ignore[arg-type]
    return Conversation((*([Message("system", system)] if system else []), *messages), Place("t.jsonl", 1))


CHATS = {
    "single": chat("q1", "答案是七。"),
    "multi": chat(" q1 ", "a1\n", "q2", "a2"),
    "system": chat(" q1 ", "a1\n", "q2", " a2 ", system="Be kind. "),
    "thinking": chat("q1", "<think>\nwhy\n</think>\n\nx y", "q2", "<think>\nwhy not\n</think>\n\nz w"),
    "one thought": chat("q1", "<think>why</think>x y", "q2", "plain"),
    "leading": chat("q1", "\n\n  indented", "q2", "\nb"),
    "punctuation": chat("q1", "“Yes”", "q2", "(no)"),
}
WEATHER: Mapping[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather <now> & here",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "城市"}}},
    },
}
ROME, BONN = ToolCall("get_weather", {"city": "罗马", "days": 3}), ToolCall("get_weather", {"city": "Bonn"})


def tool_chat(*messages: Message, system: str | None = None) -> Conversation:
    return Conversation((*([Message("system", system)] if system else []), *messages), Place("t.jsonl", 1), (WEATHER,))


def calling(*calls: ToolCall, content: str = "") -> Message:
    return Message("assistant", content, tool_calls=calls)


ASKED, TOLD, HOT = Message("user", " weather? "), Message("tool", '{"t": 30}'), Message("assistant", "It is hot.\n")
TOOL_CHATS = {
    "one call": tool_chat(ASKED, calling(ROME), TOLD, HOT),
    "text beside it": tool_chat(ASKED, calling(ROME, content="Let me look."), TOLD, HOT, system=" Be kind. "),
    "no arguments": tool_chat(ASKED, calling(ToolCall("get_weather", {})), TOLD, HOT),
    "two at once": tool_chat(ASKED, calling(ROME, BONN), TOLD, Message("tool", "20"), HOT),
    "several turns": tool_chat(ASKED, calling(ROME), TOLD, HOT, Message("user", "Bonn?"), calling(BONN), TOLD, HOT),
    "ends with a call": tool_chat(ASKED, calling(BONN)),
    "thinking": tool_chat(
        ASKED,
        calling(ROME, content="<think>\nhm\n</think>\n\n"),
        TOLD,
        Message("assistant", "<think>\nso\n</think>\n\nhot"),
    ),
    "no call": tool_chat(ASKED, HOT),
}


def trained_texts(reader: HFTokenizer, ids: Sequence[int], labels: Sequence[int]) -> list[str]:
    """The trained stretches as text."""
    runs: list[list[int]] = [[]]
    for i, label in zip(ids, labels, strict=True):
        assert label in (IGNORED, i)
        if label == IGNORED and runs[-1]:
            runs.append([])
        elif label != IGNORED:
            runs[-1].append(i)
    return [reader.decode(run, skip_special_tokens=False) for run in runs if run]


def theirs(reader: HFTokenizer, source: str, conversation: Conversation, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What transformers makes of the conversation on our fixed day."""
    from transformers.utils import chat_template_utils

    class Frozen(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Frozen":
            return cls(TODAY.year, TODAY.month, TODAY.day)

    monkeypatch.setattr(chat_template_utils, "datetime", Frozen)
    messages = [
        as_transformers_wants(m, ids) for m, ids in zip(conversation.messages, call_ids(conversation), strict=True)
    ]
    tools: Any = list(conversation.tools) or None
    text = reader.inner.apply_chat_template(messages, tools=tools, chat_template=source, tokenize=False)
    assert render(source, conversation.messages, reader.special_tokens, TODAY, tools=conversation.tools) == text
    return list(reader.inner.apply_chat_template(messages, tools=tools, chat_template=source, return_dict=False))


def call_ids(conversation: Conversation) -> list[Sequence[str]]:
    """Ids of the calls of each message, and of the call that a tool's message answers."""
    found: list[Sequence[str]] = []
    count, open_ids = 0, [""]
    for m in conversation.messages:
        if m.tool_calls:
            open_ids = [f"call{count + k:05d}" for k in range(1, len(m.tool_calls) + 1)]
            count += len(open_ids)
            found.append(tuple(open_ids))
        else:
            found.append((open_ids.pop(0) if len(open_ids) > 1 else open_ids[0],) if m.role == "tool" else ())
    return found


def as_transformers_wants(message: Message, ids: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        values["tool_calls"] = [
            {"id": key, "type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call, key in zip(message.tool_calls, ids, strict=True)
        ]
    if message.role == "tool":
        values["tool_call_id"] = ids[0]
    return values
