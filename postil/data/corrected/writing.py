"""The corrected file: written beside its target, read again, and only then put in its place."""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path, PureWindowsPath
from tempfile import TemporaryDirectory

from postil.data.checks.overlay import Overlay
from postil.data.corrected.changes import Change, RecordChange, list_all_changes, walk_changes
from postil.data.corrected.documents import write_document
from postil.data.corrected.json_files import corrected_json, corrected_jsonl
from postil.data.corrected.lines import corrected_lines
from postil.data.corrected.parquet_files import write_parquet
from postil.data.corrected.table_edits import TableEdits
from postil.data.corrected.text_tables import corrected_table
from postil.data.corrected.workbook_copies import Look, WorkbookCopy, try_with_look
from postil.data.corrected.workbook_parts import Part
from postil.data.corrected.workbooks import sheets_of, write_workbook
from postil.data.files.formulas import neutralise
from postil.data.files.tables import Row
from postil.data.records import Records, read_records
from postil.data.shapes.formats import read_messages
from postil.data.shapes.record import Record
from postil.errors import CannotWriteError, DataError, UsageError
from postil.problems import Problem

_OLD_WORKBOOKS = ("xls", "xlsb", "ods")
_FOLDERS = ("zip", "folder")
_WORST_FIRST: tuple[Look, ...] = ("not_kept", "too_large", "kept")
_MAX_NAME_BYTES, _MAX_SUFFIX_CHARS = 200, 20


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Args:
        encoding: of a text file; another than the original's where that one cannot hold the new text.
        look: of .xlsx workbooks, whether the copy looks like the original; of several, of the one that fared worst.
        left_out: what .xlsx workbooks hold besides cells, and their copies do not.
    """

    path: Path
    format: str
    encoding: str
    changes: tuple[Change, ...]
    look: Look | None = None
    left_out: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class _Corrections:
    """A file's changes.

    Args:
        chat_rows: (sheet, row) of the rows after the first that a chat is put together of.
        num_left: records that are not left out, and rows that are broken and stay.
        says: digest of the conversations that the corrected file must hold.
    """

    records: Records
    changes: tuple[RecordChange, ...]
    chat_rows: frozenset[tuple[str | None, int]]
    num_left: int
    says: bytes

    @property
    def listed(self) -> tuple[Change, ...]:
        return list_all_changes(self.changes)


def output_format(records: Records) -> str:
    """What the corrected file is: old workbooks come back as "xlsx", a zip as a folder."""
    if records.format in _OLD_WORKBOOKS:
        return "xlsx"
    return "folder" if records.format in _FOLDERS else records.format


def output_suffix(records: Records) -> str:
    """The suffix that the corrected file has: the original's own, where that is not to be another format now."""
    if output_format(records) == "folder":
        return ""
    own, kind = Path(records.name).suffix, output_format(records)
    return own if own and kind not in ("xlsx", "docx", "parquet") else f".{kind}"


def check_target(records: Records, out: Path, *, force: bool = False) -> None:
    """Sees to it that the corrected file may be written to `out`.

    Raises:
        UsageError: it is the original, or has the suffix of another format.
        CannotWriteError: it exists, and `force` is not given.
    """
    source = records.path
    if out.resolve() == source.resolve() or (source.is_dir() and out.resolve().is_relative_to(source.resolve())):
        raise UsageError("data.would_overwrite", path=str(out))
    wanted = output_suffix(records)
    if wanted.lower() != out.suffix.lower() and not (wanted == "" and out.is_dir()):
        key = "data.writes_folder" if wanted == "" else "data.writes_suffix"
        name = str(out.with_name(f"{out.stem}{wanted}")) if out.stem else f"out{wanted}"
        raise UsageError(key, path=str(out), suffix=wanted or "-", found=out.suffix or "-", name=name)
    if out.exists() and not force:
        raise CannotWriteError("data.output_exists", path=str(out))
    if out.exists() and out.is_dir() != (output_format(records) == "folder"):
        raise CannotWriteError("data.output_is_other_kind", path=str(out))


def write_corrected(records: Records, overlay: Overlay, out: Path, *, force: bool = False) -> Written:
    """Writes the file with the overlay's changes in it, in its own format; the original is only read.

    What was written is read again first: it must hold the same conversations as the original with the overlay.

    Raises:
        UsageError, CannotWriteError: as `check_target`; or the disk is full.
        DataError: a change cannot be written in this format, or the original is not the overlay's.
    """
    check_target(records, out, force=force)
    overlay.check(records.path)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".postil-", dir=out.parent) as beside:
            written = _write(records, overlay, Path(beside) / out.name)
            _put_in_place(written.path, out)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise CannotWriteError("data.cannot_write", path=str(out), reason=reason) from error
    return replace(written, path=out)


def _put_in_place(written: Path, out: Path) -> None:
    """Into an existing folder the files go one by one: what else stands there is not ours to remove."""
    if not out.is_dir():
        _move(written, out)
        return
    for path in sorted(p for p in written.rglob("*") if p.is_file()):
        target = out / path.relative_to(written)
        target.parent.mkdir(parents=True, exist_ok=True)
        _move(path, target)


def _move(source: Path, target: Path) -> None:
    """Old kernels let a confined process move nothing from one folder to another; there it is copied."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)


def _write(records: Records, overlay: Overlay, target: Path) -> Written:
    if records.format in _FOLDERS:
        return _write_folder(records, overlay, target)
    corrections = _corrections(records, overlay)
    encoding, copy = _write_checked(corrections, target)
    written = Written(target, output_format(records), encoding, corrections.listed)
    return replace(written, look=copy.look, left_out=copy.left_out) if copy else written


def _write_checked(corrections: _Corrections, target: Path) -> tuple[str, WorkbookCopy | None]:
    """Writes one file and reads it again; returns the encoding that it has, and how an .xlsx workbook was copied."""
    copy = _try_with_look(corrections, target)
    if copy is not None and copy.look == "kept":
        return "utf-8", copy
    return _write_plain(corrections, target), copy


def _try_with_look(corrections: _Corrections, target: Path) -> WorkbookCopy | None:
    """The copy of an .xlsx workbook with its look, if it could be kept; None for other formats."""
    records = corrections.records
    if records.format != "xlsx":
        return None
    edits, sheets = TableEdits(corrections.changes, corrections.chat_rows), (*records.sheets, *records.hidden_sheets)
    copy = try_with_look(records.path, target, sheets, edits, corrections.listed)
    if copy.look == "kept" and not _reads_the_same(corrections, target, "utf-8"):
        copy = replace(copy, look="not_kept")
    return copy


def _write_plain(corrections: _Corrections, target: Path) -> str:
    encoding = _write_file(corrections, target)
    if not _reads_the_same(corrections, target, encoding):
        # Merged cells that go on are blank in chats; where they meant something else, their text is written out.
        encoding = _write_file(replace(corrections, chat_rows=frozenset()), target)
        if not _reads_the_same(corrections, target, encoding):
            raise DataError("data.corrected_differs", path=corrections.records.name)
    return encoding


def _write_folder(records: Records, overlay: Overlay, target: Path) -> Written:
    """Every file of the folder that could be read, under its own name, unless none of its rows is left.

    Files that could not be read are no part of the data.
    """
    target.mkdir()
    changes: list[Change] = []
    copies: list[WorkbookCopy] = []
    for member in records.members:
        if isinstance(member, Records):
            corrections = _corrections(member, overlay)
            changes += corrections.listed
            if corrections.num_left or not corrections.changes:
                path = _free_name(target, Path(member.name), output_suffix(member))
                path.parent.mkdir(parents=True, exist_ok=True)
                _, copy = _write_checked(corrections, path)
                copies += [copy] if copy else []
    looks = {copy.look for copy in copies}
    look = next((look for look in _WORST_FIRST if look in looks), None)
    left_out = tuple(dict.fromkeys(part for copy in copies for part in copy.left_out))
    return Written(target, "folder", records.encoding, tuple(changes), look, left_out)


def _free_name(folder: Path, name: Path, suffix: str) -> Path:
    """The member's name with its new suffix; "a.xls" beside "a.xlsx" becomes "a.xls.xlsx"."""
    name = Path(*map(_storable, name.parts))
    wanted = [name.with_suffix(suffix), Path(f"{name}{suffix}")]
    numbered = (name.with_name(f"{name.stem}-{number}{suffix}") for number in count(2))
    return next(path for path in map(folder.joinpath, chain(wanted, numbered)) if not path.exists())


def _storable(name: str) -> str:
    """A file's name as every system can store it: not too long, nor one that Windows keeps for itself ("CON")."""
    if PureWindowsPath(name).is_reserved():
        first, dot, rest = name.partition(".")
        name = f"{first}_{dot}{rest}"
    suffix = Path(name).suffix[:_MAX_SUFFIX_CHARS]
    stem = Path(name).stem
    while len(os.fsencode(stem + suffix)) > _MAX_NAME_BYTES and stem:
        stem = stem[:-1]
    return stem + suffix


def _corrections(records: Records, overlay: Overlay) -> _Corrections:
    changes: list[RecordChange] = []
    chat_rows: set[tuple[str | None, int]] = set()
    num_left, says = 0, _Digest()
    for item, change in walk_changes(records, overlay):
        if change is not None:
            changes.append(change)
        left = item if change is None else change.after
        num_left += left is not None and bool(item.place.row)
        if isinstance(item, Record):
            chat_rows.update((item.place.sheet, row) for row in item.rows[1:])
        if isinstance(left, Record):
            says.add(left)
    return _Corrections(records, tuple(changes), frozenset(chat_rows), num_left, says.digest())


def _write_file(corrections: _Corrections, target: Path) -> str:
    """Writes one file; returns the encoding that it has."""
    records, changes = corrections.records, corrections.changes
    edits = TableEdits(changes, corrections.chat_rows)
    match records.format:
        case "jsonl":
            return _write_text(target, corrected_jsonl(records.path, records.encoding, changes), records.encoding)
        case "json":
            return _write_text(target, corrected_json(records.path, records.encoding, changes), records.encoding)
        case "csv":
            pieces = corrected_table(records.path, records.encoding, records.delimiter, edits)
            return _write_text(target, pieces, records.encoding)
        case "txt" | "md":
            return _write_text(target, _text_lines(records, changes), records.encoding)
        case "docx":
            write_document(records.path, target, changes, edits)
        case "parquet":
            write_parquet(records.path, target, changes)
        case _:
            rows = _sheet_rows(records)
            write_workbook(target, sheets_of(rows, records.hidden_sheets), edits, corrections.listed)
    return "utf-8"


def _sheet_rows(records: Records) -> Iterator[tuple[str, Row | Problem]]:
    from postil.data.files.old_workbooks import read_old_workbook
    from postil.data.files.workbooks import read_sheet_rows

    read = read_sheet_rows if records.format == "xlsx" else read_old_workbook
    return read(records.path, (*records.sheets, *records.hidden_sheets))


def _text_lines(records: Records, changes: Sequence[RecordChange]) -> Iterator[str]:
    """The text with the line ends that it had."""
    with records.path.open(encoding=records.encoding, newline="") as file:
        raw = list(file)
    bodies = [line.rstrip("\r\n") for line in raw]
    ends = {number: raw[number - 1][len(body) :] for number, body in enumerate(bodies, start=1)}
    kept = corrected_lines(list(enumerate(bodies, start=1)), changes)
    common = next((end for end in ends.values() if end), "\n")
    for i, (number, text) in enumerate(kept):
        is_last = i == len(kept) - 1
        yield text + (ends[number] if is_last else ends[number] or common)


def _write_text(target: Path, pieces: Iterable[str], encoding: str) -> str:
    """In the original's encoding; where that lacks a character, in UTF-8 with a mark that every program knows."""
    try:
        with target.open("w", encoding=encoding, newline="") as file:
            file.writelines(pieces := list(pieces))
    except UnicodeEncodeError:
        encoding = "utf-8-sig"
        with target.open("w", encoding=encoding, newline="") as file:
            file.writelines(pieces)
    return encoding


def _reads_the_same(corrections: _Corrections, target: Path, encoding: str) -> bool:
    """Whether the written file holds the conversations that the original has with the overlay."""
    options = corrections.records.options
    found = _Digest()
    try:
        for item in read_records(target, replace(options, encoding=encoding if options.encoding else None)):
            if isinstance(item, Record):
                found.add(item)
    except DataError:  # an empty file is one without conversations
        found = _Digest()
    return found.digest() == corrections.says


class _Digest:
    """What the conversations of a file say, in their order; an apostrophe before a formula says nothing."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.digest = self._hash.digest

    def add(self, record: Record) -> None:
        """The next record; one that cannot train says nothing."""
        reading = read_messages(record)
        if not any(p.severity == "error" for p in reading.problems):
            texts = [(m.role, neutralise(m.content), m.weight, m.tool_calls) for m in reading.messages]
            said = repr((texts, reading.tools, reading.is_rejected))
            self._hash.update(said.encode("utf-8", "backslashreplace"))
