"""What is shown of a data set: its report page by page, and the corrected file.

Reports lie in the storage, one problem a line, and are told in the reader's language. Corrected files are made by the
sandboxed child when they are asked for.
"""

import json
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from postil.data.checks.plain_problems import read_problem
from postil.errors import MissingInputError
from postil.language import current_language
from postil.platform.datasets.child import VersionState, find_state, place_for_child, run_on_original
from postil.platform.datasets.datasets import storage_prefix
from postil.platform.datasets.views import checked_version, get_version, own_dataset
from postil.platform.service import Service
from postil.platform.store.storage import CHUNK_BYTES, lines_of
from postil.problems import Problem

MOST_IN_PAGE = 500


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
    found = {n: _problem(line) for n, line in _numbered(service, report_key) if n in wanted} if wanted else {}
    if missing := sorted(wanted - found.keys()):
        raise MissingInputError("platform.datasets.no_problem", number=missing[0])
    return found


def corrected_file(service: Service, account_id: str, dataset_id: str, number: int | None = None) -> CorrectedFile:
    """The file with the edits of a version, in the format that it came in; old workbooks come back as .xlsx.

    Raises:
        MissingInputError: there is no such data set or version.
        TryAgainError, ConflictError: the version has not been checked (yet).
        DataError: the file cannot be read, or a change cannot be written in its format.
        CannotWriteError: the disk is full.
        TooManyError: others are waiting for files already.
    """
    state = find_state(service, account_id, dataset_id, number, is_checked=True)
    key = f"{storage_prefix(dataset_id)}/v{state.number}/corrected"
    if not service.storage.exists(f"{key}.json"):
        _make_corrected(service, state, key)
    about = json.loads(b"".join(service.storage.open(f"{key}.json")))
    name = state.original.file_name
    stem = name.rpartition(".")[0] or name
    return CorrectedFile(
        file_name=f"{stem}-corrected{about['suffix']}",
        num_bytes=service.storage.num_bytes(key),
        num_changes=about["num_changes"],
        look=about["look"],
        left_out=tuple(about["left_out"]),
        chunks=service.storage.open(key),
    )


def _make_corrected(service: Service, state: VersionState, key: str) -> None:
    """Kept beside the version, so that it is made once; what says that it is there comes last."""
    arguments = {"overlay": state.overlay.as_dict(), "language": current_language()}
    with place_for_child(state.original), tempfile.TemporaryDirectory(prefix="postil-") as folder:
        scratch = Path(folder)
        about = next(iter(list(run_on_original(service, "correct", state.original, state.options, arguments, scratch))))
        service.storage.write(key, _pieces(scratch / Path(str(about["path"])).name))
        service.storage.write(f"{key}.json", [json.dumps(about).encode()])


def _page(service: Service, report_key: str, code: str | None, wanted: range) -> Iterator[NumberedProblem]:
    beginning = b"" if code is None else json.dumps({"code": code}, separators=(",", ":"))[:-1].encode() + b","
    position = 0
    for number, line in _numbered(service, report_key):
        if line.startswith(beginning):
            if position in wanted:
                yield NumberedProblem(number, _problem(line))
            position += 1
            if position >= wanted.stop:
                return


def _numbered(service: Service, report_key: str) -> Iterator[tuple[int, bytes]]:
    return enumerate(lines_of(service.storage.open(f"{report_key}/problems.jsonl")), start=1)


def _problem(line: bytes) -> Problem:
    return read_problem(json.loads(line))


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield piece
