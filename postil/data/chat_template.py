"""From messages to token ids and labels, by the tokenizer's own chat template.

Three promises, each checked for every conversation and refused where it cannot be kept:
- the ids are those of the template's text for the whole conversation, tokenized once, nothing added or cut;
- labels cover each trained answer and the mark that ends it, on which answering stops, and nothing after it;
- `prompt_ids(messages)` is what the trained ids of a conversation begin with whose last answer follows `messages`.

The third is why the template's own generation prompt is not used: R1-Distill's and Qwen3's open a thinking block that
training text lacks. In a chat of several turns the earlier answers are trained as the whole rendering shows them; some
templates (Qwen3, gpt-oss, Phi-3) write an earlier turn a little differently from a last one, so answering at turn k
sends what a chat of k turns looks like, which is not always how turn k looked inside a longer one. The same holds for
calls of tools in the middle of a chat.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any, Literal

from postil.data.answer_spans import (
    AnswerSpan,
    Render,
    RenderedAnswers,
    RowRefused,
    answer_indexes,
    find_answers,
    find_marked_answers,
    plain_answers,
    text_before_answer,
)
from postil.data.call_spans import check_marked_calls, check_tools_shown, find_calls
from postil.data.closing_marks import CallClosing, ClosingMark, find_call_closing, find_closing_marks
from postil.data.conversations import Conversation, Message
from postil.data.row_checks import (
    Tools,
    check_contents,
    check_round_trip,
    explain_template,
    problems_of,
    uses_tools,
)
from postil.data.template_renderer import TemplateRefusal, check_template, has_generation_marks, render
from postil.data.text_tokenizer import (
    ControlTokens,
    TextTokenizer,
    common_end,
    encode_with_ranges,
)
from postil.errors import DataError
from postil.problems import Place, Problem

IGNORED = -100
"""The label of a token that is not trained."""

TrainOn = Literal["all", "last"]

INSTRUCTION_TEMPLATE = """\
{%- set turn = namespace(before='', system='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}{%- set turn.system = m.content + '\\n' -%}
{%- elif m.role == 'user' -%}
{{- turn.before + '### Instruction:\\n' + turn.system + m.content + '\\n\\n### Response:\\n' -}}
{%- set turn.before = '\\n\\n' -%}{%- set turn.system = '' -%}
{%- else -%}{%- generation -%}{{- m.content + (eos_token or '\\n\\n###') -}}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}"""
"""For base models without a template; a tokenizer without an end token ends answers with the next block's `###`."""

INSTRUCTION_STOPS = ("###", "</s>")

_OPENINGS = ("Yes", "the", "中文", "7")
"""How answers usually begin: tokens of the prompt that all of these leave alone belong to it."""

_SOME_TOOL = {
    "type": "function",
    "function": {"name": "f", "description": "f", "parameters": {"type": "object", "properties": {}}},
}
"""So that a template that knows tools shows how it writes a call."""

_BEGINNING = re.compile(r"[\W_]+")
"""Beginnings that may make one token with the prompt's end, where those above do not."""


@dataclass(frozen=True, slots=True)
class EncodedConversation:
    """One conversation as tokens.

    Args:
        labels: as long as `input_ids`, not shifted: the id where it is trained, else IGNORED.
        changed: the template changed an answer (stripped it, dropped its thinking); the changed text is trained.
        ends_trained: the mark that ends an answer is among the trained tokens.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    changed: bool
    ends_trained: bool = True


@dataclass(frozen=True)
class ChatFormat:
    """A template, the tokenizer that reads its text, and the day that it prints: fixed, and kept with every adapter.

    Args:
        template: jinja source.
        name: how errors call the template.
        thinking: answers may begin with a thinking block, so the prompt ends where answers with and without one begin
            to differ. Only templates that write such a block themselves (Qwen3) ask for it; see `fitted_to`.
        calling: some conversations call tools, so the mark after a call stops answering, too.
    """

    template: str
    tokenizer: TextTokenizer
    today: date
    name: str
    thinking: bool = False
    joint: str | None = None
    calling: bool = False

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: TextTokenizer,
        template: str | None = None,
        *,
        today: date | None = None,
        name: str | None = None,
    ) -> "ChatFormat":
        """The tokenizer's chat template, or the one given; the built-in form where there is neither.

        Args:
            today: the date that templates print from now on; None is the current one.

        Raises:
            DataError: the template cannot be used.
        """
        source = template or tokenizer.chat_template
        if source is None:
            source, name = INSTRUCTION_TEMPLATE, "### Instruction / ### Response"
        name = name or f"sha256:{hashlib.sha256(source.encode()).hexdigest()[:8]}"
        made = cls(source, tokenizer, today or date.today(), name)
        made._check()
        return made

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any], tokenizer: TextTokenizer) -> "ChatFormat":
        """What `manifest` wrote, with the same tokenizer.

        Raises:
            DataError: the manifest is broken, or belongs to another tokenizer.
        """
        try:
            made = cls(
                template=str(manifest["template"]),
                tokenizer=tokenizer,
                today=date.fromisoformat(manifest["today"]),
                name=str(manifest["name"]),
                thinking=bool(manifest["thinking"]),
                joint=str(manifest["joint"]),
                calling=bool(manifest.get("calling", False)),
            )
            stop_ids, fingerprint = frozenset(manifest["stop_ids"]), manifest["tokenizer"]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError("tokens.broken_manifest", reason=f"{type(error).__name__}: {error}") from error
        made._check()
        if fingerprint != tokenizer.fingerprint or stop_ids != made.stop_ids:
            raise DataError("tokens.other_tokenizer")
        return made

    def manifest(self) -> dict[str, Any]:
        """Everything that answering needs to speak as training did, in JSON's types."""
        return {
            "template": self.template,
            "name": self.name,
            "built_in": self.is_built_in,
            "today": self.today.isoformat(),
            "thinking": self.thinking,
            "joint": self._joint,
            "calling": self.calling,
            "tokenizer": self.tokenizer.fingerprint,
            "stop_ids": sorted(self.stop_ids),
            "stop_strings": list(self.stop_strings),
        }

    def fitted_to(self, conversations: Sequence[Conversation]) -> "ChatFormat":
        """This format with a prompt that all of these conversations begin with.

        Where answers have thinking blocks and the template writes its own, it becomes a format with `thinking`. Where
        an answer begins with a line break that makes one token with the prompt's last one, the prompt ends before it.
        Where there are calls of tools, it becomes a format with `calling`.
        Decide once, on all rows, before any is encoded.
        """
        answers = [m.content for c in conversations for m in c.messages if m.role == "assistant"]
        fitted = self
        if not self.thinking and any("</think>" in answer for answer in answers) and self._writes_thinking:
            fitted = replace(self, thinking=True, joint=None)
        if not self.calling and any(uses_tools(c.messages, c.tools) for c in conversations):
            fitted = replace(fitted, calling=True)
        seen = set()
        for conversation in conversations:
            answers_at = answer_indexes(conversation.messages)
            if not answers_at:
                continue
            last = conversation.messages[answers_at[-1]]
            beginning = _BEGINNING.match(last.content)
            key = (beginning.group() if beginning else "", bool(last.tool_calls))
            if any(key) and key not in seen:
                seen.add(key)
                joint = fitted._find_joint(conversation)
                if len(joint) > len(fitted._joint):
                    fitted = replace(fitted, joint=joint)
        return fitted

    @property
    def is_built_in(self) -> bool:
        """True for the form that bases without a template get."""
        return self.template == INSTRUCTION_TEMPLATE

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens on which answering stops: the trained end marks and the tokenizer's end of text."""
        ids = {mark.stop_id for mark in self._closing_marks} | {self.tokenizer.eos_id}
        return frozenset(i for i in ids if i is not None)

    @cached_property
    def stop_strings(self) -> tuple[str, ...]:
        """Text on which answering stops: end marks that are no single token, and the built-in form's."""
        marks = tuple(mark.text for mark in self._closing_marks if mark.stop_id is None)
        return tuple(dict.fromkeys(marks + (INSTRUCTION_STOPS if self.is_built_in else ())))

    def encode_conversation(self, conversation: Conversation, train_on: TrainOn = "all") -> EncodedConversation:
        """Token ids and labels of a whole conversation.

        Args:
            train_on: learn every assistant message with weight, or only the last one.

        Raises:
            DataError: the row cannot be trained exactly; `problems` says why.
        """
        try:
            return self._encode(conversation, train_on)
        except (RowRefused, TemplateRefusal) as refusal:
            problems = self._problems(refusal, conversation)
        reason, advice = problems[0].message, problems[0].hint
        raise DataError("tokens.row_refused", problems=problems, place=conversation.place, reason=reason, advice=advice)

    def prompt_ids(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """What answering sends: the trained ids of this conversation up to its next answer.

        Args:
            tools: as in `Conversation.tools`.

        Raises:
            DataError: a message holds a control token, or the template refuses the messages.
        """
        try:
            self._check_contents(messages, tools)
            return self._prompt(self._text_before_answer(messages, tools))
        except (RowRefused, TemplateRefusal) as refusal:
            problems = self._problems(refusal, Conversation(tuple(messages), Place(""), tuple(tools)))
        reason, advice = problems[0].message, problems[0].hint
        raise DataError("tokens.prompt_refused", problems=problems, reason=reason, advice=advice)

    def expected_text(self, conversation: Conversation) -> str:
        """What an answerer should say to `conversation.prompt`: the last answer, or its calls in the template's words.

        Raises:
            DataError: as `encode_conversation`, where the last answer calls tools.
        """
        last = answer_indexes(conversation.messages)[-1]
        if not conversation.messages[last].tool_calls:
            return conversation.answer
        learned = replace(conversation.messages[last], weight=1)
        messages = (*conversation.messages[:last], learned, *conversation.messages[last + 1 :])
        encoded = self.encode_conversation(replace(conversation, messages=messages), "last")
        return self.tokenizer.decode([label for label in encoded.labels if label != IGNORED]).strip()

    # --- one row ---

    def _encode(self, conversation: Conversation, train_on: TrainOn) -> EncodedConversation:
        messages, tools = conversation.messages, conversation.tools
        self._check_contents(messages, tools)
        answers = answer_indexes(messages)
        trained = [i for i in (answers if train_on == "all" else answers[-1:]) if messages[i].weight > 0]
        if not trained:
            raise RowRefused("nothing_trained")
        found = self._find_answers(messages, tools)
        ids, ranges = encode_with_ranges(self.tokenizer, found.text)
        check_round_trip(found.text, self.tokenizer.decode(ids, skip_special_tokens=False))
        prompt = self._check_prompt(conversation, found, ids)
        labels, changed, ends = [IGNORED] * len(ids), False, False
        for i, span in zip(answers, found.spans, strict=True):
            if i not in trained:
                continue
            start, end, is_ended = self._trained_part(found.text, span)
            if messages[i].tool_calls and not is_ended:
                raise RowRefused("calls_not_expected", column="assistant")
            covered = [k for k, (low, high) in enumerate(ranges) if high > start and low < end]
            if i == answers[-1] and (not covered or covered[0] != prompt):
                raise RowRefused("answer_joins_prompt", column="assistant", excerpt=messages[i].content[:60])
            for k in covered:
                labels[k] = ids[k]
            changed, ends = changed or span.changed, ends or is_ended
        if all(label == IGNORED for label in labels):
            raise RowRefused("nothing_trained")
        return EncodedConversation(tuple(ids), tuple(labels), changed, ends)

    def _trained_part(self, text: str, span: AnswerSpan) -> tuple[int, int, bool]:
        """Characters (start, end) that are trained, and whether they end with a mark that answering stops on."""
        end, is_ended = span.end, False
        if any(text[span.start : span.end].rstrip().endswith(mark.text) for mark in self._closing_marks):
            is_ended = True
        else:
            rest = span.tail.lstrip()
            for mark in self._closing_marks:
                if rest.startswith(mark.text):
                    end, is_ended = span.end + len(span.tail) - len(rest) + len(mark.text), True
                    break
        joint = self._joint
        start = span.start - len(joint) if joint and text[: span.start].endswith(joint) else span.start
        return start, end, is_ended

    def _check_prompt(self, conversation: Conversation, found: RenderedAnswers, ids: Sequence[int]) -> int:
        """Number of tokens of the prompt, which the row's ids must begin with."""
        last = answer_indexes(conversation.messages)[-1]
        opening = found.opening
        if opening is None:
            opening = self._text_before_answer(conversation.messages[:last], conversation.tools)
        answer = found.text[found.spans[-1].start : found.spans[-1].end]
        if not found.text.startswith(opening):
            code = "thinking_not_expected" if "</think>" in answer else "prompt_differs"
            raise RowRefused("calls_not_expected" if conversation.messages[last].tool_calls else code, "assistant")
        prompt = self._prompt(opening)
        if list(ids[: len(prompt)]) != prompt:
            raise RowRefused("answer_joins_prompt", column="assistant", excerpt=answer[:60])
        return len(prompt)

    def _check_contents(self, messages: Sequence[Message], tools: Tools) -> None:
        check_contents(messages, tools, self._controls, self.stop_strings, self.is_built_in)

    # --- text and tokens ---

    def _renderer(self, tools: Tools = ()) -> Render:
        def rendered(messages: Sequence[Message], marks: tuple[str, str] | None) -> str:
            return render(self.template, messages, self.tokenizer.special_tokens, self.today, marks, tools)

        return rendered

    def _find_answers(self, messages: Sequence[Message], tools: Tools) -> RenderedAnswers:
        draw = self._renderer(tools)
        if self._is_marked:
            found = find_marked_answers(draw, messages)
        else:
            found = find_answers(draw, messages, self.thinking)
        if not uses_tools(messages, tools):
            return found
        check_tools_shown(draw, self._renderer() if tools else draw, messages, found.text)
        if self._is_marked:
            check_marked_calls(draw, messages, found.text, found.spans, answer_indexes(messages))
            return found
        spans = dict(zip(plain_answers(messages), found.spans, strict=True))
        spans |= find_calls(draw, messages, found.text, self._call_closing, self.thinking)
        return replace(found, spans=tuple(spans[i] for i in answer_indexes(messages)))

    def _text_before_answer(self, messages: Sequence[Message], tools: Tools = ()) -> str:
        draw = self._renderer(tools)
        return text_before_answer(draw, messages, marked=self._is_marked, thinking=self.thinking)

    def _prompt(self, opening: str) -> list[int]:
        return self.tokenizer.encode(opening.removesuffix(self._joint))[0]

    # --- what is found out once about a template ---

    def _check(self) -> None:
        try:
            check_template(self.template)
            _ = self._joint, self.stop_ids
        except (RowRefused, TemplateRefusal) as refusal:
            is_ours = isinstance(refusal, RowRefused)
            reason = self._problems(refusal, Conversation((), Place("")))[0].message if is_ours else str(refusal)
            raise DataError("tokens.bad_template", template=self.name, reason=reason) from refusal

    @cached_property
    def _is_marked(self) -> bool:
        return has_generation_marks(self.template)

    @cached_property
    def _writes_thinking(self) -> bool:
        """The text before an answer depends on whether the answer begins with a thinking block."""
        asked = [Message("user", "?")]
        openings = [
            text_before_answer(self._renderer(), asked, marked=False, thinking=thinking) for thinking in (False, True)
        ]
        return not self._is_marked and openings[0] != openings[1]

    @cached_property
    def _closing_marks(self) -> tuple[ClosingMark, ...]:
        own = self._call_closing.mark if self.calling and self._call_closing else None
        return self._plain_marks if own is None or own in self._plain_marks else (own, *self._plain_marks)

    @cached_property
    def _plain_marks(self) -> tuple[ClosingMark, ...]:
        draw = self._renderer()
        return find_closing_marks(lambda messages: draw(messages, None), self.tokenizer, self._controls)

    @cached_property
    def _call_closing(self) -> CallClosing | None:
        draw = self._renderer([_SOME_TOOL])
        return find_call_closing(lambda m: draw(m, None), self._plain_marks, self.tokenizer, self._controls)

    @cached_property
    def _controls(self) -> ControlTokens:
        return ControlTokens(self.tokenizer)

    @cached_property
    def _joint(self) -> str:
        if self.joint is not None:
            return self.joint
        asked = [Message("user", "?")]
        opening = self._text_before_answer(asked)
        texts = [opening + word for word in _OPENINGS]
        if self.thinking:
            plain = text_before_answer(self._renderer(), asked, marked=False, thinking=False)
            texts = [plain + _OPENINGS[0], opening + _OPENINGS[0]]
        rows = [encode_with_ranges(self.tokenizer, text) for text in texts]
        return opening[common_end(rows[0][1], [ids for ids, _ in rows]) :]

    def _find_joint(self, conversation: Conversation) -> str:
        """The end of the text before the last answer that shares a token with this very answer."""
        messages, tools = conversation.messages, conversation.tools
        try:
            text = self._renderer(tools)(messages, None)
            opening = self._text_before_answer(messages[: answer_indexes(messages)[-1]], tools)
        except (RowRefused, TemplateRefusal):
            return ""  # encoding the row will say it
        if not text.startswith(opening):
            return ""
        ids, ranges = encode_with_ranges(self.tokenizer, text)
        return opening[common_end(ranges, [ids, self._prompt(opening)]) :]

    # --- what the user is told ---

    def _problems(self, refusal: RowRefused | TemplateRefusal, conversation: Conversation) -> list[Problem]:
        if isinstance(refusal, TemplateRefusal):
            refusal = explain_template(refusal, conversation, self._takes)
        return problems_of(refusal, conversation.place, self.name)

    def _takes(self, messages: Sequence[Message], tools: Tools) -> bool:
        try:
            self._renderer(tools)(messages, None)
        except TemplateRefusal:
            return False
        return True
