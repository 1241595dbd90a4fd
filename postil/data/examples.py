"""Conversations as examples: token ids and labels, every row whole, and nothing left out in silence."""

from collections.abc import Sequence
from dataclasses import dataclass

from postil.data.chat_template import IGNORED, ChatFormat, EncodedConversation, TrainOn
from postil.data.conversations import Conversation
from postil.data.text_tokenizer import TextTokenizer
from postil.errors import DataError
from postil.problems import Place, Problem

__all__ = ["IGNORED", "Example", "TextTokenizer", "Tokenized", "tokenize_conversations"]

_LENGTH_STEP = 64


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as tokens.

    Args:
        labels: as long as `input_ids` and not shifted: labels[i] is input_ids[i] where that token is trained (the
            network predicts it at i - 1), else IGNORED.
    """

    place: Place
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def num_trained_tokens(self) -> int:
        """Tokens that carry a label."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True, slots=True)
class Tokenized:
    """What became of the conversations: examples and too_long together are all of them.

    Args:
        examples: in the order of the conversations.
        too_long: where the rows stand that have more than `max_length_tokens` tokens and are left out whole.
        changed: number of conversations with an answer that the template changed.
        longest: tokens of the longest conversation, left out or not; 0 when there are none.
        max_length_tokens: the length in force.
    """

    examples: tuple[Example, ...]
    too_long: tuple[Place, ...]
    changed: int
    longest: int
    max_length_tokens: int


def tokenize_conversations(
    conversations: Sequence[Conversation],
    chat_format: ChatFormat,
    *,
    max_length_tokens: int | None = None,
    train_on: TrainOn = "all",
    model_max_tokens: int | None = None,
) -> Tokenized:
    """Encodes conversations and checks that training on them can work.

    Args:
        max_length_tokens: longer conversations are left out and listed; None takes the longest one's length, rounded up
            to a multiple of 64.
        train_on: learn every assistant message with weight, or only the last one.
        model_max_tokens: what the model can read; no length is above it.

    Raises:
        DataError: rows that cannot be trained exactly (all of them in `problems`), no row short enough, or the token on
            which answering stops is trained in no row.
    """
    encoded = _encode_all(conversations, chat_format, train_on)
    longest = max((len(e.input_ids) for e in encoded), default=0)
    limit = max_length_tokens or max(_LENGTH_STEP, -(-longest // _LENGTH_STEP) * _LENGTH_STEP)
    limit = min(limit, model_max_tokens or limit)
    rows = list(zip(conversations, encoded, strict=True))
    kept = [(c, e) for c, e in rows if len(e.input_ids) <= limit]
    if rows and not kept:
        shortest = min(len(e.input_ids) for e in encoded)
        raise DataError("tokens.all_too_long", limit=limit, shortest=shortest, count=len(rows))
    if kept and not any(e.ends_trained for _, e in kept):
        raise DataError("tokens.stop_never_trained", template=chat_format.name)
    return Tokenized(
        examples=tuple(Example(c.place, e.input_ids, e.labels) for c, e in kept),
        too_long=tuple(c.place for c, e in rows if len(e.input_ids) > limit),
        changed=sum(e.changed for _, e in kept),
        longest=longest,
        max_length_tokens=limit,
    )


def _encode_all(
    conversations: Sequence[Conversation], chat_format: ChatFormat, train_on: TrainOn
) -> list[EncodedConversation]:
    encoded: list[EncodedConversation] = []
    problems: list[Problem] = []
    for conversation in conversations:
        try:
            encoded.append(chat_format.encode_conversation(conversation, train_on))
        except DataError as error:
            problems += error.problems
    if problems:
        rows = len(conversations) - len(encoded)
        raise DataError(
            "tokens.rows_refused",
            problems=problems,
            count=rows,
            total=len(conversations),
            place=problems[0].place,
            reason=problems[0].message,
            advice=problems[0].hint,
        )
    return encoded
