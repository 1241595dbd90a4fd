"""Calls of tools inside an answer's text, as Qwen's and Hermes' templates write them.

<tool_call>
{"name": "weather", "arguments": {"city": "Rome"}}
</tool_call>
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


@dataclass
class ToolText:
    """Takes an answer's text piece by piece; tells speech from calls. Text that only looks like a call stays text."""

    held: str = ""
    calls: list[Mapping[str, Any]] = field(default_factory=list)

    def feed(self, piece: str) -> str:
        """Returns the text that is certainly no call; a beginning of one is held back."""
        self.held += piece
        spoken = ""
        while True:
            start = self.held.find(_OPEN)
            if start < 0:
                keep = next((n for n in range(len(_OPEN) - 1, 0, -1) if self.held.endswith(_OPEN[:n])), 0)
                cut = len(self.held) - keep
                spoken, self.held = spoken + self.held[:cut], self.held[cut:]
                return spoken
            end = self.held.find(_CLOSE, start)
            if end < 0:
                spoken, self.held = spoken + self.held[:start], self.held[start:]
                return spoken
            whole = self.held[: end + len(_CLOSE)]
            spoken += self.held[:start] + self._take(whole[start:])
            self.held = self.held[end + len(_CLOSE) :]

    def finish(self) -> str:
        """What was held back, when no more comes: an unfinished call is one where its JSON is whole, else text."""
        rest, self.held = self.held, ""
        return self._take(rest) if rest.startswith(_OPEN) else rest

    def _take(self, text: str) -> str:
        """Notes a call; returns it as text where it is none."""
        try:
            found = json.loads(text.removeprefix(_OPEN).removesuffix(_CLOSE))
            name, arguments = found["name"], found.get("arguments", {})
        except (ValueError, TypeError, KeyError, AttributeError):
            return text
        function = {"name": str(name), "arguments": json.dumps(arguments, ensure_ascii=False)}
        self.calls.append({"id": f"call_{uuid.uuid4().hex[:24]}", "type": "function", "function": function})
        return ""
