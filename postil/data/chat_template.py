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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import Any

from postil.data.answer_spans import RowRefused, answer_indexes
from postil.data.conversations import Conversation, Message
from postil.data.instruction_form import INSTRUCTION_NAME, INSTRUCTION_TEMPLATE
from postil.data.row_checks import Tools, explain_template, problems_of, uses_tools
from postil.data.row_encoding import (
    IGNORED,
    EncodedConversation,
    TrainOn,
    encode_prompt,
    encode_row,
    find_joint,
    unusual_beginnings,
)
from postil.data.template_facts import TemplateFacts
from postil.data.template_renderer import TemplateRefusal, check_template
from postil.data.text_tokenizer import TextTokenizer
from postil.errors import DataError
from postil.problems import Place, Problem


@dataclass(frozen=True)
class ChatFormat:
    """A template, the tokenizer that reads its text, and the day that it prints: fixed, and kept with every adapter.

    Args:
        template: jinja source.
        name: how errors call the template.
        thinking: answers may begin with a thinking block, so the prompt ends where answers with and without one begin
            to differ. Only templates that write such a block themselves (Qwen3) ask for it; see `fitted_to`.
        joint: the end of the prompt's text that its ids leave out, because it may make one token with the answer's
            beginning; None is what usual answers need.
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
            source, name = INSTRUCTION_TEMPLATE, INSTRUCTION_NAME
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
            "joint": self._facts.joint,
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
        if not self.thinking and any("</think>" in answer for answer in answers) and self._facts.writes_thinking:
            fitted = replace(self, thinking=True, joint=None)
        if not self.calling and any(uses_tools(c.messages, c.tools) for c in conversations):
            fitted = replace(fitted, calling=True)
        for conversation in unusual_beginnings(conversations):
            joint = find_joint(fitted._facts, conversation)
            if len(joint) > len(fitted._facts.joint):
                fitted = replace(fitted, joint=joint)
        return fitted

    @property
    def is_built_in(self) -> bool:
        """True for the form that bases without a template get."""
        return self._facts.is_built_in

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens on which answering stops: the trained end marks and the tokenizer's end of text."""
        return self._facts.stop_ids

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Text on which answering stops: end marks that are no single token, and the built-in form's."""
        return self._facts.stop_strings

    def encode_conversation(self, conversation: Conversation, train_on: TrainOn = "all") -> EncodedConversation:
        """Token ids and labels of a whole conversation.

        Args:
            train_on: learn every assistant message with weight, or only the last one.

        Raises:
            DataError: the row cannot be trained exactly; `problems` says why.
        """
        try:
            return encode_row(self._facts, conversation, train_on)
        except (RowRefused, TemplateRefusal) as refusal:
            problems = self._problems(refusal, conversation)
        reason, advice = problems[0].message, problems[0].hint
        place = conversation.place.in_words()
        raise DataError("tokens.row_refused", problems=problems, place=place, reason=reason, advice=advice)

    def prompt_ids(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """What answering sends: the trained ids of this conversation up to its next answer.

        Args:
            tools: as in `Conversation.tools`.

        Raises:
            DataError: a message holds a control token, or the template refuses the messages.
        """
        try:
            return encode_prompt(self._facts, messages, tools)
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

    @cached_property
    def _facts(self) -> TemplateFacts:
        return TemplateFacts(self.template, self.tokenizer, self.today, self.thinking, self.calling, self.joint)

    def _check(self) -> None:
        try:
            check_template(self.template)
            _ = self._facts.joint, self._facts.stop_ids
        except (RowRefused, TemplateRefusal) as refusal:
            is_ours = isinstance(refusal, RowRefused)
            reason = self._problems(refusal, Conversation((), Place("")))[0].message if is_ours else str(refusal)
            raise DataError("tokens.bad_template", template=self.name, reason=reason) from refusal

    def _problems(self, refusal: RowRefused | TemplateRefusal, conversation: Conversation) -> list[Problem]:
        if isinstance(refusal, TemplateRefusal):
            refusal = explain_template(refusal, conversation, self._takes)
        return problems_of(refusal, conversation.place, self.name)

    def _takes(self, messages: Sequence[Message], tools: Tools) -> bool:
        try:
            self._facts.renderer(tools)(messages, None)
        except TemplateRefusal:
            return False
        return True
