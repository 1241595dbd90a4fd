"""The first half of the road: checked conversations, token ids and labels on disk, ready to be looked at or trained."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.config import DataConfig, RunConfig
from postil.data.chat_template import ChatFormat
from postil.data.checks.overlay import read_overlay
from postil.data.conversations import Conversation, content_hash
from postil.data.examples import Tokenized, tokenize_conversations
from postil.data.options import ReadOptions
from postil.data.prepared import (
    Prepared,
    PreparedPart,
    is_prepared,
    read_prepared,
    write_prepared,
)
from postil.data.records import Records, read_records
from postil.data.reports import ValidationReport
from postil.data.splits import Split, split_conversations
from postil.data.text_tokenizer import TextTokenizer
from postil.data.truncation import TooLong
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


@dataclass(frozen=True, slots=True)
class TokenizedFile:
    """A file on the road, up to its tokens.

    Args:
        conversations: the good rows, in file order, as they were read.
        records_kind: what the reader took the records for; "" where a prepared folder was opened.
    """

    conversations: tuple[Conversation, ...]
    split: Split
    records_kind: str
    chat_format: ChatFormat
    train: Tokenized
    heldout: Tokenized


def prepare(config: RunConfig, out: Path, report: Report = ignore, *, force: bool = False) -> PreparedResult:
    """Reads, checks, splits and tokenizes `config.data.file` for `config.model.base` and writes the result to `out`.

    Only the base's tokenizer is loaded, not its weights.

    Raises:
        DataError: the data cannot train.
        CannotWriteError: `out` has something in it and `force` is off, or it is no prepared folder of ours.
    """
    if config.data.file is None:
        raise UsageError("recipes.no_file")
    _make_room(out, force)
    made = tokenize_file(config, report)
    parts = [PreparedPart(t.conversations, t.examples) for t in (made.train, made.heldout)]
    prepared = Prepared(parts[0], parts[1], _describe(config, made.chat_format, made.train, made.heldout, parts))
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


def tokenize_file(config: RunConfig, report: Report = ignore) -> TokenizedFile:
    """Reads, checks, splits and tokenizes `config.data.file` exactly as `train_lora` does, without the base's weights.

    Raises:
        DataError: the data cannot train.
    """
    from postil.models.loading import context_tokens, load_chat_format

    if config.data.file is None:
        raise UsageError("recipes.no_file")
    report(PhaseStarted(phase="read"))
    records = open_records(config.data)
    validation = validate_records(records, config.data)
    report_data(validation, config.data.drop_bad, report)
    split = split_conversations(validation.conversations, config.data.heldout_share, config.training.seed)
    report_split(split, report)
    report(PhaseStarted(phase="tokenize"))
    chat_format = load_chat_format(config.model).fitted_to(validation.conversations)
    train, heldout = tokenize_split(split, chat_format, config.data, report, context_tokens(config.model))
    report_tokens(train, heldout, report)
    return TokenizedFile(validation.conversations, split, validation.kind, chat_format, train, heldout)


def open_records(config: DataConfig) -> Records:
    """The records of `config.file`, read as the settings say.

    Raises:
        MissingInputError, DataError: as `read_records`.
    """
    options = ReadOptions(config.encoding, config.map, config.single_turn)
    return read_records(Path(config.file or ""), options, config.name)


def validate_records(records: Records, config: DataConfig) -> ValidationReport:
    """The conversations of the records with the changes of `config.overlay`, and every problem.

    Raises:
        MissingInputError, DataError: there is no such overlay, it is none, or it was made for another file.
    """
    overlay = None
    if config.overlay is not None:
        overlay = read_overlay(Path(config.overlay))
        overlay.check(records.path)
        overlay = overlay.for_file(records.name) if len(records.files) == 1 and not records.members else overlay
    return validate_dataset(records, config.system, overlay=overlay, single_turn=config.single_turn)


def tokenize_split(
    split: Split,
    chat_format: ChatFormat,
    config: DataConfig,
    report: Report,
    model_max_tokens: int | None = None,
) -> tuple[Tokenized, Tokenized]:
    """Tokens of what is trained and of what is held out. `config.drop_bad` leaves out refused rows, and says which.

    A held-out chat that is too long is measured by its last turn where training splits: a row stays one question.

    Raises:
        DataError: as `tokenize_conversations`; the problems of both parts at once.
    """
    for_heldout: TooLong = "keep_last" if config.too_long == "split" else config.too_long
    made: list[Tokenized] = []
    errors: list[DataError] = []
    for part, too_long in ((split.train, config.too_long), (split.heldout, for_heldout)):
        try:
            made.append(_tokenize_part(part, chat_format, config, report, model_max_tokens, too_long))
        except DataError as error:
            if not error.problems:
                raise
            errors.append(error)
    if errors:
        raise _all_refused(errors, len(split.train) + len(split.heldout))
    return made[0], made[1]


def _all_refused(errors: Sequence[DataError], total: int) -> DataError:
    problems = sorted((p for e in errors for p in e.problems), key=lambda p: (p.place.sheet or "", p.place.row))
    first, rows = problems[0], sum(int(e.values["count"]) for e in errors)
    told = {"place": first.place.in_words(), "reason": first.message, "advice": first.hint}
    return DataError("tokens.rows_refused", problems=problems, count=rows, total=total, **told)


def _tokenize_part(
    conversations: Sequence[Conversation],
    chat_format: ChatFormat,
    config: DataConfig,
    report: Report,
    model_max_tokens: int | None,
    too_long: TooLong,
) -> Tokenized:
    def tokenize(rows: Sequence[Conversation]) -> Tokenized:
        return tokenize_conversations(
            rows,
            chat_format,
            max_length_tokens=config.max_length_tokens,
            train_on=config.train_on,
            model_max_tokens=model_max_tokens,
            too_long=too_long,
        )

    try:
        return tokenize(conversations)
    except DataError as error:
        refused = {p.place for p in error.problems}
        if not config.drop_bad or not refused:
            raise
        places = ", ".join(sorted(map(str, refused))[:5])
        warn(report, "recipes.refused_rows", rows=len(refused), places=places)
        return replace(tokenize([c for c in conversations if c.place not in refused]), refused=error.problems)


def open_prepared(folder: Path, base: "Base") -> tuple[Split, Tokenized, Tokenized, ChatFormat]:
    """Reads a prepared folder for `base`: split, trained and held-out tokens, and the chat format that made them.

    Raises:
        DataError: it was prepared with another tokenizer, or it is damaged.
    """
    made = open_tokenized(folder, base.tokenizer, base.name)
    return made.split, made.train, made.heldout, made.chat_format


def open_tokenized(folder: Path, tokenizer: TextTokenizer, base_name: str) -> TokenizedFile:
    """Reads a prepared folder without a base in memory.

    Raises:
        DataError: as `open_prepared`.
    """
    prepared = read_prepared(folder)
    about = prepared.description
    if about["chat_format"]["tokenizer"] != tokenizer.fingerprint:
        raise DataError("recipes.other_tokenizer", path=folder, made_for=about["base"], base=base_name)
    train, heldout = (
        Tokenized(
            examples=part.examples,
            conversations=part.conversations,
            too_long=(),
            changed=0,
            longest=max((len(e.input_ids) for e in part.examples), default=0),
            max_length_tokens=about["max_length_tokens"],
        )
        for part in (prepared.train, prepared.heldout)
    )
    chat_format = ChatFormat.from_manifest(about["chat_format"], tokenizer)
    split = Split.of(train.conversations, heldout.conversations)
    return TokenizedFile((*train.conversations, *heldout.conversations), split, "", chat_format, train, heldout)


def _make_room(out: Path, force: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not force:
        raise CannotWriteError("recipes.output_exists", path=out)
    if not is_prepared(out):
        raise CannotWriteError("recipes.not_prepared", path=out)
    shutil.rmtree(out)


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
        "split": [str(place) for t in (train, heldout) for place in t.split],
        "shortened": [str(place) for t in (train, heldout) for place in t.shortened],
        "tokens": sum(len(e.input_ids) for e in train.examples),
        "trained_tokens": sum(e.num_trained_tokens for e in train.examples),
    }
