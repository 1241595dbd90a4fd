"""The nouns between a file and tokens: messages and conversations."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from postil.problems import Place

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the assistant asks for; `arguments` is a JSON object."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    Args:
        content: of a "tool" message what the tool answered; may be empty beside tool calls only.
        weight: 0 keeps an assistant message in the context without learning it.
        tool_calls: of an assistant message.
    """

    role: Role
    content: str
    weight: int = 1
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order, and where they came from: [system,] user, assistant, user, assistant ...

    With tools an assistant message that calls them is followed by their answers ("tool") and then by the assistant.

    Args:
        tools: JSON schemas of the functions that the assistant may call, as templates take them.
    """

    messages: tuple[Message, ...]
    place: Place
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def question(self) -> str:
        """Every user message joined: what makes two conversations the same question."""
        return "\n".join(m.content for m in self.messages if m.role == "user")

    @property
    def answer(self) -> str:
        """The last assistant message; empty where it only calls tools."""
        return next(m.content for m in reversed(self.messages) if m.role == "assistant")

    @property
    def num_turns(self) -> int:
        """Number of user messages, which each get an answer."""
        return sum(m.role == "user" for m in self.messages)

    @property
    def prompt(self) -> tuple[Message, ...]:
        """Everything before the last assistant message: what is sent to get its answer."""
        last = max(i for i, m in enumerate(self.messages) if m.role == "assistant")
        return self.messages[:last]


def normalize_question(text: str) -> str:
    """Folds width, case, white space and final punctuation, so that "How ? " and "how" are one question."""
    folded = " ".join((text if text.isascii() else unicodedata.normalize("NFKC", text)).casefold().split())
    return folded.rstrip(" .。!！?？…~～,，;；:：") or folded


def content_hash(conversations: "list[Conversation] | tuple[Conversation, ...]") -> str:
    """sha256 over roles, contents and weights in order: two files with the same conversations have the same hash."""
    digest = hashlib.sha256()
    for conversation in conversations:
        row: list[Any] = [[m.role, m.content, m.weight] for m in conversation.messages]
        if conversation.tools or any(m.tool_calls for m in conversation.messages):
            row += [
                list(conversation.tools),
                [[[c.name, c.arguments] for c in m.tool_calls] for m in conversation.messages],
            ]
        digest.update(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode())
        digest.update(b"\n")
    return digest.hexdigest()
