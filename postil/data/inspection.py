"""What training will see, token by token: the very ids and labels of `tokenize_conversations`, as readable text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation
from postil.data.examples import Example, Tokenized
from postil.data.row_encoding import IGNORED, TrainOn
from postil.data.text_tokenizer import ControlTokens, TextTokenizer
from postil.data.truncation import Turn, split_turns
from postil.errors import DataError
from postil.problems import Place

State = Literal["trained", "ignored", "cut"]
Part = Literal["train", "heldout"]
_MOST_TOKENS_OF_ONE_SIGN = 8


@dataclass(frozen=True, slots=True)
class ShownToken:
    """Text of one token, or of a few that make one character together.

    Args:
        text: exactly what it stands for.
        state: trained, seen but not learned, or left out for the row's length.
        is_control: a control token such as an end mark.
    """

    ids: tuple[int, ...]
    text: str
    state: State
    is_control: bool


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One row of the user's file.

    Args:
        part: trained, or kept away to measure with.
        examples: what it became; more than one where a chat was split, none where it is left out.
        left_out: tokens that are in no example.
        stops: examples that teach to stop.
        round_trip: every example's ids come out again when the conversation is put through the template once more,
            and say the same as the template wrote.
    """

    place: Place
    part: Part
    examples: tuple[tuple[ShownToken, ...], ...]
    left_out: tuple[ShownToken, ...]
    num_tokens: int
    num_trained: int
    stops: int
    round_trip: bool

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that every surface shows."""
        return {
            "file": self.place.file,
            "sheet": self.place.sheet,
            "row": self.place.row,
            "part": self.part,
            "num_tokens": self.num_tokens,
            "num_trained": self.num_trained,
            "stops": self.stops,
            "round_trip": self.round_trip,
            "examples": [[_as_dict(token) for token in example] for example in self.examples],
            "left_out": [_as_dict(token) for token in self.left_out],
        }


def _as_dict(token: ShownToken) -> dict[str, Any]:
    return {"ids": list(token.ids), "text": token.text, "state": token.state, "is_control": token.is_control}


@dataclass(frozen=True, slots=True)
class Counts:
    """About all rows, shown or not."""

    conversations: int
    examples: int
    heldout: int
    tokens: int
    trained_tokens: int
    longest: int
    max_length_tokens: int
    suggested_length_tokens: int
    too_long: int
    split: int
    shortened: int
    changed: int
    stops: int


def count_rows(
    conversations: Sequence[Conversation], chat_format: ChatFormat, train: Tokenized, heldout: Tokenized
) -> Counts:
    """Counts over a whole file; tokens and stops are those of the rows that train."""
    return Counts(
        conversations=len(conversations),
        examples=len(train.examples),
        heldout=len(heldout.examples),
        tokens=sum(len(e.input_ids) for e in train.examples),
        trained_tokens=sum(e.num_trained_tokens for e in train.examples),
        longest=max(train.longest, heldout.longest),
        max_length_tokens=train.max_length_tokens,
        suggested_length_tokens=train.suggested_length_tokens,
        too_long=len(train.too_long) + len(heldout.too_long),
        split=len(train.split) + len(heldout.split),
        shortened=len(train.shortened) + len(heldout.shortened),
        changed=train.changed + heldout.changed,
        stops=sum(teaches_to_stop(e, chat_format) for e in train.examples),
    )


def teaches_to_stop(example: Example, chat_format: ChatFormat) -> bool:
    """True when a mark on which answering stops is among the trained tokens."""
    if not chat_format.stop_ids.isdisjoint(example.labels):
        return True
    if not chat_format.stop_strings:
        return False
    text = chat_format.tokenizer.decode([i for i in example.labels if i != IGNORED], skip_special_tokens=False)
    return any(stop in text for stop in chat_format.stop_strings)


def show_row(
    conversation: Conversation, tokenized: Tokenized, part: Part, chat_format: ChatFormat, train_on: TrainOn
) -> ShownRow:
    """One row of the file with all that became of it.

    Args:
        conversation: as it was read.
        tokenized: the part of the split that it is in.
    """
    pairs = zip(tokenized.conversations, tokenized.examples, strict=True)
    mine = [(piece, example) for piece, example in pairs if piece.place == conversation.place]
    reader = TokenReader(chat_format.tokenizer)
    return ShownRow(
        place=conversation.place,
        part=part,
        examples=tuple(tuple(reader.read(e.input_ids, _states(e))) for _, e in mine),
        left_out=_left_out(conversation, [piece for piece, _ in mine], chat_format, train_on, reader),
        num_tokens=sum(len(e.input_ids) for _, e in mine),
        num_trained=sum(e.num_trained_tokens for _, e in mine),
        stops=sum(teaches_to_stop(e, chat_format) for _, e in mine),
        round_trip=all(_comes_back(piece, e, chat_format, train_on) for piece, e in mine),
    )


def _states(example: Example) -> list[State]:
    return ["ignored" if label == IGNORED else "trained" for label in example.labels]


def _comes_back(piece: Conversation, example: Example, chat_format: ChatFormat, train_on: TrainOn) -> bool:
    try:
        again = chat_format.encode_conversation(piece, train_on)  # compares ids and text as well
    except DataError:
        return False
    return again.input_ids == example.input_ids and again.labels == example.labels


def _left_out(
    conversation: Conversation,
    pieces: Sequence[Conversation],
    chat_format: ChatFormat,
    train_on: TrainOn,
    reader: "TokenReader",
) -> tuple[ShownToken, ...]:
    """A whole row as the template writes it where nothing trains; else the texts of the turns that no piece has."""
    if not pieces:
        ids: Sequence[int] = chat_format.encode_conversation(conversation, train_on).input_ids
        return tuple(reader.read(ids, ["cut"] * len(ids)))
    kept: list[Turn] = [turn for piece in pieces for turn in split_turns(piece.messages)[1]]
    shown: list[ShownToken] = []
    for turn in split_turns(conversation.messages)[1]:
        if kept and turn == kept[0]:
            kept.pop(0)
            continue
        for message in turn:
            ids = chat_format.tokenizer.encode(message.content + "\n")[0]
            shown += reader.read(ids, ["cut"] * len(ids))
    return tuple(shown)


class TokenReader:
    """Turns ids into the text of each."""

    def __init__(self, tokenizer: TextTokenizer):
        self._tokenizer = tokenizer
        self._controls = ControlTokens(tokenizer)

    def read(self, ids: Sequence[int], states: Sequence[State]) -> Iterator[ShownToken]:
        """Tokens in order; those that only together are a character, as one.

        A token is read after the one before it, as some tokenizers drop a blank at the beginning of a text.
        """
        before: tuple[int, ...] = ()
        at = 0
        while at < len(ids):
            size, text = 1, self._text(before, tuple(ids[at : at + 1]))
            while "\ufffd" in text and size < _MOST_TOKENS_OF_ONE_SIGN and self._goes_on(ids, states, at, size):
                size += 1
                text = self._text(before, tuple(ids[at : at + size]))
            if "\ufffd" in text:  # no character at all: bytes that are shown one by one
                size, text = 1, self._text(before, tuple(ids[at : at + 1]))
            before = tuple(ids[at : at + size])
            is_control = size == 1 and bool(self._controls.text_of(ids[at]))
            yield ShownToken(before, text, states[at], is_control)
            at += size

    def _goes_on(self, ids: Sequence[int], states: Sequence[State], at: int, size: int) -> bool:
        return at + size < len(ids) and states[at + size] == states[at] and not self._controls.text_of(ids[at + size])

    def _text(self, before: tuple[int, ...], ids: tuple[int, ...]) -> str:
        head = self._tokenizer.decode(before, skip_special_tokens=False) if before else ""
        return self._tokenizer.decode((*before, *ids), skip_special_tokens=False)[len(head) :]
