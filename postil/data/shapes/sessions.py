"""Chats put together of a table's rows: by a key, by merged or blank keys, or by who speaks."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from postil.data.options import ReadOptions
from postil.data.shapes.columns import Layout, find_number, normalize_name
from postil.data.shapes.drafts import Draft
from postil.data.shapes.internal_notes import is_internal
from postil.data.shapes.record import Record
from postil.data.shapes.sheet_rows import TableRow
from postil.data.shapes.speakers import Cast, find_answerer, find_cast, pair_mark, role_of
from postil.problems import Place, Problem

_LONGEST_BY_NUMBER = 10
"""Mean rows under one number beyond which it counts sections, not chats."""

_LONGEST_CONSTANT = 20
"""Questions and answers under one single value beyond which it is no chat's key."""

_FEWEST_ONE_SIDED = 4

_GREETING = re.compile(
    r"\s*(?:你好|您好|在吗|在么|在不在|有人吗|亲[,，~～]|哈喽|嗨|こんにちは|すみません"
    r"|(?:hi|hello|hey|good (?:morning|afternoon|evening))\b)",
    re.IGNORECASE,
)


_NOTICE = re.compile(
    r"|.{0,20}(?:已?(?:接入|进入|加入|离开|结束|转接|超时|断开|关闭)|(?:has )?(?:joined|left|ended|started|closed))"
    r"[^，,]{0,15}",
    re.IGNORECASE,
)
"""What a system says of who came and left, or nothing."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """How rows come to be chats.

    Args:
        by: "session": one value, one chat, wherever it stands; "number": rows under a number, until the next one;
            "log": rows of speakers without any key; "sides": questions and answers in rows of their own, without one.
        column: the key's.
        is_one_sided: each row holds a question or an answer, not both.
    """

    by: Literal["session", "number", "log", "sides"]
    layout: Layout
    column: str | None = None
    is_one_sided: bool = False


def find_grouping(
    layout: Layout, names: Sequence[str], rows: Sequence[TableRow], options: ReadOptions
) -> Grouping | None:
    """How the sheet's rows come to be chats; None where each stands for itself.

    Args:
        rows: the first entries.
    """
    if layout.kind == "classification" or (options.single_turn and not layout.is_log):
        return None
    if not layout.is_pair and not layout.is_log:
        return None
    is_one_sided = _is_one_sided(layout, rows)
    if layout.session is not None and (layout.reason == "mapped" or _tells_chats(layout.session, layout, rows)):
        return Grouping("session", layout, layout.session, is_one_sided)
    number = find_number(tuple(name for name in names if name))
    if number is not None and number not in (layout.question, layout.answer) and _is_key(number, layout, rows):
        return Grouping("number", layout, number, is_one_sided)
    if is_one_sided:
        return Grouping("sides", layout, is_one_sided=True)
    return Grouping("log", layout) if layout.is_log else None


def _is_one_sided(layout: Layout, rows: Sequence[TableRow]) -> bool:
    """True where a customer's messages stand in one column and the answers in another, a row for each."""
    if not layout.is_pair or len(rows) < _FEWEST_ONE_SIDED:
        return False
    filled = [
        tuple(bool(row.fields[name].strip()) for name in (layout.question, layout.answer) if name) for row in rows
    ]
    asked, answered = filled.count((True, False)), filled.count((False, True))
    return asked + answered >= 0.9 * len(rows) and min(asked, answered) >= 0.25 * len(rows)


def _tells_chats(session: str, layout: Layout, rows: Sequence[TableRow]) -> bool:
    """False for a column that is empty, or says the same of many questions."""
    values = Counter(row.fields[session].strip() for row in rows)
    num_blank = values.pop("", 0)
    is_constant = len(values) == 1 and num_blank + values.total() > _LONGEST_CONSTANT and not layout.is_log
    return bool(values) and not is_constant


def _is_key(number: str, layout: Layout, rows: Sequence[TableRow]) -> bool:
    """True where a number stands once for several rows: it is merged, or blank between two numbers."""
    if not rows or not rows[0].fields[number].strip() or number in rows[0].continued:
        return False
    keyed = [i for i, row in enumerate(rows) if row.fields[number].strip() and number not in row.continued]
    following = [
        row for i, row in enumerate(rows) if i not in set(keyed) and (i < keyed[-1] or number in row.continued)
    ]
    own = [row for row in following if not row.is_repeat and (layout.question or layout.content) not in row.continued]
    if not own or len(own) < 0.5 * len(following) or len(rows) > _LONGEST_BY_NUMBER * len(keyed):
        return False
    return len({rows[i].fields[number] for i in keyed}) == len(keyed)


def group_chats(
    file: str, sheet: str | None, grouping: Grouping, entries: Iterable[TableRow | Problem]
) -> Iterator[Record | Problem]:
    """One record for each chat, whose messages keep their own rows.

    Sheets of chats are held in memory, except numbered questions and answers.
    """
    layout = grouping.layout
    entries = _with_formulas(file, sheet, entries)
    if not layout.is_log and grouping.by == "number" and not grouping.is_one_sided:
        yield from _numbered_pairs(file, sheet, grouping, entries)
        return
    rows: list[TableRow] = []
    for entry in entries:
        if isinstance(entry, Problem):
            yield entry
        else:
            rows.append(entry)
    groups = _in_time(layout, _split(grouping, rows))
    if not layout.is_log:
        yield from (_pair_chat(file, sheet, layout, group, grouping.is_one_sided) for group in groups)
        return
    speaker, content = layout.speaker or "", layout.content or ""
    said = ((row.fields[speaker].strip(), row.fields[content]) for row in rows)
    cast = find_cast([[row.fields[speaker].strip() for row in group] for group in groups], said)
    if cast.guess is not None:
        values = {"user": cast.guess[0], "assistant": cast.guess[1]}
        yield Problem("speakers_guessed", "warning", Place(file, 0, sheet), layout.speaker, values=values)
    if grouping.by == "log" and len(rows) > 2:
        values_ = {"chats": len(groups), "rows": len(rows)}
        yield Problem("chats_without_key", "warning", Place(file, 0, sheet), values=values_)
    for group in groups:
        yield from _log_chat(file, sheet, layout, group, cast)


def _with_formulas(file: str, sheet: str | None, entries: Iterable[TableRow | Problem]) -> Iterator[TableRow | Problem]:
    """Names what a message misses; that it is missing shows when the chat is judged."""
    for entry in entries:
        if isinstance(entry, TableRow) and (column := entry.uncalculated) is not None:
            place = Place(file, entry.number, sheet)
            yield Problem("formula_not_calculated", "warning", place, column, values={"column": column})
        yield entry


def _numbered_pairs(
    file: str, sheet: str | None, grouping: Grouping, entries: Iterable[TableRow | Problem]
) -> Iterator[Record | Problem]:
    group: list[TableRow] = []
    num_chats = num_rows = 0
    key = grouping.column or ""
    for entry in entries:
        if isinstance(entry, Problem):
            yield entry
            continue
        if group and entry.fields[key].strip() and key not in entry.continued:
            yield _pair_chat(file, sheet, grouping.layout, group)
            group = []
        num_chats += not group
        num_rows += 1
        group.append(entry)
    if group:
        yield _pair_chat(file, sheet, grouping.layout, group)
    values = {"column": key, "chats": num_chats, "rows": num_rows}
    yield Problem("rows_joined", "warning", Place(file, 0, sheet), key, values=values)


# --- Which rows belong together, and in what order -------------------------------------------------------------------


def _split(grouping: Grouping, rows: Sequence[TableRow]) -> list[list[TableRow]]:
    if grouping.by == "log":
        return _split_log(grouping.layout, rows)
    if grouping.by == "sides":
        asks = [bool(row.fields[grouping.layout.question or ""].strip()) for row in rows]
        return _cut(rows, lambda i: asks[i] and not asks[i - 1])
    key = grouping.column or ""
    groups: dict[str | int, list[TableRow]] = {}
    current: str | int | None = None
    for number, row in enumerate(rows):
        value = row.fields[key].strip()
        if value and key not in row.continued:
            current = value if grouping.by == "session" else number
        elif current is None:  # no key yet
            groups[number] = [row]
            continue
        groups.setdefault(current, []).append(row)
    return list(groups.values())


def _split_log(layout: Layout, rows: Sequence[TableRow]) -> list[list[TableRow]]:
    """Cuts where a chat seems to begin: at blank rows, before a system message, another day, a greeting, or where
    another customer comes to the one who answers them all."""
    by_gap = _cut(rows, lambda i: rows[i].after_gap)
    if len(by_gap) > 1 and sum(_both_speak(layout, part) for part in by_gap) >= 0.8 * len(by_gap):
        return by_gap
    times = [_time_of(layout, row) for row in rows]
    customers = _customers([row.fields[layout.speaker or ""].strip() for row in rows])

    def begins(i: int) -> bool:
        row, before = rows[i], rows[i - 1]
        role, last = (role_of(r.fields[layout.speaker or ""]) for r in (row, before))
        if pair_mark(row.fields[layout.speaker or ""]) is not None:
            return role == "user" and last == "assistant"
        if role == "system":
            return last != "system"
        if last == "system":
            return False
        is_new_day = len(times[i]) >= 3 and len(times[i - 1]) >= 3 and times[i][:3] != times[i - 1][:3]
        if customers and customers[i] != customers[i - 1]:
            return True
        greets = role == "user" and last == "assistant" and _GREETING.match(row.fields[layout.content or ""])
        return is_new_day or bool(greets)

    return _cut(rows, begins)


def _customers(names: Sequence[str]) -> list[str]:
    """Row by row whom the chat is with, where one answers several; [] where nobody can be seen to."""
    people = [name if role_of(name) != "system" else "" for name in names]
    answerer = find_answerer(people)
    if answerer is None:
        return []
    customers: list[str] = []
    customer = next(name for name in people if name not in ("", answerer))
    for name in people:
        customer = customer if name in ("", answerer) else name
        customers.append(customer)
    return customers


def _cut(rows: Sequence[TableRow], begins: Callable[[int], bool]) -> list[list[TableRow]]:
    parts: list[list[TableRow]] = []
    for i, row in enumerate(rows):
        if not parts or begins(i):
            parts.append([])
        parts[-1].append(row)
    return parts


def _both_speak(layout: Layout, rows: Sequence[TableRow]) -> bool:
    return len({row.fields[layout.speaker or ""].strip() for row in rows}) > 1


def _in_time(layout: Layout, groups: list[list[TableRow]]) -> list[list[TableRow]]:
    return groups if layout.time is None else [_sorted(layout, group) for group in groups]


def _sorted(layout: Layout, rows: list[TableRow]) -> list[TableRow]:
    """In the order of their times, where all rows have one to compare; rows of one time stay as they stand."""
    times = [_time_of(layout, row) for row in rows]
    if not all(times) or len({len(time) for time in times}) > 1:
        return rows
    pairs = list(zip(times, rows, strict=True))
    if times[0] > times[-1] and all(a >= b for a, b in pairwise(times)):
        pairs.reverse()  # the newest stands first, also among those of one minute
    return [row for _, row in sorted(pairs, key=lambda pair: pair[0])]


def _time_of(layout: Layout, row: TableRow) -> tuple[int, ...]:
    """The numbers of a time, the year first: (2024, 5, 1, 9, 30); () where there are none."""
    text = row.fields[layout.time] if layout.time is not None else ""
    numbers = [int(n) for n in re.findall(r"\d{1,9}", text.split("+")[0])][:7]
    if len(numbers) >= 3 and numbers[0] <= 31 and 1000 <= numbers[2] <= 9999:
        numbers[:3] = [numbers[2], numbers[0], numbers[1]]
    clock = 3 if len(numbers) > 3 else 0
    if len(numbers) > clock and re.search(r"下午|晚上|[pP]\.?[mM]\b", text) and numbers[clock] < 12:
        numbers[clock] += 12
    elif len(numbers) > clock and re.search(r"[aA]\.?[mM]\b|凌晨", text) and numbers[clock] == 12:
        numbers[clock] = 0
    return tuple(numbers)


# --- Questions and answers of one chat -------------------------------------------------------------------------------


def _pair_chat(
    file: str, sheet: str | None, layout: Layout, rows: Sequence[TableRow], is_one_sided: bool = False
) -> Record:
    numbers = tuple(row.number for row in rows)
    place = Place(file, min(numbers), sheet)
    said = [row for row in rows if not row.is_repeat]
    if len(said) < 2:
        return Record(place, rows[0].fields, layout, rows=numbers if len(rows) > 1 else ())
    drafts = _system_draft(file, sheet, layout, said)
    for row in said:
        here = Place(file, row.number, sheet)
        question = row.fields.get(layout.question or "", "")
        extra = row.fields.get(layout.extra_input or "", "")
        question = (
            f"{question}\n{extra}" if question.strip() and extra.strip() else question if question.strip() else extra
        )
        for role, text, column in (
            ("user", question, layout.question),
            ("assistant", row.fields.get(layout.answer or "", ""), layout.answer),
        ):
            if text.strip() or not is_one_sided:
                drafts.append(Draft(role, text, column or "", column, is_pair=not is_one_sided, place=here))
    return Record(place, {}, replace(layout, kind="chat"), tuple(drafts), numbers, len(rows))


def _system_draft(file: str, sheet: str | None, layout: Layout, rows: Sequence[TableRow]) -> list[Draft]:
    if layout.system is None:
        return []
    found = next((row for row in rows if row.fields[layout.system].strip()), None)
    if found is None:
        return []
    place = Place(file, found.number, sheet)
    return [Draft("system", found.fields[layout.system], layout.system, layout.system, place=place)]


# --- Messages of speakers --------------------------------------------------------------------------------------------


def _log_chat(
    file: str, sheet: str | None, layout: Layout, rows: Sequence[TableRow], cast: Cast
) -> Iterator[Record | Problem]:
    """A chat of speakers. System messages after its beginning tell that somebody came or left, and are left out."""
    speaker, content = layout.speaker or "", layout.content or ""
    drafts = _system_draft(file, sheet, layout, rows)
    numbers: list[int] = []
    role = ""
    system = drafts[0].content if drafts else None
    for row in rows:
        name = row.fields[speaker].strip()
        role = cast.roles.get(name, normalize_name(name)) if name else role
        text, here = row.fields[content], Place(file, row.number, sheet)
        if role == "system" and (_NOTICE.fullmatch(text.strip()) or (drafts and text != system)):
            excerpt = " ".join(text[:200].split())[:80]
            yield Problem("skipped_row", "warning", here, excerpt=excerpt, values={"text": excerpt})
            continue
        numbers.append(row.number)
        if role == "system":
            system = text
        if not row.is_repeat:
            drafts.append(Draft(role, text, content, content, place=here, is_internal=is_internal(row.fields)))
    if numbers:
        place = Place(file, min(numbers), sheet)
        yield Record(place, {}, replace(layout, kind="chat"), tuple(drafts), tuple(numbers), len(numbers))
