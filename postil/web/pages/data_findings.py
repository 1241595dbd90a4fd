"""What the page of a data set says: the counts in words, the problems by kind, and the rows of one kind."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from postil.data.checks.overlay import BY_HAND
from postil.data.checks.repetitions import MOST_PASSAGES
from postil.language import has_sentence, say
from postil.platform.datasets.reports import NumberedProblem, ReportPage, get_report
from postil.platform.datasets.views import DatasetView, VersionView
from postil.platform.service import Service
from postil.problems import ADDED, Place, Problem
from postil.web.pages.data_columns import TableShown, tables_of

PROBLEMS_IN_PAGE = 25
GOOD_NUMBER_OF_ROWS = 100
_MOST_ROWS_APART = MOST_PASSAGES - 1
ASIDE = "too_few_rows"
"""Is said above, in words of its own."""
_WITHOUT_COLUMNS = ("txt", "md", "docx")
_MISSING = {"no_pair_columns": "", "no_question_column": "question", "no_answer_column": "answer"}
"""What a table lacks of which no column was learned from."""
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
        return _title(self.code)


@dataclass(frozen=True, slots=True)
class RowShown:
    """One of several rows to be compared: where it stands, and the beginning of what it says.

    Args:
        row_query: names it to the form that edits it.
    """

    place: Place
    where: str
    text: str
    row_query: str


@dataclass(frozen=True, slots=True)
class ProblemShown:
    """A problem as a row of the table.

    Args:
        where: in words, without the file's name where there is one file only.
        row_query: names the cell to the form that edits it; "" where nothing can be edited.
        rows: of several rows that have to be seen side by side, each.
        are_all_rows: there are no more of them.
    """

    number: int
    place: Place
    where: str
    excerpt: str
    message: str
    fix: str
    fix_action: str
    row_query: str
    rows: tuple[RowShown, ...] = ()
    are_all_rows: bool = True


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
        automatic_parts: what that comes to, in words.
        headers: the columns of the file, where it is not known which are the questions and the answers.
        missing: "question" or "answer" where the other one was recognised.
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
    automatic_parts: tuple[str, ...]
    headers: tuple[str, ...]
    missing: str

    @property
    def num_added(self) -> int:
        """Conversations that were added by hand."""
        return sum(reading["records"] for reading in self.summary["readings"] if reading["file"] == ADDED)

    @property
    def has_columns(self) -> bool:
        """False for a text, which is read by its lines, and where there are no rows at all."""
        return self.summary["format"] not in _WITHOUT_COLUMNS and self.summary["records_in"] > 0

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
    return _findings(view, kinds, selected, report, _without_columns(service, account_id, view, kinds))


def _without_columns(
    service: Service, account_id: str, view: DatasetView, kinds: Sequence[KindFound]
) -> tuple[tuple[str, ...], str]:
    """The headers of the first table whose columns were not recognised, and what is missing in it."""
    code = next((kind.code for kind in kinds if kind.code in _MISSING), None)
    if code is None:
        return (), ""
    report = get_report(service, account_id, view.id, view.version, code=code, limit=1)
    names = report.problems[0].problem.values.get("names", ()) if report.problems else ()
    return tuple(dict.fromkeys(map(str, names))), _MISSING[code]


def _findings(
    view: DatasetView,
    kinds: tuple[KindFound, ...],
    selected: KindFound | None,
    report: ReportPage | None,
    without_columns: tuple[tuple[str, ...], str],
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
        hint=_hint(problems[0].problem) if problems else "",
        fix=fixes[0].label if fixes else "",
        automatic=sum(kind.automatic for kind in kinds),
        automatic_parts=tuple(_automatic_parts(kinds, (view.summary or {}).get("rows_to_drop"))),
        headers=without_columns[0],
        missing=without_columns[1],
    )


def _automatic_parts(kinds: Sequence[KindFound], rows_to_drop: Mapping[str, int] | None) -> Iterator[str]:
    """What mending everything at once does, honestly: rows that it leaves out are not called mended."""
    if rows_to_drop is None:  # checked by an earlier release
        return
    repeated = rows_to_drop.get("duplicate", 0)
    unusable = sum(rows_to_drop.values()) - repeated
    texts = sum(kind.automatic for kind in kinds) - repeated - unusable
    for name, count in (("texts", texts), ("unusable", unusable), ("repeated", repeated)):
        if count > 0:
            yield say(f"data_page.automatic.{name}", n=count)


def _hint(problem: Problem) -> str:
    """What to do, in words of this page where the problem's own name options of the command line."""
    key = f"data_page.hint.{problem.code}"
    return say(key, **problem.values) if has_sentence(key) else problem.hint


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
    return tuple(sorted(found.values(), key=_urgency))


def _urgency(kind: KindFound) -> tuple[bool, bool, int]:
    """Errors first; what only says how a table was read comes last."""
    return not kind.is_error, kind.code in _OF_TABLES, -kind.count


def _shown(numbered: NumberedProblem, file_name: str) -> ProblemShown:
    problem = numbered.problem
    column = problem.column or problem.json_path
    own_words = f"data_page.message.{problem.code}"
    return ProblemShown(
        number=numbered.number,
        place=problem.place,
        where=problem.place.in_words(column, file_name) or say("data_page.whole_file"),
        excerpt=problem.excerpt,
        message=say(own_words, **problem.values) if has_sentence(own_words) else problem.message,
        fix=problem.fix.label if problem.fix is not None else "",
        fix_action=problem.fix.action if problem.fix is not None else "",
        row_query=_row_query(problem, column),
        rows=tuple(
            RowShown(p.place, p.place.in_words(known_file=file_name), p.text, place_query(p.place))
            for p in problem.passages
        ),
        are_all_rows=len(problem.passages) <= _MOST_ROWS_APART,
    )


def _row_query(problem: Problem, column: str | None) -> str:
    place = problem.place
    if not place.row or problem.code in _OF_TABLES:
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
    readings = [reading for reading in summary["readings"] if reading["file"] != ADDED]
    num_files, num_sheets = len({r["file"] for r in readings}), len({(r["file"], r["sheet"]) for r in readings})
    if num_files > 1:
        return say(f"data_page.found.{kind}_in_files", rows=view.rows, files=num_files)
    if num_sheets > 1:
        return say(f"data_page.found.{kind}_in_sheets", rows=view.rows, sheets=num_sheets)
    return say(f"data_page.found.{kind}", rows=view.rows)


def change_in_words(version: VersionView, before: VersionView | None) -> str:
    """What a version changed: how many edits of each kind of problem, or only how many."""
    named = {code: count for code, count in version.changes.items() if code != BY_HAND}
    if named:
        parts = [f"{_title(code)} {say('data_page.edits_made', n=count)}" for code, count in named.items()]
        return say("data_page.comma").join(parts)
    num_edits = version.num_edits - before.num_edits if before is not None else 0
    is_counted = version.what == "leave_out" and num_edits > 0
    return say("data_page.edits_made", n=num_edits) if is_counted else ""


def num_to_see(view: DatasetView) -> int:
    """Problems that need a look, for the list."""
    return sum(code["count"] for code in (view.summary or {}).get("codes", ()) if code["code"] != ASIDE)


def _title(code: str) -> str:
    key = f"data_page.kind.{code}"
    return say(key) if has_sentence(key) else say("data_page.kind.other")


def version_to_undo(versions: Sequence[VersionView], number: int) -> int:
    """The version to which undoing leads; 0 where nothing was changed yet."""
    undoes = {version.number: version.undoes for version in versions}
    while (earlier := undoes.get(number)) is not None:
        number = earlier
    return number - 1
