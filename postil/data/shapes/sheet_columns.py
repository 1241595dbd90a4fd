"""How each sheet of a table is laid out: where its header is, which columns hold what; decided on its first rows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from postil.data.files.tables import Row, column_letter
from postil.data.options import ReadOptions
from postil.data.shapes.column_contents import choose_columns, sum_up
from postil.data.shapes.columns import Layout, find_label, find_layout, list_names, mapped_layout
from postil.data.shapes.sheet_headers import (
    find_column,
    header_cells,
    is_complete,
    mapped_header,
    named_header,
    resolves,
    structural_header,
    unique_names,
)
from postil.data.shapes.speakers import pair_mark, role_of

LOOK_ROWS = 500
LOOK_CHARS = 4_000_000
"""How much of a sheet is read before it is planned."""


@dataclass(frozen=True, slots=True)
class SheetPlan:
    """How the rows of one sheet are read.

    Args:
        header: the row that names the columns; None where row 1 is already data.
        start: number of the first row that can be data; what stands above, besides the header, is a title or a note.
        names: of each column, "" where one has none and is not read.
        layout: what the columns are for; None where the sheet has no questions and answers.
        code: what is wrong, where `layout` is None: "no_pair_columns", "no_question_column", "no_answer_column",
            "unknown_column"; or "text" where questions and answers stand below one another in the one column, "chats"
            where each of its cells is a chat.
        numeric: how many columns hold numbers only.
        missing: what the user named and the sheet does not have.
    """

    header: Row | None
    start: int
    names: tuple[str, ...]
    layout: Layout | None
    code: str = ""
    numeric: int = 0
    missing: str = ""

    @property
    def shown_names(self) -> str:
        """The columns for a sentence."""
        return list_names(self.all_names)

    @property
    def all_names(self) -> list[str]:
        """Of each column its name, or its letter."""
        return [name or column_letter(i) for i, name in enumerate(self.names)]


def plan_sheet(rows: Sequence[Row], options: ReadOptions) -> SheetPlan:
    """Plans a sheet by its first rows.

    Args:
        rows: none of them blank.
    """
    if options.columns:
        return _plan_by_map(rows, options)
    header = named_header(rows)
    if header is not None:
        plan = _plan_under(rows, header)
        return plan if plan.layout is None else _without_empty_side(plan, rows)
    return _plan_by_content(rows, *structural_header(rows))


def _plan_under(rows: Sequence[Row], index: int) -> SheetPlan:
    header = rows[index]
    names = unique_names(header_cells(header))
    layout = find_layout(names)
    if layout.turns and not _holds_lists(rows[index + 1 :], names.index(layout.turns[0])):
        # "对话" above plain text is a chat's key, or its text.
        if not layout.is_pair and not layout.is_log:
            return _plan_by_content(rows, index, index)
        layout = replace(layout, turns=(), session=layout.session or layout.turns[0])
    return SheetPlan(header, header.number + 1, names, _log_or_pair(layout))


def _holds_lists(rows: Sequence[Row], index: int) -> bool:
    """True where a column's cells are JSON."""
    cells = _column_cells(rows, index)
    return not cells or sum(cell.lstrip().startswith(("[", "{")) for cell in cells) >= 0.5 * len(cells)


def _log_or_pair(layout: Layout) -> Layout:
    """One purpose where the names allow two: questions with answers win over a speaker beside them."""
    if layout.is_pair or not layout.is_log:
        return replace(layout, speaker=None, content=None)
    return replace(layout, question=None, answer=None, extra_input=None, kind="chat", ignored_pairs=())


def _without_empty_side(plan: SheetPlan, rows: Sequence[Row]) -> SheetPlan:
    """Looks at the contents where a named column is empty throughout."""
    layout = plan.layout
    if layout is None or not layout.is_pair:
        return plan
    body = [row for row in rows if row.number >= plan.start]
    cells = {side: _column_cells(body, plan.names.index(name)) for side, name in _sides(layout)}
    if len(body) < 3 or all(cells.values()) or layout.kind == "classification":
        return plan
    named = {side: plan.names.index(name) for side, name in _sides(layout) if cells[side]}
    return _content_plan(plan, rows, named.get("question"), named.get("answer")) or plan


def _sides(layout: Layout) -> list[tuple[str, str]]:
    return [("question", layout.question or ""), ("answer", layout.answer or "")]


def _column_cells(rows: Sequence[Row], index: int) -> list[str]:
    return [row.cells[index] for row in rows if index < len(row.cells) and row.cells[index].strip()]


def _plan_by_content(rows: Sequence[Row], first: int, header: int | None) -> SheetPlan:
    """The plan for columns whose names do not tell, or that have none."""
    body = rows[first:] if header is None else rows[header + 1 :]
    if header is None:
        width = Counter(len(row.cells) for row in body).most_common(1)[0][0]
        plan = SheetPlan(None, rows[first].number, tuple(column_letter(i) for i in range(width)), None)
        named = Layout()
    else:
        names = unique_names(header_cells(rows[header]))
        plan = SheetPlan(rows[header], rows[header].number + 1, names, None)
        named = find_layout(names)
    if (chats := _chats_in_cells(plan, body) or _speakers_in_cells(plan, body)) is not None:
        return chats
    question, answer = (None if name is None else plan.names.index(name) for name in (named.question, named.answer))
    found = _content_plan(plan, rows, question, answer)
    if found is not None:
        return found
    if named.question is not None and (label := find_label(plan.names, strong=True)) not in (None, named.question):
        return replace(plan, layout=replace(named, answer=label, kind="classification", ignored_pairs=()))
    return _one_column_of_text(plan, body) or _refusal(plan, rows, named)


def _content_plan(plan: SheetPlan, rows: Sequence[Row], question: int | None, answer: int | None) -> SheetPlan | None:
    body = [row for row in rows if row.number >= plan.start]
    width = max((len(plan.names), *(len(row.cells) for row in body)))
    columns = sum_up([row.cells for row in body], width)
    # A column without a name may hold the answers too; then its letter is its name.
    choice = choose_columns(
        [c for c in columns if plan.header is not None or c.index < len(plan.names)], question, answer
    )
    if choice is None:
        return None
    names = list(plan.names) + [""] * (max(choice.question, choice.answer) + 1 - len(plan.names))
    for index in (choice.question, choice.answer):
        names[index] = names[index] or column_letter(index)
    layout = replace(
        find_layout(tuple(names)) if plan.header is not None else Layout(),
        question=names[choice.question],
        answer=names[choice.answer],
        extra_input=None,
        turns=(),
        speaker=None,
        content=None,
        ignored_pairs=(),
        kind="classification" if choice.is_classification else "qa",
        confidence=choice.confidence,
        reason="by_content" if plan.header is not None else "no_header",
    )
    return replace(plan, names=tuple(names), layout=layout)


def _chats_in_cells(plan: SheetPlan, body: Sequence[Row]) -> SheetPlan | None:
    """A column whose cells each hold a whole chat, line by line."""
    from postil.data.shapes.text_questions import recognise_text

    for index in range(max((len(row.cells) for row in body), default=0)):
        cells = _column_cells(body[:50], index)
        if len(cells) < 0.5 * len(body[:50]) or sum("\n" in cell.strip() for cell in cells) < 0.5 * len(cells):
            continue
        shapes = [recognise_text(cell.splitlines()) for cell in cells[:20]]
        if sum(shape is not None and shape.name == "chat" for shape in shapes) >= 0.7 * len(shapes):
            return replace(_with_text_column(plan, index), code="chats")
    return None


def _speakers_in_cells(plan: SheetPlan, body: Sequence[Row]) -> SheetPlan | None:
    """A column that says who speaks, row by row, beside one of what is said."""
    columns = sum_up([row.cells for row in body], max((len(row.cells) for row in body), default=0))
    texts = [c for c in columns if c.is_text]
    for speaker in columns:
        names = set(_column_cells(body, speaker.index)) if speaker.filled >= 0.5 else set()
        is_few = len(names) <= 6 or all(pair_mark(name) is not None for name in names)
        roles = {role_of(name) for name in names} if is_few else set()
        content = max((c for c in texts if c is not speaker), key=lambda c: c.mean_chars, default=None)
        if not {"user", "assistant"} <= roles <= {"user", "assistant", "system"} or content is None:
            continue
        named = list(plan.names) + [""] * (max(speaker.index, content.index) + 1 - len(plan.names))
        for index in (speaker.index, content.index):
            named[index] = named[index] or column_letter(index)
        layout = replace(
            find_layout(tuple(named)) if plan.header is not None else Layout(),
            question=None,
            answer=None,
            extra_input=None,
            turns=(),
            ignored_pairs=(),
            speaker=named[speaker.index],
            content=named[content.index],
            kind="chat",
            confidence=0.8,
            reason="by_content" if plan.header is not None else "no_header",
        )
        return replace(plan, names=tuple(named), layout=layout)
    return None


def _with_text_column(plan: SheetPlan, index: int) -> SheetPlan:
    """The plan that reads one column only."""
    named = plan.names[index] if index < len(plan.names) else ""
    names = tuple((named or column_letter(i)) if i == index else "" for i in range(max(len(plan.names), index + 1)))
    return replace(plan, names=names, layout=None)


def _one_column_of_text(plan: SheetPlan, body: Sequence[Row]) -> SheetPlan | None:
    """Questions and answers below one another in one column: the text's reader knows how."""
    from postil.data.shapes.text_questions import recognise_text

    columns = sum_up([row.cells for row in body], max((len(row.cells) for row in body), default=0))
    texts = [c for c in columns if c.is_text and c.mean_chars >= 4]
    if len(texts) != 1 or any(c.numeric < 0.5 and c.filled > 0.3 for c in columns if c is not texts[0]):
        return None
    index = texts[0].index
    lines = [line for row in body for line in (row.cells[index] if index < len(row.cells) else "").splitlines()]
    shape = recognise_text(lines)
    if shape is None or shape.confidence < 0.7:
        return None
    return replace(_with_text_column(plan, index), code="text")


def _refusal(plan: SheetPlan, rows: Sequence[Row], named: Layout) -> SheetPlan:
    body = [row.cells for row in rows if row.number >= plan.start]
    columns = sum_up(body, len(plan.names))
    numeric = sum(c.filled > 0 and c.numeric >= 0.9 for c in columns)
    code = "no_pair_columns"
    if named.answer is not None:
        code = "no_question_column"
    elif named.question is not None:
        code = "no_answer_column"
    return replace(plan, layout=None, code=code, numeric=numeric)


# --- By the user's word ----------------------------------------------------------------------------------------------


def _plan_by_map(rows: Sequence[Row], options: ReadOptions) -> SheetPlan:
    """The user says what columns are for, by name or by letter; the rest is found as ever."""
    wanted = dict(options.columns)
    first, structural = structural_header(rows)
    named = named_header(rows)
    if named is not None and resolves(rows[named], wanted.values()):
        header: int | None = named
    else:
        header = mapped_header(rows, list(wanted.values()))
    if header is None:
        header = structural if named is None else named
    names = unique_names(header_cells(rows[header])) if header is not None else ()
    names += ("",) * (max(len(row.cells) for row in rows) - len(names))
    found = {purpose: find_column(names, name) for purpose, name in wanted.items()}
    letters = {i for i in found.values() if i is not None}
    lettered = tuple(n or (column_letter(i) if header is None or i in letters else "") for i, n in enumerate(names))
    top = rows[header] if header is not None else None
    plan = SheetPlan(top, top.number + 1 if top else rows[first].number, lettered, None)
    missing = next((wanted[purpose] for purpose, i in found.items() if i is None), None)
    if missing is not None:
        is_short = all(len(cell) <= 40 for cell in rows[first].cells)
        shown = header_cells(rows[first]) if header is None and is_short else lettered
        return replace(plan, names=shown, code="unknown_column", missing=missing)
    by_name = {purpose: lettered[i] for purpose, i in found.items() if i is not None}
    return _with_map(plan, rows, mapped_layout(lettered, by_name))


def _with_map(plan: SheetPlan, rows: Sequence[Row], layout: Layout) -> SheetPlan:
    """One side mapped and the other neither mapped nor named is looked for by content."""
    if is_complete(layout):
        return replace(plan, layout=layout if layout.reason == "mapped" and layout.is_pair else _log_or_pair(layout))
    question, answer = (None if n is None else plan.names.index(n) for n in (layout.question, layout.answer))
    found = _content_plan(plan, rows, question, answer) if (question is None) != (answer is None) else None
    if found is None or found.layout is None:
        return _refusal(plan, rows, layout)
    return replace(
        found, layout=replace(layout, question=found.layout.question, answer=found.layout.answer, confidence=0.8)
    )
