"""From a file to records: what its entries say, and where each one stands. The extension is a hint, never believed."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from postil.data.files.archives import PrivateFolder, is_junk, shown_name, unpack
from postil.data.files.documents import read_document
from postil.data.files.encodings import detect_encoding, encoding_named, is_guess
from postil.data.files.json_kinds import sniff_json
from postil.data.files.kinds import binary_kind, likeliest_delimiter
from postil.data.files.old_workbooks import old_workbook_sheets
from postil.data.files.parquet import check_parquet
from postil.data.files.tables import find_delimiter
from postil.data.files.unreadable import unreadable
from postil.data.files.workbooks import workbook_sheets
from postil.data.options import ReadOptions
from postil.data.record_streams import READERS
from postil.data.shapes.record import Record
from postil.data.shapes.text_questions import recognise_text
from postil.errors import DataError, MissingInputError
from postil.problems import Place, Problem

FileFormat = Literal[
    "jsonl", "json", "csv", "xlsx", "xls", "xlsb", "ods", "txt", "md", "docx", "parquet", "zip", "folder"
]
MAX_STDIN_BYTES = 1 << 30
MAX_FOLDER_FILES = 5000
_PROBED_LINES = 300
_PROBED_CHARS = 200_000
_PROBED_CHARS = 1 << 16
_DEFAULTS = ReadOptions()


@dataclass(frozen=True, slots=True)
class Records:
    """A file that can be read; each iteration streams it anew, `Record`s and located `Problem`s in file order.

    Args:
        name: how places call the file; in a folder or zip its path there.
        encoding: Python's name of the codec of a text; other files are UTF-8 inside.
        sheets: the visible sheets of a workbook or the tables of a document, which are all read.
        hidden_sheets: the hidden ones, which are not.
        delimiter: of a CSV file.
        members: of a folder or zip, by name; a file that cannot be read is a problem.
        repairs: rows by file whose JSON is repaired while it is read.
        added: records that come after the file's own.
        kept_folder: holds what was unpacked for as long as it may be read.
    """

    path: Path
    format: FileFormat
    name: str
    options: ReadOptions = _DEFAULTS
    encoding: str = "utf-8"
    sheets: tuple[str, ...] = ()
    hidden_sheets: tuple[str, ...] = ()
    delimiter: str = ""
    members: tuple["Records | Problem", ...] = ()
    repairs: Mapping[str, Collection[int]] = field(default_factory=dict, repr=False, compare=False)
    added: tuple[Record, ...] = field(default=(), repr=False, compare=False)
    kept_folder: PrivateFolder | None = field(default=None, repr=False, compare=False)

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that are read; more than one only in a folder or zip."""
        if self.format not in ("zip", "folder"):
            return (self.name,)
        return tuple(member.name for member in self.members if isinstance(member, Records))

    @property
    def is_table(self) -> bool:
        """True where all records of a sheet share one header."""
        return self.format in ("csv", "xlsx", "xls", "xlsb", "ods")

    def with_repairs(self, rows: Mapping[str, Collection[int]]) -> "Records":
        """The same, read with the broken JSON of some rows repaired.

        Args:
            rows: by file.
        """
        members = (m.with_repairs(rows) if isinstance(m, Records) else m for m in self.members)
        return replace(self, members=tuple(members), repairs=rows)

    def with_added(self, records: tuple[Record, ...]) -> "Records":
        """The same, and more records at the end."""
        return replace(self, added=records)

    def __iter__(self) -> Iterator[Record | Problem]:
        yield from self._own()
        yield from self.added

    def _own(self) -> Iterator[Record | Problem]:
        for member in self.members:
            yield from (member,) if isinstance(member, Problem) else member
        if self.members or self.format in ("zip", "folder"):
            return
        if is_guess(self.encoding) and not self.options.encoding:
            yield Problem("encoding_guessed", "warning", Place(self.name), values={"encoding": self.encoding})
        for title in self.hidden_sheets:
            yield Problem("hidden_sheet", "warning", Place(self.name, 0, title), values={"sheet": title})
        try:
            for item in READERS[self.format](self):
                yield _placed_in(self.name, item)
        except DataError as error:
            yield unreadable(Place(self.name), error)
        except OSError as error:
            yield unreadable(Place(self.name), _closed(self.path, error))


def read_records(path: Path, options: ReadOptions = _DEFAULTS, name: str | None = None) -> Records:
    """Finds out what a file is; its entries are read when the result is iterated.

    Args:
        path: a file, a folder or zip of files, or "-" for the standard input.
        name: how the user calls the file, where it is stored under another name; places and hints go by it.

    Raises:
        MissingInputError: there is no such file.
        DataError: it is empty, binary, damaged, protected, or of a kind that cannot be read.
    """
    if str(path) == "-":
        return _read_stdin(options)
    try:
        if not path.exists():
            raise MissingInputError("data.no_file", path=str(path))
        if path.is_dir():
            return _read_folder(path, options)
        return _read_file(path, shown_name(name or path.name), options)
    except OSError as error:
        raise _closed(path, error) from error


def _closed(path: Path, error: OSError) -> DataError:
    return DataError("data.unreadable", path=str(path), reason=error.strerror or type(error).__name__)


def _read_stdin(options: ReadOptions) -> Records:
    folder = PrivateFolder()
    path = folder.path / "stdin"
    with path.open("wb") as file:
        while piece := sys.stdin.buffer.read(1 << 20):
            if file.tell() + len(piece) > MAX_STDIN_BYTES:
                raise DataError("data.stdin_too_big", path="stdin", gigabytes=MAX_STDIN_BYTES >> 30)
            file.write(piece)
    try:
        records = _read_file(path, path.name, options)
    except DataError as error:
        raise DataError(error.key, **error.values | {"path": path.name}) from error
    return replace(records, kept_folder=records.kept_folder or folder)


def _read_folder(path: Path, options: ReadOptions) -> Records:
    members: list[Records | Problem] = []
    for name in _file_names(path):
        if is_junk(PurePosixPath(name)):
            continue
        if any(part.startswith(".") for part in PurePosixPath(name).parts):
            members.append(Problem("hidden_file", "warning", Place(shown_name(name))))
        else:
            members.append(_member(path / name, shown_name(name), options))
    if not any(isinstance(member, Records) or member.severity == "error" for member in members):
        raise DataError("data.empty_folder", path=str(path))
    return _joined(path, "folder", options, members)


def _file_names(folder: Path) -> list[str]:
    """Relative names of all files below, in order; folders behind links are not entered."""
    names: list[str] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f not in ("__MACOSX", "__pycache__", "node_modules", ".git")]
        names += ((Path(parent) / file).relative_to(folder).as_posix() for file in files)
        if len(names) > MAX_FOLDER_FILES:
            raise DataError("data.too_many_files", path=str(folder), limit=MAX_FOLDER_FILES)
    return sorted(names)


def _read_zip(path: Path, name: str, options: ReadOptions, prefix: str) -> Records:
    folder = PrivateFolder()
    members: list[Records | Problem] = []
    for inner, found in unpack(path, folder.path):
        inner = prefix + inner
        if isinstance(found, Problem):
            members.append(replace(found, place=Place(inner)))
        elif any(part.startswith(".") for part in PurePosixPath(inner).parts):
            members.append(Problem("hidden_file", "warning", Place(inner)))
        else:
            members.append(_member(found, inner, options, is_unpacked=True))
    if not members:
        raise DataError("data.empty_folder", path=str(path))
    return replace(_joined(path, "zip", options, members), name=name, kept_folder=folder)


def _member(path: Path, name: str, options: ReadOptions, *, is_unpacked: bool = False) -> Records | Problem:
    """A file in a folder or zip; a zip in a zip is not opened."""
    try:
        if is_unpacked and path.stat().st_size and binary_kind(path) == "zip":
            return Problem("nested_archive", "error", Place(name))
        return _read_file(path, name, options, f"{name}/")
    except DataError as error:
        return unreadable(Place(name), error)
    except OSError as error:
        return unreadable(Place(name), _closed(path, error))


def _joined(path: Path, kind: FileFormat, options: ReadOptions, members: list[Records | Problem]) -> Records:
    encodings = dict.fromkeys(member.encoding for member in members if isinstance(member, Records))
    encoding = " + ".join(encodings) or "utf-8"
    return Records(path, kind, shown_name(path.name), options, encoding=encoding, members=tuple(members))


def _read_file(path: Path, name: str, options: ReadOptions, prefix: str = "") -> Records:
    """`prefix` stands before the names of a zip's members."""
    if not path.is_file():
        raise DataError("data.not_a_file", path=str(path))
    match binary_kind(path):
        case None:
            return _find_text_format(path, name, options)
        case "zip":
            return _read_zip(path, name, options, prefix)
        case "xlsx":
            visible, hidden = workbook_sheets(path)
            return Records(path, "xlsx", name, options, sheets=visible, hidden_sheets=hidden)
        case "xls" | "xlsb" | "ods" as kind:
            titles = old_workbook_sheets(path)
            return Records(path, kind, name, options, sheets=titles.visible, hidden_sheets=titles.hidden)
        case "docx":
            lines, found = read_document(path)
            if not found and not any(line.text.strip() for line in lines):
                raise DataError("data.empty_file", path=str(path))
            return Records(path, "docx", name, options, sheets=tuple(table.title for table in found))
        case "parquet":
            check_parquet(path)
            return Records(path, "parquet", name, options)


def _find_text_format(path: Path, name: str, options: ReadOptions) -> Records:
    encoding = encoding_named(path, options.encoding) if options.encoding else detect_encoding(path)
    with path.open(encoding=encoding) as file:
        head = file.read(_PROBED_CHARS)
        following = file.read(_PROBED_CHARS)
        lines = head.split("\n")
        if following and len(lines) > 1:
            lines.pop()  # it goes on
        while following and not head.strip():
            head, following = following, file.read(_PROBED_CHARS)
    if not head.strip():
        raise DataError("data.empty_file", path=str(path))
    kind, delimiter = _text_format(path, PurePosixPath(name).suffix.lower(), encoding, lines[:_PROBED_LINES])
    return Records(path, kind, name, options, encoding, delimiter=delimiter)


def _text_format(path: Path, suffix: str, encoding: str, lines: list[str]) -> tuple[FileFormat, str]:
    """(format, delimiter of a table). A table that names questions and answers is one under any name."""
    delimiter, is_pair_table = find_delimiter(path, encoding)
    text_kind: FileFormat = "md" if suffix in (".md", ".markdown") else "txt"
    if is_pair_table:
        shape = recognise_text(lines) if delimiter == "|" else None
        # A table in Markdown has a ruler under its header, and may have text around it.
        return (text_kind, "") if shape and shape.name == "table" else ("csv", delimiter)
    if json_kind := sniff_json(path, encoding):
        return json_kind, ""
    mark, likeness = likeliest_delimiter(lines)
    if likeness > 0.9 and (mark == "\t" or suffix in (".csv", ".tsv")):
        return "csv", mark
    text = _text_confidence(lines)
    if text < 0.8:
        if likeness > 0.8:
            return "csv", mark
        if suffix in (".csv", ".tsv") or (suffix in (".xlsx", ".xls") and text == 0):
            return "csv", delimiter
        if suffix in (".json", ".jsonl") and text == 0:
            return "jsonl" if suffix == ".jsonl" else "json", ""
    return text_kind, ""


def _text_confidence(lines: list[str]) -> float:
    shape = recognise_text(lines)
    return shape.confidence if shape else 0.0


def _placed_in(name: str, item: Record | Problem) -> Record | Problem:
    """The same under the name that the file has for the user."""
    if item.place.file == name:
        return item
    if isinstance(item, Problem):
        fix = item.fix and replace(item.fix, places=tuple(replace(place, file=name) for place in item.fix.places))
        return replace(item, place=replace(item.place, file=name), fix=fix)
    turns = tuple(replace(turn, place=turn.place and replace(turn.place, file=name)) for turn in item.turns)
    return replace(item, place=replace(item.place, file=name), turns=turns)
