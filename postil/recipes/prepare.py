"""The first half of the road: checked conversations, token ids and labels on disk, ready to be looked at or trained."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.config import DataConfig, RunConfig
from postil.data.chat_template import ChatFormat
from postil.data.conversations import Conversation, content_hash
from postil.data.examples import Tokenized, tokenize_conversations
from postil.data.prepared import (
    Prepared,
    PreparedPart,
    is_prepared,
    matching_conversations,
    read_prepared,
    write_prepared,
)
from postil.data.records import read_records
from postil.data.splits import Split, split_conversations
from postil.data.validation import validate_dataset
from postil.errors import CannotWriteError, DataError, UsageError
from postil.events import PhaseStarted, Report, ignore
from postil.operating_system import os_reason
from postil.recipes.reporting import report_data, report_split, report_tokens, warn

if TYPE_CHECKING:
    from postil.models.loading import Base


@dataclass(frozen=True, slots=True)
class PreparedResult:
    """What `postil prepare` made."""

    path: Path
    train: int
    heldout: int
    tokens: int
    trained_tokens: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape of the shell's last line."""
        return {
            "prepared_dir": str(self.path),
            "train": self.train,
            "heldout": self.heldout,
            "tokens": self.tokens,
            "trained_tokens": self.trained_tokens,
        }


def prepare(config: RunConfig, out: Path, report: Report = ignore, *, force: bool = False) -> PreparedResult:
    """Reads, checks, splits and tokenizes `config.data.file` for `config.model.base` and writes the result to `out`.

    Only the base's tokenizer is loaded, not its weights.

    Raises:
        DataError: the data cannot train.
        CannotWriteError: `out` has something in it and `force` is off, or it is no prepared folder of ours.
    """
    from postil.models.loading import load_chat_format

    if config.data.file is None:
        raise UsageError("recipes.no_file")
    _make_room(out, force)
    report(PhaseStarted(phase="read"))
    validation = validate_dataset(read_records(Path(config.data.file)), config.data.system)
    report_data(validation, config.data.drop_bad, report)
    split = split_conversations(validation.conversations, config.data.heldout_share, config.training.seed)
    report_split(split, report)
    report(PhaseStarted(phase="tokenize"))
    chat_format = load_chat_format(config.model).fitted_to(validation.conversations)
    train, heldout = (tokenize_part(part, chat_format, config.data, report) for part in (split.train, split.heldout))
    report_tokens(train, heldout, report)
    parts = [_part(split.train, train), _part(split.heldout, heldout)]
    prepared = Prepared(parts[0], parts[1], _describe(config, chat_format, train, heldout, parts))
    report(PhaseStarted(phase="save"))
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_prepared(out, prepared)
    except OSError as error:
        raise CannotWriteError("recipes.cannot_write", path=out, reason=os_reason(error)) from error
    counts = prepared.description
    return PreparedResult(
        out, len(parts[0].examples), len(parts[1].examples), counts["tokens"], counts["trained_tokens"]
    )


def tokenize_part(
    conversations: Sequence[Conversation],
    chat_format: ChatFormat,
    config: DataConfig,
    report: Report,
    model_max_tokens: int | None = None,
) -> Tokenized:
    """Tokens of one part of the split. `config.drop_bad` leaves out rows that the chat format refuses, and says which.

    Raises:
        DataError: as `tokenize_conversations`.
    """
    lengths = {"max_length_tokens": config.max_length_tokens, "model_max_tokens": model_max_tokens}
    try:
        return tokenize_conversations(conversations, chat_format, train_on=config.train_on, **lengths)
    except DataError as error:
        refused = {p.place for p in error.problems}
        if not config.drop_bad or not refused:
            raise
        places = ", ".join(sorted(map(str, refused))[:5])
        warn(report, "recipes.refused_rows", rows=len(refused), places=places)
        kept = [c for c in conversations if c.place not in refused]
        return tokenize_conversations(kept, chat_format, train_on=config.train_on, **lengths)


def open_prepared(folder: Path, base: "Base") -> tuple[Split, Tokenized, Tokenized, ChatFormat]:
    """Reads a prepared folder for `base`: split, trained and held-out tokens, and the chat format that made them.

    Raises:
        DataError: it was prepared with another tokenizer, or it is damaged.
    """
    prepared = read_prepared(folder)
    about = prepared.description
    if about["chat_format"]["tokenizer"] != base.tokenizer.fingerprint:
        raise DataError("recipes.other_tokenizer", path=folder, made_for=about["base"], base=base.name)
    split = Split.of(prepared.train.conversations, prepared.heldout.conversations)
    train, heldout = (
        Tokenized(
            examples=part.examples,
            too_long=(),
            changed=0,
            longest=max((len(e.input_ids) for e in part.examples), default=0),
            max_length_tokens=about["max_length_tokens"],
        )
        for part in (prepared.train, prepared.heldout)
    )
    return split, train, heldout, ChatFormat.from_manifest(about["chat_format"], base.tokenizer)


def _make_room(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not force:
        raise CannotWriteError("recipes.output_exists", path=out)
    if not is_prepared(out):
        raise CannotWriteError("recipes.not_prepared", path=out)
    shutil.rmtree(out)


def _part(conversations: Sequence[Conversation], tokenized: Tokenized) -> PreparedPart:
    return PreparedPart(matching_conversations(conversations, tokenized.examples), tokenized.examples)


def _describe(
    config: RunConfig,
    chat_format: ChatFormat,
    train: Tokenized,
    heldout: Tokenized,
    parts: Sequence[PreparedPart],
) -> dict[str, Any]:
    return {
        "source": config.data.file,
        "base": config.model.base,
        "chat_format": chat_format.manifest(),
        "system": config.data.system,
        "data_hash": content_hash([c for part in parts for c in part.conversations]),
        "max_length_tokens": max(train.max_length_tokens, heldout.max_length_tokens),
        "too_long": [str(place) for t in (train, heldout) for place in t.too_long],
        "tokens": sum(len(e.input_ids) for e in train.examples),
        "trained_tokens": sum(e.num_trained_tokens for e in train.examples),
    }
