"""How many tokens conversations have by the tokenizer in a folder, without torch or transformers.

A count is the length of the ids that `ChatFormat.encode_conversation` gives: the template's text, tokenized once. None
of its checks are made here, so that a whole file is counted while it is judged.
"""

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from postil.data.conversations import Conversation
from postil.data.template_renderer import Rendering, TemplateRefusal, render_all

_BATCH_ROWS = 200
_ANY_DAY = date(2026, 1, 1)


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of each conversation, in order.

    Args:
        num_exact: so many from the beginning were counted; the rest is guessed from characters.
    """

    rows: "array[int]"
    num_exact: int

    def as_dict(self) -> dict[str, Any]:
        """What fits into a list: without the rows."""
        total, longest = sum(self.rows), max(self.rows, default=0)
        return {"total": total, "longest": longest, "rows": len(self.rows), "num_exact": self.num_exact}


class TokenCounter:
    """Counts by the tokenizer and the chat template of a base's folder.

    Args:
        folder: has tokenizer.json, tokenizer_config.json and chat_template.jinja, as the starter's has.
    """

    def __init__(self, folder: Path):
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._template = (folder / "chat_template.jinja").read_text("utf-8")
        config = msgspec.json.decode((folder / "tokenizer_config.json").read_bytes())
        self._special = {k: v for k, v in config.items() if k.endswith("_token") and isinstance(v, str)}

    def count(self, conversations: Sequence[Conversation], seconds: float) -> TokenCounts:
        """Tokens of every conversation.

        Args:
            seconds: of the processor; when they are over, the rest is guessed from its characters.
        """
        rows, chars = array("q"), 0
        end = time.process_time() + seconds
        for start in range(0, len(conversations), _BATCH_ROWS):
            if start and time.process_time() > end:
                break
            batch = conversations[start : start + _BATCH_ROWS]
            rows.extend(self._count(batch))
            chars += sum(map(_num_chars, batch))
        num_exact = len(rows)
        per_char = sum(rows) / max(1, chars)
        rows.extend(max(1, round(_num_chars(c) * per_char)) for c in conversations[num_exact:])
        return TokenCounts(rows, num_exact)

    def _count(self, conversations: Sequence[Conversation]) -> list[int]:
        texts = [self._text(conversation) for conversation in conversations]
        return [len(e.ids) for e in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def _text(self, conversation: Conversation) -> str:
        rendering = Rendering(conversation.messages, None, conversation.tools)
        try:
            return render_all(self._template, [rendering], self._special, _ANY_DAY)[0]
        except TemplateRefusal:  # training will name the row; its length is about that of its texts
            return "\n".join(m.content for m in conversation.messages)


def _num_chars(conversation: Conversation) -> int:
    return sum(len(m.content) for m in conversation.messages)
