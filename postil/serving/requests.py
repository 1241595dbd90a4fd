"""What the engine is asked, what it hands over, and one answer on its way through it."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import torch

from postil.errors import PostilError
from postil.models.answer_rows import AnswerRow
from postil.models.decoding import Sampling
from postil.models.generation import AnswerText
from postil.serving.shelf import ServedAdapter

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Piece:
    """More text of one choice."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """One choice has ended; num_tokens counts its end token."""

    index: int
    reason: FinishReason
    num_tokens: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The request cannot be answered any further."""

    error: PostilError


Delivery = Piece | Finished | Failed


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request wants.

    Args:
        num_choices: answers to the same prompt; the seed of each is one more than that of the one before.
        stops: text on which answers end besides the format's own.
        max_new_tokens: None takes the server's limit.
    """

    sampling: Sampling
    max_new_tokens: int | None = None
    num_choices: int = 1
    stops: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


@dataclass(eq=False)
class Row:
    """One choice on its way."""

    index: int
    adapter: ServedAdapter | None
    prompt: Sequence[int]
    budget: int
    wish: Wish
    text: AnswerText
    draw: torch.Generator
    ticket: "Ticket"
    cache: AnswerRow = field(default_factory=AnswerRow)
    last_token: int = 0
    written: Counter[int] = field(default_factory=Counter)
    started: float = 0.0
    is_over: bool = False

    @property
    def key(self) -> str | None:
        """What the adapter set calls its adapter; None for the base."""
        return self.adapter.key if self.adapter else None

    @property
    def num_unread(self) -> int:
        """Tokens of the prompt that are still to be read."""
        return max(0, len(self.prompt) - self.cache.num_tokens)


@dataclass(eq=False)
class Ticket:
    """A request that was accepted.

    Args:
        num_prompt_tokens: of its prompt.
        deliver: called from the engine's thread.
    """

    num_prompt_tokens: int
    deliver: Callable[[Delivery], None]
    rows: list[Row] = field(default_factory=list)
    is_over: bool = False

    def hand_over(self, delivery: Delivery) -> None:
        """Delivers, unless whoever waited is gone with their event loop."""
        with suppress(RuntimeError):
            self.deliver(delivery)
