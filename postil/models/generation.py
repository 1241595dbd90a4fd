"""Answers from a model, built on the decoding loop.

    decode                 token ids of a left-padded batch, step by step (decoding.py)
    ├── generate_answers   whole answers of many prompts, batched by length
    ├── stream_text        one answer, as pieces of text while it is written
    └── stream_both        base and adapter in turns, each with its own cache, from one model in memory

`model` is a plain transformers model or a PEFT one; whether an adapter is on is the caller's choice.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import nn

from postil.data.chat_template import ChatFormat
from postil.data.conversations import Message
from postil.data.row_checks import Tools
from postil.models.adapter import adapter_disabled
from postil.models.decoding import GREEDY, Sampling, decode

__all__ = [
    "GREEDY",
    "Answer",
    "AnswerText",
    "Sampling",
    "Side",
    "decode",
    "generate_answers",
    "next_piece",
    "stream_both",
    "stream_text",
]

Side = Literal["base", "tuned"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A finished answer.

    Args:
        stopped: the model ended it itself (end token or stop string); False when it ran into the limit.
        num_tokens: tokens decoded, the end token included.
    """

    text: str
    stopped: bool
    num_tokens: int


@dataclass
class AnswerText:
    """Turns one answer's tokens into text as they come.

    Text is handed out once it cannot change any more: not while a character's bytes are incomplete, and not while its
    end may be the beginning of a stop string.

    Args:
        more_stops: text on which this answer ends besides the format's own stops.
    """

    chat_format: ChatFormat
    more_stops: tuple[str, ...] = ()
    ids: list[int] = field(default_factory=list)
    text: str = ""
    num_tokens: int = 0
    stopped: bool = False

    def feed(self, token: int) -> str:
        """Takes the next token; returns the text that became certain with it."""
        self.num_tokens += 1
        if token in self.chat_format.stop_ids:
            self.stopped = True
            return self.finish()
        self.ids.append(token)
        text = self._decoded()
        cuts = [at for stop in self._stop_strings if (at := text.find(stop)) >= 0]
        if cuts:
            self.stopped = True
            return self._hand_out(text[: min(cuts)])
        return self._hand_out(self._certain(text))

    def finish(self) -> str:
        """What was held back, when no more tokens come."""
        return self._hand_out(self._decoded())

    @property
    def _stop_strings(self) -> tuple[str, ...]:
        return (*self.chat_format.stop_strings, *self.more_stops)

    @property
    def answer(self) -> Answer:
        """The answer so far; whole after the last token and `finish`."""
        return Answer(self.text, self.stopped, self.num_tokens)

    def _decoded(self) -> str:
        # the blank that some templates leave between prompt and answer is no part of the answer
        return self.chat_format.tokenizer.decode(self.ids, skip_special_tokens=True).lstrip()

    def _certain(self, text: str) -> str:
        text = text.rstrip("\ufffd")
        longest = max((_overlap(text, stop) for stop in self._stop_strings), default=0)
        return text[: len(text) - longest]

    def _hand_out(self, text: str) -> str:
        piece = text[len(self.text) :]
        self.text += piece
        return piece


def _overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` that are a beginning of `stop`."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)


def generate_answers(
    model: nn.Module,
    chat_format: ChatFormat,
    prompts: Sequence[Sequence[Message]],
    sampling: Sampling = GREEDY,
    batch_size: int = 16,
    tools: Sequence[Tools] = (),
) -> list[Answer]:
    """Answers many prompts, those of similar length together.

    Args:
        prompts: the messages before each answer, such as `Conversation.prompt`.
        tools: those of each prompt, such as `Conversation.tools`; empty where no prompt has any.

    Returns:
        One answer per prompt, in the order given.
    """
    ids = [chat_format.prompt_ids(p, t) for p, t in zip(prompts, tools or [()] * len(prompts), strict=True)]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    texts = [AnswerText(chat_format) for _ in ids]
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        _run([texts[i] for i in chosen], model, chat_format, [ids[i] for i in chosen], sampling)
    return [text.answer for text in texts]


def _run(
    texts: Sequence[AnswerText],
    model: nn.Module,
    chat_format: ChatFormat,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
) -> None:
    def is_over(row: int, token: int) -> bool:
        texts[row].feed(token)
        return texts[row].stopped

    for _ in _decode_chat(model, chat_format, prompts, sampling, is_over):
        pass
    for text in texts:
        if not text.stopped:
            text.finish()


def _decode_chat(
    model: nn.Module,
    chat_format: ChatFormat,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    is_over: Callable[[int, int], bool],
) -> Iterator[list[int | None]]:
    pad_id = chat_format.tokenizer.pad_id  # padding is masked, so any id will do where a tokenizer has none
    return decode(model, prompts, stop_ids=chat_format.stop_ids, pad_id=pad_id or 0, sampling=sampling, is_over=is_over)


def stream_text(
    model: nn.Module, chat_format: ChatFormat, messages: Sequence[Message], sampling: Sampling = GREEDY
) -> Generator[str, None, Answer]:
    """Answers one prompt, handing out text while it is written; the pieces joined are `generate_answers`' text.

    Returns:
        The whole answer, as the generator's value.
    """
    text = AnswerText(chat_format)
    pieces: list[str] = []

    def is_over(row: int, token: int) -> bool:
        pieces.append(text.feed(token))
        return text.stopped

    for _ in _decode_chat(model, chat_format, [chat_format.prompt_ids(messages)], sampling, is_over):
        if piece := pieces.pop():
            yield piece
    if not text.stopped and (rest := text.finish()):
        yield rest
    return text.answer


def stream_both(
    model: nn.Module,
    chat_format: ChatFormat,
    base_messages: Sequence[Message],
    tuned_messages: Sequence[Message],
    sampling: Sampling = GREEDY,
) -> Generator[tuple[Side, str], None, dict[Side, Answer]]:
    """Answers with the base and with the adapter, a token of each in turn, from one model in memory.

    The two message lists differ once a chat has a second turn, because each side remembers its own answers.

    Returns:
        The whole answers, as the generator's value.
    """
    if sampling.seed is None:
        sampling = replace(sampling, seed=torch.Generator().seed())  # both sides draw the same numbers
    streams: dict[Side, Generator[str, None, Answer]] = {
        "base": stream_text(model, chat_format, base_messages, sampling),
        "tuned": stream_text(model, chat_format, tuned_messages, sampling),
    }
    answers: dict[Side, Answer] = {}
    while streams:
        for side in list(streams):
            piece = next_piece(streams[side], model, side)
            if isinstance(piece, Answer):
                answers[side] = piece
                del streams[side]
            else:
                yield side, piece
    return answers


def next_piece(stream: Generator[str, None, Answer], model: nn.Module, side: Side) -> str | Answer:
    """The stream's next piece of text, decoded by the side that it belongs to; the whole answer when it has ended."""
    with adapter_disabled(model) if side == "base" else nullcontext():
        try:
            return next(stream)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
