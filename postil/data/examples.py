"""Conversations as examples: token ids and labels, every row whole, and nothing left out in silence."""

from collections.abc import Sequence
from dataclasses import dataclass

from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation
from postil.data.row_encoding import IGNORED, EncodedConversation, TrainOn
from postil.data.text_tokenizer import TextTokenizer
from postil.data.truncation import LENGTH_STEP, Fitted, Piece, TooLong, fit_conversation, round_up, suggest_length
from postil.errors import DataError
from postil.problems import Place, Problem

__all__ = ["IGNORED", "Example", "TextTokenizer", "Tokenized", "tokenize_conversations"]


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
    """What became of the conversations: every one is in an example, in `too_long`, or in `refused`.

    Args:
        examples: in the order of the conversations.
        conversations: what each example says; a part of the user's where that was shortened or split.
        too_long: where the rows stand of which nothing fits into `max_length_tokens`.
        split: rows that became several examples.
        shortened: rows that train, but without some of their turns.
        changed: number of conversations with an answer that the template changed.
        longest: tokens of the longest conversation as it was given; 0 when there are none.
        max_length_tokens: the length in force.
        suggested_length_tokens: what 99.5 % of the conversations fit into.
        refused: problems of rows that were left out before, as they cannot be trained exactly.
    """

    examples: tuple[Example, ...]
    too_long: tuple[Place, ...]
    changed: int
    longest: int
    max_length_tokens: int
    conversations: tuple[Conversation, ...] = ()
    split: tuple[Place, ...] = ()
    shortened: tuple[Place, ...] = ()
    suggested_length_tokens: int = LENGTH_STEP
    refused: tuple[Problem, ...] = ()


def tokenize_conversations(
    conversations: Sequence[Conversation],
    chat_format: ChatFormat,
    *,
    max_length_tokens: int | None = None,
    train_on: TrainOn = "all",
    model_max_tokens: int | None = None,
    too_long: TooLong = "drop",
) -> Tokenized:
    """Encodes conversations and checks that training on them can work.

    Args:
        max_length_tokens: what is done with longer conversations `too_long` says; None takes the longest one's length,
            rounded up to a multiple of 64.
        train_on: learn every assistant message with weight, or only the last one.
        model_max_tokens: what the model can read; no length is above it.
        too_long: leave long conversations out whole, split them at a turn, or keep their last turn. Where only last
            answers are learned, splitting keeps the last turn.

    Raises:
        DataError: rows that cannot be trained exactly (all of them in `problems`), no row short enough, or the token on
            which answering stops is trained in no row.
    """
    encoded = _encode_all(conversations, chat_format, train_on)
    lengths = [len(e.input_ids) for e in encoded]
    longest = max(lengths, default=0)
    limit = max_length_tokens or round_up(longest)
    limit = min(limit, model_max_tokens or limit)
    policy: TooLong = "keep_last" if too_long == "split" and train_on == "last" else too_long
    rows = [
        (c, Fitted((Piece(c, e),)) if len(e.input_ids) <= limit else _fit(c, chat_format, train_on, limit, policy))
        for c, e in zip(conversations, encoded, strict=True)
    ]
    pieces = [piece for _, fitted in rows for piece in fitted.pieces]
    if rows and not pieces:
        raise DataError("tokens.all_too_long", limit=limit, shortest=min(lengths), count=len(rows))
    if pieces and not any(piece.encoded.ends_trained for piece in pieces):
        raise DataError("tokens.stop_never_trained", template=chat_format.name)
    return Tokenized(
        examples=tuple(Example(p.conversation.place, p.encoded.input_ids, p.encoded.labels) for p in pieces),
        conversations=tuple(piece.conversation for piece in pieces),
        too_long=tuple(c.place for c, fitted in rows if not fitted.pieces),
        split=tuple(c.place for c, fitted in rows if len(fitted.pieces) > 1),
        shortened=tuple(c.place for c, fitted in rows if fitted.pieces and fitted.left_out),
        changed=sum(any(p.encoded.changed for p in fitted.pieces) for _, fitted in rows),
        longest=longest,
        max_length_tokens=limit,
        suggested_length_tokens=min(suggest_length(lengths), model_max_tokens or longest + LENGTH_STEP),
    )


def _fit(conversation: Conversation, chat_format: ChatFormat, train_on: TrainOn, limit: int, policy: TooLong) -> Fitted:
    def encode(part: Conversation) -> EncodedConversation:
        return chat_format.encode_conversation(part, train_on)

    return fit_conversation(conversation, limit, policy, encode)


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
