"""What is shown of a data set: its report page by page, rows as a page shows them, and the corrected file.

Reports lie in the storage, one problem a line, and are told in the reader's language. Rows and corrected files are made
by the sandboxed child when they are asked for; at most two at a time in this process.
"""

import json
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postil.data.checks.overlay import Overlay
from postil.data.checks.plain_problems import plain_place, read_place, read_problem
from postil.errors import DataError, MissingInputError, TooManyError
from postil.language import current_language
from postil.platform.datasets.child import Original, run_on_original
from postil.platform.datasets.datasets import storage_prefix
from postil.platform.datasets.options import DatasetOptions
from postil.platform.datasets.overlays import overlay_at
from postil.platform.datasets.views import checked_version, get_version, own_dataset
from postil.platform.service import Service
from postil.platform.store.storage import CHUNK_BYTES
from postil.platform.stored_errors import StoredError
from postil.problems import Place, Problem

MOST_IN_PAGE = 500
AT_ONCE = 2
_CHILDREN = threading.BoundedSemaphore(AT_ONCE)
_PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class CodeCount:
    """How often a kind of problem was found.

    Args:
        fixable: how many of them a machine can mend.
        automatic: how many of them unasked.
    """

    code: str
    severity: str
    count: int
    fixable: int
    automatic: int


@dataclass(frozen=True, slots=True)
class NumberedProblem:
    """A problem and its number, which stays the same within the version."""

    number: int
    problem: Problem

    def as_dict(self) -> dict[str, Any]:
        """The JSON shape that every surface shows, words in the current language."""
        return {"number": self.number, **self.problem.as_dict()}


@dataclass(frozen=True, slots=True)
class ReportPage:
    """A part of the report of a version.

    Args:
        total: problems of the code that was asked for, or of all.
    """

    version: int
    counts: tuple[CodeCount, ...]
    total: int
    offset: int
    problems: tuple[NumberedProblem, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """One text of a row, and how an edit names it."""

    place: Place
    column: str
    text: str


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """A row with its edits.

    Args:
        messages: role, content, is_cut, weight, calls; as chat bubbles. None where the row cannot train.
    """

    place: Place
    cells: tuple[Cell, ...]
    messages: tuple[Mapping[str, Any], ...]
    is_edited: bool
    is_left_out: bool


@dataclass(frozen=True, slots=True)
class CorrectedFile:
    """The file with all edits, in its own format.

    Args:
        file_name: to be shown, and proposed for saving.
        look: of workbooks, whether the copy looks like the original.
        left_out: what a workbook holds besides cells, and its copy does not.
        chunks: the bytes.
    """

    file_name: str
    num_bytes: int
    num_changes: int
    look: str | None
    left_out: tuple[str, ...]
    chunks: Iterator[bytes]


def get_report(
    service: Service,
    account_id: str,
    dataset_id: str,
    number: int | None = None,
    *,
    code: str | None = None,
    offset: int = 0,
    limit: int = 50,
) -> ReportPage:
    """A page of the report of a version; None is the newest.

    Args:
        code: problems of this kind only.
        limit: at most 500.

    Raises:
        MissingInputError: there is no such data set or version.
        TryAgainError, ConflictError, DataError: it has no report (yet); see `checked_version`.
    """
    with service.database.reading() as session:
        row = own_dataset(session, account_id, dataset_id)
        version = get_version(session, row, number)
        summary = checked_version(row, version)
        shown, key = version.number, str(version.report_key)
    counts = tuple(CodeCount(**count) for count in summary["codes"])
    total = sum(c.count for c in counts if code in (None, c.code))
    offset, limit = max(offset, 0), min(max(limit, 0), MOST_IN_PAGE)
    wanted = range(offset, min(offset + limit, total))
    problems = tuple(_page(service, key, code, wanted)) if wanted else ()
    return ReportPage(shown, counts, total, offset, problems)


def numbered_problems(service: Service, report_key: str, numbers: Collection[int]) -> dict[int, Problem]:
    """Problems of a report by their numbers, in its order.

    Raises:
        MissingInputError: it has no problem of this number.
    """
    wanted = set(numbers)
    found = {n: _problem(line) for n, line in _lines(service, report_key) if n in wanted} if wanted else {}
    if missing := sorted(wanted - found.keys()):
        raise MissingInputError("platform.datasets.no_problem", number=missing[0])
    return found


def preview(
    service: Service,
    account_id: str,
    dataset_id: str,
    number: int | None = None,
    *,
    offset: int = 0,
    limit: int = 20,
    places: Sequence[Place] = (),
) -> tuple[PreviewRow, ...]:
    """Rows of the file with the edits of a version, in file order; the summary's `records_in` says how many there are.

    Args:
        places: only the rows that stand there.
        limit: at most 500.

    Raises:
        MissingInputError: there is no such data set or version.
        DataError: the file cannot be read.
        TooManyError: others are looking at files already.
    """
    original, overlay, options, _ = _opened(service, account_id, dataset_id, number)
    named = [Place(place.file or original.file_name, place.row, place.sheet) for place in places]
    arguments = {
        "overlay": overlay.as_dict(),
        "offset": max(offset, 0),
        "limit": min(max(limit, 0), MOST_IN_PAGE),
        "places": [plain_place(place) for place in named],
    }
    with _child(original):
        return tuple(_row(plain) for plain in run_on_original(service, "view", original, options, arguments))


def corrected_file(service: Service, account_id: str, dataset_id: str, number: int | None = None) -> CorrectedFile:
    """The file with the edits of a version, in the format that it came in; old workbooks come back as .xlsx.

    Raises:
        MissingInputError: there is no such data set or version.
        TryAgainError, ConflictError: the version has not been checked (yet).
        DataError: the file cannot be read, or a change cannot be written in its format.
        CannotWriteError: the disk is full.
        TooManyError: others are waiting for files already.
    """
    original, overlay, options, number = _opened(service, account_id, dataset_id, number, is_checked=True)
    key = f"{storage_prefix(dataset_id)}/v{number}/corrected"
    if not service.storage.exists(f"{key}.json"):
        _make_corrected(service, original, overlay, options, key)
    about = json.loads(b"".join(service.storage.open(f"{key}.json")))
    stem = original.file_name.rpartition(".")[0] or original.file_name
    return CorrectedFile(
        file_name=f"{stem}-corrected{about['suffix']}",
        num_bytes=service.storage.num_bytes(key),
        num_changes=about["num_changes"],
        look=about["look"],
        left_out=tuple(about["left_out"]),
        chunks=service.storage.open(key),
    )


def _make_corrected(service: Service, original: Original, overlay: Overlay, options: DatasetOptions, key: str) -> None:
    """Kept beside the version, so that it is made once; what says that it is there comes last."""
    arguments = {"overlay": overlay.as_dict(), "language": current_language()}
    with _child(original), tempfile.TemporaryDirectory(prefix="postil-") as folder:
        scratch = Path(folder)
        about = next(iter(list(run_on_original(service, "correct", original, options, arguments, scratch))))
        service.storage.write(key, _pieces(scratch / Path(str(about["path"])).name))
        service.storage.write(f"{key}.json", [json.dumps(about).encode()])


def _opened(
    service: Service, account_id: str, dataset_id: str, number: int | None, *, is_checked: bool = False
) -> tuple[Original, Overlay, DatasetOptions, int]:
    """What the child needs. Only of a checked version it is certain that all its fixes are among the edits."""
    with service.database.reading() as session:
        row = own_dataset(session, account_id, dataset_id)
        version = get_version(session, row, number)
        if is_checked:
            checked_version(row, version)
        overlay = overlay_at(session, row, version.number)
        return Original.of(row), overlay, DatasetOptions.from_dict(version.options), version.number


@contextmanager
def _child(original: Original) -> Iterator[None]:
    """A place among the children of this process; what they say goes by the name that the user knows."""
    if not _CHILDREN.acquire(timeout=_PATIENCE_SECONDS):
        raise TooManyError("platform.datasets.busy", retry_after_seconds=_PATIENCE_SECONDS)
    try:
        yield
    except DataError as error:
        named = StoredError.of(error, path=original.file_name)
        raise DataError(named.key, **named.values) from error
    finally:
        _CHILDREN.release()


def _page(service: Service, report_key: str, code: str | None, wanted: range) -> Iterator[NumberedProblem]:
    beginning = b"" if code is None else json.dumps({"code": code}, separators=(",", ":"))[:-1].encode() + b","
    position = 0
    for number, line in _lines(service, report_key):
        if line.startswith(beginning):
            if position in wanted:
                yield NumberedProblem(number, _problem(line))
            position += 1
            if position >= wanted.stop:
                return


def _lines(service: Service, report_key: str) -> Iterator[tuple[int, bytes]]:
    """Lines of a report with their numbers, from 1."""
    number, rest = 0, b""
    for piece in service.storage.open(f"{report_key}/problems.jsonl"):
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            number += 1
            yield number, line


def _problem(line: bytes) -> Problem:
    return read_problem(json.loads(line))


def _row(plain: Mapping[str, Any]) -> PreviewRow:
    return PreviewRow(
        place=read_place(plain["place"]),
        cells=tuple(Cell(read_place(cell["place"]), cell["column"], cell["text"]) for cell in plain["cells"]),
        messages=tuple(plain["messages"]),
        is_edited=plain["is_edited"],
        is_left_out=plain["is_left_out"],
    )


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
