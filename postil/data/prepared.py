"""A checked and tokenized dataset on disk: parquet that anyone can open, and a small file that says what it is.

prepared.json     format, base, tokenizer, chat format, counts, content hash
train.parquet     a row a conversation: file, sheet, row, messages, tools, input_ids, labels
heldout.parquet   the same for the questions kept away from training

Tools, and the calls of a message, are JSON text; empty where there are none.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from postil.data.conversations import Conversation, Message, ToolCall
from postil.data.examples import Example
from postil.errors import DataError
from postil.problems import Place

FORMAT = 1
DESCRIPTION = "prepared.json"
_MESSAGE = pa.struct(
    [("role", pa.string()), ("content", pa.string()), ("weight", pa.int8()), ("tool_calls", pa.string())]
)
_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("sheet", pa.string()),
        ("row", pa.int64()),
        ("messages", pa.list_(_MESSAGE)),
        ("tools", pa.string()),
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
    ]
)


@dataclass(frozen=True, slots=True)
class PreparedPart:
    """Conversations and their tokens, in the same order."""

    conversations: tuple[Conversation, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `postil prepare` leaves and `postil train` starts from.

    Args:
        description: base, chat_format, system, source, counts.
    """

    train: PreparedPart
    heldout: PreparedPart
    description: dict[str, Any]


def is_prepared(path: Path) -> bool:
    """True for a folder that `write_prepared` made."""
    return path.is_dir() and (path / DESCRIPTION).is_file()


def write_prepared(folder: Path, prepared: Prepared) -> None:
    """Writes the three files into an existing folder, the description last: a folder without one is not prepared."""
    for name, part in (("train", prepared.train), ("heldout", prepared.heldout)):
        pq.write_table(_to_table(part), folder / f"{name}.parquet")
    text = json.dumps({"format": FORMAT} | prepared.description, ensure_ascii=False, indent=1)
    beside = folder / f"{DESCRIPTION}.new"
    beside.write_text(text + "\n", "utf-8")
    os.replace(beside, folder / DESCRIPTION)


def read_prepared(folder: Path) -> Prepared:
    """Reads what `write_prepared` wrote.

    Raises:
        DataError: a file is missing or damaged, or a newer Postil wrote the folder.
    """
    try:
        description = json.loads((folder / DESCRIPTION).read_text("utf-8"))
        if description.get("format") != FORMAT:
            raise DataError("data.prepared_format", path=folder, found=description.get("format"), known=FORMAT)
        train, heldout = (_from_table(pq.read_table(folder / f"{n}.parquet")) for n in ("train", "heldout"))
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError("data.prepared_damaged", path=folder, reason=" ".join(str(error).split())[:200]) from error
    return Prepared(train, heldout, description)


def _to_table(part: PreparedPart) -> pa.Table:
    rows = [
        {
            "file": c.place.file,
            "sheet": c.place.sheet,
            "row": c.place.row,
            "messages": [_plain(m) for m in c.messages],
            "tools": json.dumps(list(c.tools), ensure_ascii=False) if c.tools else "",
            "input_ids": list(e.input_ids),
            "labels": list(e.labels),
        }
        for c, e in zip(part.conversations, part.examples, strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def _from_table(table: pa.Table) -> PreparedPart:
    conversations, examples = [], []
    for row in table.to_pylist():
        place = Place(row["file"], row["row"], row["sheet"])
        tools = tuple(json.loads(row.get("tools") or "[]"))
        conversations.append(Conversation(tuple(_message(m) for m in row["messages"]), place, tools))
        examples.append(Example(place, tuple(row["input_ids"]), tuple(row["labels"])))
    return PreparedPart(tuple(conversations), tuple(examples))


def _plain(message: Message) -> dict[str, Any]:
    calls = [{"name": c.name, "arguments": dict(c.arguments)} for c in message.tool_calls]
    return {
        "role": message.role,
        "content": message.content,
        "weight": message.weight,
        "tool_calls": json.dumps(calls, ensure_ascii=False) if calls else "",
    }


def _message(values: dict[str, Any]) -> Message:
    calls = tuple(ToolCall(c["name"], c["arguments"]) for c in json.loads(values.get("tool_calls") or "[]"))
    return Message(values["role"], values["content"], values["weight"], calls)
