"""Conversations with more tokens than fit: left out, split at a turn, or kept with their last turn. Never cut inside.

    whole        system | user 1, answer 1 | user 2, answer 2 | user 3, answer 3
    split        system | user 1, answer 1 | user 2, answer 2         and         system | user 3, answer 3
    keep_last    system | user 3, answer 3

What a policy leaves out is told turn by turn, so that it can be counted and shown.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from postil.data.conversations import Conversation, Message
from postil.data.row_encoding import EncodedConversation
from postil.errors import DataError

TooLong = Literal["drop", "split", "keep_last"]
LENGTH_STEP = 64
_USUAL_SHARE = 0.995

Turn = tuple[Message, ...]
Encode = Callable[[Conversation], EncodedConversation]
"""Raises DataError for what cannot be trained."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a conversation that trains, and its tokens."""

    conversation: Conversation
    encoded: EncodedConversation


@dataclass(frozen=True, slots=True)
class Fitted:
    """What became of one conversation.

    Args:
        pieces: in order; none where nothing of it fits.
        left_out: turns that are in no piece.
    """

    pieces: tuple[Piece, ...]
    left_out: tuple[Turn, ...] = ()


def round_up(num_tokens: int) -> int:
    """A length that is a multiple of 64, at least 64."""
    return max(LENGTH_STEP, -(-num_tokens // LENGTH_STEP) * LENGTH_STEP)


def suggest_length(lengths: Sequence[int]) -> int:
    """Tokens that 99.5 % of the conversations fit into, rounded up to a multiple of 64."""
    if not lengths:
        return LENGTH_STEP
    at = -(-len(lengths) * int(_USUAL_SHARE * 1000) // 1000) - 1
    return round_up(sorted(lengths)[at])


def split_turns(messages: Sequence[Message]) -> tuple[Turn, tuple[Turn, ...]]:
    """System messages, then turns: each from a user's message to what stands before the next one's."""
    head = tuple(m for m in messages if m.role == "system")
    turns: list[Turn] = []
    for before, message in zip((None, *messages), messages, strict=False):
        if message.role == "system":
            continue
        begins = message.role == "user" and (before is None or before.role != "user")
        if begins or not turns:
            turns.append((message,))
        else:
            turns[-1] = (*turns[-1], message)
    return head, tuple(turns)


def fit_conversation(conversation: Conversation, limit: int, policy: TooLong, encode: Encode) -> Fitted:
    """Makes a conversation that is longer than `limit` tokens fit, by whole turns.

    Args:
        encode: with the run's chat format and what it learns.
    """
    head, turns = split_turns(conversation.messages)
    if policy == "drop" or len(turns) < 2:
        return Fitted((), turns)
    if policy == "keep_last":
        piece = _fitting_piece(conversation, head, turns[-1:], limit, encode)
        return Fitted((piece,), turns[:-1]) if piece else Fitted((), turns)
    return _split(conversation, head, turns, limit, encode)


def _split(conversation: Conversation, head: Turn, turns: Sequence[Turn], limit: int, encode: Encode) -> Fitted:
    """As many turns into each piece as fit; a turn that alone is too long is left out."""
    pieces: list[Piece] = []
    left_out: list[Turn] = []
    current: list[Turn] = []

    def close() -> None:
        piece = _fitting_piece(conversation, head, current, limit, encode) if current else None
        if piece:
            pieces.append(piece)
        else:  # nothing in it is to be learned
            left_out.extend(current)
        current.clear()

    for turn in turns:
        if current and not _fits(conversation, head, [*current, turn], limit, encode):
            close()
        if current or _fits(conversation, head, [turn], limit, encode):
            current.append(turn)
        else:
            left_out.append(turn)
    close()
    return Fitted(tuple(pieces), tuple(left_out))


def _part(conversation: Conversation, head: Turn, turns: Sequence[Turn]) -> Conversation:
    return replace(conversation, messages=(*head, *(m for turn in turns for m in turn)))


def _fitting_piece(
    conversation: Conversation, head: Turn, turns: Sequence[Turn], limit: int, encode: Encode
) -> Piece | None:
    part = _part(conversation, head, turns)
    try:
        encoded = encode(part)
    except DataError:
        return None
    return Piece(part, encoded) if len(encoded.input_ids) <= limit else None


def _fits(conversation: Conversation, head: Turn, turns: Sequence[Turn], limit: int, encode: Encode) -> bool:
    """Whether turns have few enough tokens, whatever is learned of them."""
    part = _part(conversation, head, turns)
    learned = tuple(replace(m, weight=1) if m.role == "assistant" else m for m in part.messages)
    return _fitting_piece(part, (), [learned], limit, encode) is not None
