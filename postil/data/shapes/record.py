"""The nouns between a file and its conversations: a raw entry with its place, and what it says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postil.data.conversations import Message
from postil.data.files.json_repair import Repair
from postil.data.shapes.columns import Kind, Layout
from postil.data.shapes.drafts import Draft, Origin
from postil.problems import Place, Problem


@dataclass(frozen=True, slots=True)
class Record:
    """A raw entry of a file.

    Args:
        fields: by header or JSON key, as written. Cells of a table are always text; a column without a name has its
            letter ("A", "B" ...).
        layout: what the fields are for, where the table as a whole or the user says so; None leaves it to the record.
        turns: a chat put together of several rows or lines, in place of fields.
        rows: the physical rows or lines that it is made of, where these are more than its place's.
        repairs: of its rows that were no JSON and were made JSON while they were read.
        num_rows: how many entries of the ledger it stands for: a chat put together of 5 table rows counts 5, a question
            and its answer on 5 lines of text count 1.
    """

    place: Place
    fields: Mapping[str, Any]
    layout: Layout | None = None
    turns: tuple[Draft, ...] = ()
    rows: tuple[int, ...] = ()
    num_rows: int = 1
    repairs: tuple[Repair, ...] = ()


_NO_LAYOUT = Layout()


@dataclass(frozen=True, slots=True)
class Reading:
    """What one record says.

    Text checks locate what they find by `origins`: message `i` stands at `origins[i].place or record.place`, in the
    column `origins[i].column`, at `origins[i].json_path`.

    Args:
        shape: the layout's name, such as "alpaca" or "messages"; "" where none was recognised.
        messages: only complete when no problem is an error. Of preference data the chosen side.
        problems: what is wrong with the record's shape, each with a fix where there is a better one than dropping it.
        origins: where each message comes from, as many as messages, in their order.
        readable: where errors leave no messages, those that could be read with where each stands: they are never
            trained, but what is wrong in their texts is told along with the errors. Where messages are joined, those
            that they are joined of.
        kind: "qa" (one question), "chat" (several), "tool_calls", "preference", or the layout's "classification".
        tools: JSON schemas of the functions that the assistant may call, for `Conversation.tools`.
        layout: what the record's fields are for, with confidence and reason.
        is_rejected: the answer is marked as a bad one (a KTO label that is false): `messages` are understood and count
            as a conversation, but must never train. No problem is set for it: validation drops it (`rejected_answer`).
    """

    shape: str
    messages: tuple[Message, ...]
    problems: tuple[Problem, ...] = ()
    origins: tuple[Origin, ...] = ()
    kind: Kind = "qa"
    tools: tuple[Mapping[str, Any], ...] = ()
    layout: Layout = _NO_LAYOUT
    is_rejected: bool = False
    readable: tuple[tuple[Message, Origin], ...] = ()
