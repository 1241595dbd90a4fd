"""What the page of a data set says: the counts in words, the problems by kind, and the rows of one kind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from postil.language import has_sentence, say
from postil.platform.datasets.reports import NumberedProblem, ReportPage, get_report
from postil.platform.datasets.views import DatasetView, VersionView
from postil.platform.service import Service
from postil.problems import ADDED, Place, Problem
from postil.web.pages.data_columns import TableShown, tables_of

PROBLEMS_IN_PAGE = 25
GOOD_NUMBER_OF_ROWS = 100
ASIDE = "too_few_rows"
"""Is said above, in words of its own."""
_WITHOUT_COLUMNS = ("txt", "md", "docx")
_OF_TABLES = frozenset(
    (
        *("skipped_row", "no_header", "columns_by_content", "speaker_columns_by_content", "another_table"),
        *("repeated_column", "ignored_column"),
    )
)
"""Stand at a row, but are not about what is learned from it: there is nothing to edit or to leave out."""


@dataclass(frozen=True, slots=True)
class KindFound:
    """Problems of one kind.

    Args:
        is_error: their rows cannot train as they are.
        fixable: how many of them a machine can mend.
    """

    code: str
    is_error: bool
    count: int
    fixable: int
    automatic: int

    @property
    def title(self) -> str:
        """What is wrong, without a row's own words."""
        key = f"data_page.kind.{self.code}"
        return say(key) if has_sentence(key) else say("data_page.kind.other")


@dataclass(frozen=True, slots=True)
class ProblemShown:
    """A problem as a row of the table.

    Args:
        where: in words, without the file's name where there is one file only.
        row_query: names the cell to the form that edits it; "" where nothing can be edited.
    """

    number: int
    place: Place
    where: str
    excerpt: str
    message: str
    fix: str
    fix_action: str
    row_query: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check has found, as the page shows it.

    Args:
        kinds: problems by kind, errors first.
        selected: the kind whose problems are listed; None where there are no problems.
        total: problems of that kind.
        hint: what to do about it.
        fix: what a machine does about it; "" where it can do nothing.
        automatic: problems, of all kinds, that a machine mends without asking.
    """

    summary: Mapping[str, Any]
    tables: tuple[TableShown, ...]
    kinds: tuple[KindFound, ...]
    selected: KindFound | None
    problems: tuple[ProblemShown, ...]
    offset: int
    total: int
    hint: str
    fix: str
    automatic: int

    @property
    def has_columns(self) -> bool:
        """False for a text, which is read by its lines."""
        return self.summary["format"] not in _WITHOUT_COLUMNS

    @property
    def num_to_see(self) -> int:
        """Problems that need a look."""
        return sum(kind.count for kind in self.kinds)


def find_findings(
    service: Service, account_id: str, view: DatasetView, *, code: str = "", offset: int = 0
) -> Findings | None:
    """What the check of the newest version has found; None before it is done, or where the file cannot be read.

    Args:
        code: the kind whose problems are wanted; another one takes the first.
        offset: so many of them are passed over.
    """
    if view.summary is None or view.state not in ("ready", "needs_attention"):
        return None
    kinds = _kinds(view.summary["codes"])
    selected = next((kind for kind in kinds if kind.code == code), kinds[0] if kinds else None)
    report = None
    if selected is not None:
        report = get_report(
            service, account_id, view.id, view.version, code=selected.code, offset=offset, limit=PROBLEMS_IN_PAGE
        )
    return _findings(view, kinds, selected, report)


def _findings(
    view: DatasetView, kinds: tuple[KindFound, ...], selected: KindFound | None, report: ReportPage | None
) -> Findings:
    problems = report.problems if report is not None else ()
    fixes = [numbered.problem.fix for numbered in problems if numbered.problem.fix is not None]
    return Findings(
        summary=view.summary or {},
        tables=tables_of(view.summary or {}),
        kinds=kinds,
        selected=selected,
        problems=tuple(_shown(numbered, view.file_name) for numbered in problems),
        offset=report.offset if report is not None else 0,
        total=report.total if report is not None else 0,
        hint=problems[0].problem.hint if problems else "",
        fix=fixes[0].label if fixes else "",
        automatic=sum(kind.automatic for kind in kinds),
    )


def _kinds(codes: Sequence[Mapping[str, Any]]) -> tuple[KindFound, ...]:
    """One for each code, whatever its severities."""
    found: dict[str, KindFound] = {}
    for one in codes:
        code, before = one["code"], found.get(one["code"])
        if code == ASIDE:
            continue
        found[code] = KindFound(
            code=code,
            is_error=one["severity"] == "error" or (before is not None and before.is_error),
            count=one["count"] + (before.count if before else 0),
            fixable=one["fixable"] + (before.fixable if before else 0),
            automatic=one["automatic"] + (before.automatic if before else 0),
        )
    return tuple(sorted(found.values(), key=lambda kind: (not kind.is_error, -kind.count)))


def _shown(numbered: NumberedProblem, file_name: str) -> ProblemShown:
    problem = numbered.problem
    column = problem.column or problem.json_path
    return ProblemShown(
        number=numbered.number,
        place=problem.place,
        where=problem.place.in_words(column, file_name) or say("data_page.whole_file"),
        excerpt=problem.excerpt,
        message=problem.message,
        fix=problem.fix.label if problem.fix is not None else "",
        fix_action=problem.fix.action if problem.fix is not None else "",
        row_query=_row_query(problem, column),
    )


def _row_query(problem: Problem, column: str | None) -> str:
    place = problem.place
    if not place.row or place.file == ADDED or problem.code in _OF_TABLES:
        return ""
    return place_query(place, column or "")


def place_query(place: Place, column: str = "") -> str:
    """A row, and perhaps its column, as an address names it."""
    named = {"file": place.file, "sheet": place.sheet or "", "row": str(place.row), "column": column}
    return urlencode({name: value for name, value in named.items() if value})


def headline(view: DatasetView) -> str:
    """How much was found and where, in one sentence."""
    summary = view.summary or {}
    if not view.rows:
        return say("data_page.none_found")
    kind = "chats" if summary["multi_turn"] else "pairs"
    readings = summary["readings"]
    num_files, num_sheets = len({r["file"] for r in readings}), len({(r["file"], r["sheet"]) for r in readings})
    if num_files > 1:
        return say(f"data_page.found.{kind}_in_files", rows=view.rows, files=num_files)
    if num_sheets > 1:
        return say(f"data_page.found.{kind}_in_sheets", rows=view.rows, sheets=num_sheets)
    return say(f"data_page.found.{kind}", rows=view.rows)


def version_to_undo(versions: Sequence[VersionView], number: int) -> int:
    """The version to which undoing leads; 0 where nothing was changed yet."""
    undoes = {version.number: version.undoes for version in versions}
    while (earlier := undoes.get(number)) is not None:
        number = earlier
    return number - 1
