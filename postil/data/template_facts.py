"""What is found out about a template by rendering a few made-up conversations with it, each fact once.

mark     what ends an answer, on which answering stops       <|im_end|>
joint    the end of the prompt's text that makes one token with how answers begin, so the prompt's ids leave it out
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from postil.data.answer_spans import Render, RowRefused, text_before_answer
from postil.data.closing_marks import CallClosing, ClosingMark, find_call_closing, find_closing_marks
from postil.data.conversations import Message
from postil.data.instruction_form import INSTRUCTION_STOPS, INSTRUCTION_TEMPLATE
from postil.data.row_checks import Tools
from postil.data.template_renderer import TemplateRefusal, has_generation_marks, render
from postil.data.text_tokenizer import ControlTokens, TextTokenizer, common_end, encode_with_ranges

_ASKED = (Message("user", "?"),)

_OPENINGS = ("Yes", "the", "中文", "7")
"""How answers usually begin: tokens of the prompt that all of these leave alone belong to it."""

_SOME_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "f", "parameters": {"type": "object", "properties": {}}},
}
"""So that a template that knows tools shows how it writes a call."""


@dataclass(frozen=True)
class TemplateFacts:
    """A template as one tokenizer reads it; a fact is found out when it is first asked for.

    Any of them raises TemplateRefusal where the template refuses even a question and an answer, and RowRefused where
    what stands before an answer cannot be told.

    Args:
        template, tokenizer, today, thinking, calling: as in `ChatFormat`.
        known_joint: found out before; None is not yet.
    """

    template: str
    tokenizer: TextTokenizer
    today: date
    thinking: bool = False
    calling: bool = False
    known_joint: str | None = None

    def renderer(self, tools: Tools = ()) -> Render:
        """Conversations with these tools to text."""

        def rendered(messages: Sequence[Message], marks: tuple[str, str] | None) -> str:
            return render(self.template, messages, self.tokenizer.special_tokens, self.today, marks, tools)

        return rendered

    def text_before_answer(self, messages: Sequence[Message], tools: Tools = ()) -> str:
        """What stands before the answer to `messages`, whatever the answer is."""
        return text_before_answer(self.renderer(tools), messages, marked=self.is_marked, thinking=self.thinking)

    @property
    def is_built_in(self) -> bool:
        """True for the form that bases without a template get."""
        return self.template == INSTRUCTION_TEMPLATE

    @cached_property
    def is_marked(self) -> bool:
        """The template says itself which part the model writes."""
        return has_generation_marks(self.template)

    @cached_property
    def writes_thinking(self) -> bool:
        """The text before an answer depends on whether the answer begins with a thinking block.

        Not where that cannot be told, as with a template that leaves such answers out.
        """
        draw = self.renderer()
        try:
            openings = [text_before_answer(draw, _ASKED, marked=False, thinking=thinking) for thinking in (False, True)]
        except (RowRefused, TemplateRefusal):
            return False
        return not self.is_marked and openings[0] != openings[1]

    @cached_property
    def controls(self) -> ControlTokens:
        """The tokenizer's control tokens."""
        return ControlTokens(self.tokenizer)

    @cached_property
    def closing_marks(self) -> tuple[ClosingMark, ...]:
        """The marks that end answers, longest first; where calls are learned, the mark after a call before them."""
        own = self.call_closing.mark if self.calling and self.call_closing else None
        return self._plain_marks if own is None or own in self._plain_marks else (own, *self._plain_marks)

    @cached_property
    def call_closing(self) -> CallClosing | None:
        """How the template closes a call; None where it knows none."""
        draw = self.renderer([_SOME_TOOL])
        return find_call_closing(lambda m: draw(m, None), self._plain_marks, self.tokenizer, self.controls)

    @cached_property
    def _plain_marks(self) -> tuple[ClosingMark, ...]:
        draw = self.renderer()
        return find_closing_marks(lambda messages: draw(messages, None), self.tokenizer, self.controls)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens on which answering stops: the trained end marks and the tokenizer's end of text."""
        ids = {mark.stop_id for mark in self.closing_marks} | {self.tokenizer.eos_id}
        return frozenset(i for i in ids if i is not None)

    @cached_property
    def stop_strings(self) -> tuple[str, ...]:
        """Text on which answering stops: end marks that are no single token, and the built-in form's."""
        marks = tuple(mark.text for mark in self.closing_marks if mark.stop_id is None)
        return tuple(dict.fromkeys(marks + (INSTRUCTION_STOPS if self.is_built_in else ())))

    @cached_property
    def joint(self) -> str:
        """The end of every prompt's text that its ids leave out, "" for most templates."""
        if self.known_joint is not None:
            return self.known_joint
        opening = self.text_before_answer(_ASKED)
        texts = [opening + word for word in _OPENINGS]
        if self.thinking:
            plain = text_before_answer(self.renderer(), _ASKED, marked=False, thinking=False)
            texts = [plain + _OPENINGS[0], opening + _OPENINGS[0]]
        rows = [encode_with_ranges(self.tokenizer, text) for text in texts]
        return opening[common_end(rows[0][1], [ids for ids, _ in rows]) :]
