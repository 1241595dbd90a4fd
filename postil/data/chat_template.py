"""From messages to token ids and labels, by the tokenizer's own chat template.

Three promises, each checked for every conversation and refused where it cannot be kept:
- the ids are those of the template's text for the whole conversation, tokenized once, nothing added or cut;
- labels cover each trained answer and the mark that ends it, on which answering stops, and nothing after it;
- `prompt_ids(messages)` is how the trained ids of any conversation that begins with `messages` go on to its last answer.

The third is why the template's own generation prompt is not used: R1-Distill's and Qwen3's open a thinking block that
training text lacks. In a chat of several turns the earlier answers are trained as the whole rendering shows them; some
templates (Qwen3, gpt-oss, Phi-3) write an earlier turn a little differently from a last one, so answering at turn k sends
what a chat of k turns looks like, which is not always how turn k looked inside a longer one.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal, Protocol

from postil.data.answer_spans import (
    AnswerSpan,
    RenderedAnswers,
    RowRefused,
    answer_indexes,
    find_answers,
    find_marked_answers,
    text_before_answer,
)
from postil.data.closing_marks import ClosingMark, find_closing_marks
from postil.data.conversations import Conversation, Message
from postil.data.template_renderer import TemplateRefusal, check_template, has_generation_marks, render
from postil.errors import DataError
from postil.language import say
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
"""How answers begin: what all of them leave of the prompt's last tokens belongs to the prompt."""


class TextTokenizer(Protocol):
    """What the data room asks of a tokenizer; `models/tokenizer.py` wraps a real one."""

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and the characters (start, end) of each; special tokens in the text are recognised, none are added."""
        ...

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """The text of ids."""
        ...

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text."""
        ...

    @property
    def pad_id(self) -> int | None:
        """The token that fills rows up; never trained as such."""
        ...

    @property
    def special_tokens(self) -> Mapping[str, str]:
        """`bos_token`, `eos_token` and so on: what templates may name."""
        ...

    @property
    def chat_template(self) -> str | None:
        """The source of its chat template, if it has one."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256: equal fingerprints give equal ids for every text."""
        ...


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
        thinking: answers may begin with a thinking block, so the prompt ends where answers with and without one begin to
            differ. Only templates that write such a block themselves (Qwen3) ask for it; see `fitted_to`.
    """

    template: str
    tokenizer: TextTokenizer
    today: date
    name: str
    thinking: bool = False
    _control_texts: dict[int, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def from_tokenizer(
        cls, tokenizer: TextTokenizer, template: str | None = None, *, today: date | None = None, name: str | None = None
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
            "tokenizer": self.tokenizer.fingerprint,
            "stop_ids": sorted(self.stop_ids),
            "stop_strings": list(self.stop_strings),
        }

    def fitted_to(self, conversations: Iterable[Conversation]) -> "ChatFormat":
        """This format, or one with `thinking` if answers have thinking blocks and the template writes its own.

        Decide once, on all rows, before any is encoded: prompts differ between the two.
        """
        if self.thinking or not self._writes_thinking:
            return self
        answers = (m.content for c in conversations for m in c.messages if m.role == "assistant")
        return replace(self, thinking=True) if any("</think>" in answer for answer in answers) else self

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
            return self._encode(conversation.messages, train_on)
        except RowRefused as refusal:
            problem = self._problem(refusal, conversation.place)
        except TemplateRefusal as refusal:
            problem = self._problem(self._explain(refusal, conversation.messages), conversation.place)
        raise DataError(
            "tokens.row_refused",
            problems=[problem],
            place=conversation.place,
            reason=problem.message,
            advice=problem.hint,
        )

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """What answering sends: the trained ids of this conversation up to its next answer.

        Raises:
            DataError: a message holds a control token, or the template refuses the messages.
        """
        try:
            self._check_smuggling(messages)
            return self._prompt(self._text_before_answer(messages))
        except RowRefused as refusal:
            problem = self._problem(refusal, Place(""))
        except TemplateRefusal as refusal:
            problem = self._problem(self._explain(refusal, messages), Place(""))
        raise DataError("tokens.prompt_refused", problems=[problem], reason=problem.message, advice=problem.hint)

    # --- one row ---

    def _encode(self, messages: Sequence[Message], train_on: TrainOn) -> EncodedConversation:
        self._check_smuggling(messages)
        self._check_stops(messages)
        answers = answer_indexes(messages)
        trained = [i for i in (answers if train_on == "all" else answers[-1:]) if messages[i].weight > 0]
        if not trained:
            raise RowRefused("nothing_trained")
        found = self._find_answers(messages)
        ids, ranges = self._tokenize(found.text)
        prompt = self._check_prompt(messages[: answers[-1]], found, ids)
        labels, changed, ends = [IGNORED] * len(ids), False, False
        for i, span in zip(answers, found.spans, strict=True):
            if i not in trained:
                continue
            start, end, is_ended = self._trained_part(found.text, span)
            covered = [k for k, (low, high) in enumerate(ranges) if high > start and low < end]
            if i == answers[-1] and (not covered or covered[0] != prompt):
                raise RowRefused("answer_joins_prompt", column="assistant", excerpt=messages[i].content[:60])
            for k in covered:
                labels[k] = ids[k]
            changed, ends = changed or span.changed, ends or is_ended
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

    def _check_prompt(self, messages: Sequence[Message], found: RenderedAnswers, ids: Sequence[int]) -> int:
        """Number of tokens of the prompt, which the row's ids must begin with."""
        opening = self._text_before_answer(messages) if found.opening is None else found.opening
        answer = found.text[found.spans[-1].start : found.spans[-1].end]
        if not found.text.startswith(opening):
            raise RowRefused("thinking_not_expected" if "</think>" in answer else "prompt_differs", column="assistant")
        prompt = self._prompt(opening)
        if list(ids[: len(prompt)]) != prompt:
            raise RowRefused("answer_joins_prompt", column="assistant", excerpt=answer[:60])
        return len(prompt)

    def _check_smuggling(self, messages: Sequence[Message]) -> None:
        joined = "\n".join(m.content for m in messages)
        if not self._control_tokens(joined):
            return
        for message in messages:
            for token in self._control_tokens(message.content):
                at = message.content.find(token)
                excerpt = message.content[max(0, at - 20) : at + len(token) + 20]
                raise RowRefused("control_token", column=message.role, excerpt=excerpt, token=token)

    def _check_stops(self, messages: Sequence[Message]) -> None:
        for message in messages:
            for stop in self.stop_strings:
                if message.role == "assistant" and stop in message.content:
                    raise RowRefused("answer_holds_stop", column="assistant", excerpt=message.content[:60], stop=stop)

    # --- text and tokens ---

    def _render(self, messages: Sequence[Message], marks: tuple[str, str] | None) -> str:
        return render(self.template, messages, self.tokenizer.special_tokens, self.today, marks)

    def _find_answers(self, messages: Sequence[Message]) -> RenderedAnswers:
        if self._is_marked:
            return find_marked_answers(self._render, messages)
        return find_answers(self._render, messages, self.thinking)

    def _text_before_answer(self, messages: Sequence[Message]) -> str:
        return text_before_answer(self._render, messages, marked=self._is_marked, thinking=self.thinking)

    def _prompt(self, opening: str) -> list[int]:
        return self.tokenizer.encode(opening.removesuffix(self._joint))[0]

    def _tokenize(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids, and for each the characters since the token before it: some tokenizers leave blanks out of offsets."""
        ids, offsets = self.tokenizer.encode(text)
        ends = list(accumulate((end for _, end in offsets), max))
        return ids, [(min(start, before), end) for (start, _), before, end in zip(offsets, [0, *ends], ends, strict=False)]

    def _control_tokens(self, text: str) -> list[str]:
        """Control tokens that stand in a text, in order."""
        ids, offsets = self.tokenizer.encode(text)
        found = ((self._control_text(i), text[start:end].strip()) for i, (start, end) in zip(ids, offsets, strict=True))
        return [control for control, written in found if control and control == written]

    def _control_text(self, token_id: int) -> str:
        """The text of a control token, "" for an ordinary one: decoding without special tokens leaves nothing of it."""
        known = self._control_texts.get(token_id)
        if known is None:
            is_control = not self.tokenizer.decode([token_id], skip_special_tokens=True)
            known = self.tokenizer.decode([token_id], skip_special_tokens=False).strip() if is_control else ""
            self._control_texts[token_id] = known
        return known

    # --- what is found out once about a template ---

    def _check(self) -> None:
        try:
            check_template(self.template)
            _ = self._joint, self.stop_ids
        except TemplateRefusal as refusal:
            raise DataError("tokens.bad_template", template=self.name, reason=str(refusal)) from refusal
        except RowRefused as refusal:
            reason = self._problem(refusal, Place("")).message
            raise DataError("tokens.bad_template", template=self.name, reason=reason) from refusal

    @cached_property
    def _is_marked(self) -> bool:
        return has_generation_marks(self.template)

    @cached_property
    def _writes_thinking(self) -> bool:
        """The text before an answer depends on whether the answer begins with a thinking block."""
        asked = [Message("user", "?")]
        openings = [
            text_before_answer(self._render, asked, marked=False, thinking=thinking) for thinking in (False, True)
        ]
        return not self._is_marked and openings[0] != openings[1]

    @cached_property
    def _closing_marks(self) -> tuple[ClosingMark, ...]:
        return find_closing_marks(lambda messages: self._render(messages, None), self.tokenizer.encode, self._control_text)

    @cached_property
    def _joint(self) -> str:
        """The end of the text before an answer that shares a token with how answers begin: "" for most templates.

        A template that writes `ASSISTANT: ` before the answer gives one token " Yes": the prompt has to end at the colon.
        """
        asked = [Message("user", "?")]
        opening = self._text_before_answer(asked)
        openings = [opening + word for word in _OPENINGS]
        if self.thinking:
            plain = text_before_answer(self._render, asked, marked=False, thinking=False)
            openings = [plain + _OPENINGS[0], opening + _OPENINGS[0]]
        rows = [self._tokenize(text) for text in openings]
        num_common = 0
        for tokens in zip(*(ids for ids, _ in rows), strict=False):
            if len(set(tokens)) > 1:
                break
            num_common += 1
        end = rows[0][1][num_common - 1][1] if num_common else 0
        return opening[end:]

    # --- what the user is told ---

    def _problem(self, refusal: RowRefused, place: Place) -> Problem:
        return Problem(
            refusal.code,
            "error",
            place,
            column=refusal.column,
            excerpt=refusal.excerpt,
            values={"template": self.name} | refusal.values,
        )

    def _explain(self, refusal: TemplateRefusal, messages: Sequence[Message]) -> RowRefused:
        """Tells a template that refuses system messages from one that refuses something else."""
        others = [m for m in messages if m.role != "system"]
        if len(others) < len(messages):
            try:
                self._render(others, None)
            except TemplateRefusal:
                pass
            else:
                return RowRefused("template_refuses_system", column="system")
        return RowRefused("template_refuses", reason=str(refusal))
