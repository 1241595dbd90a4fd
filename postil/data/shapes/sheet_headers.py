"""Where a sheet's header is: among its first rows, below titles and banners, or nowhere."""

from collections import Counter
from collections.abc import Iterable, Sequence

from postil.data.files.tables import Row, column_index
from postil.data.shapes.column_contents import asks, reads_like_header, sum_up
from postil.data.shapes.columns import Layout, find_layout, normalize_name

HEADER_ROWS = 20


def named_header(rows: Sequence[Row]) -> int | None:
    """Index of the first row whose names say all that is needed; a classification only where nothing else is found."""
    layouts = [find_layout(unique_names(header_cells(row))) for row in rows[:HEADER_ROWS]]
    fitting = [i for i, layout in enumerate(layouts) if is_complete(layout)]
    return next((i for i in fitting if layouts[i].kind != "classification"), next(iter(fitting), None))


def is_complete(layout: Layout) -> bool:
    """True where the names tell what to learn."""
    return layout.is_pair or layout.is_log or bool(layout.turns or layout.rejected or layout.chosen)


def header_cells(row: Row) -> tuple[str, ...]:
    """The row's cells as names; a merged banner names its first column only, and what is long names nothing."""
    return tuple("" if i in row.spread or len(c) > 60 else c for i, c in enumerate(row.cells))


def unique_names(cells: Sequence[str]) -> tuple[str, ...]:
    """Headers as keys: a name met before is told apart by its column's number; "" where a column has no name."""
    names: list[str] = []
    for number, cell in enumerate(cells, start=1):
        names.append(f"{cell} ({number})" if cell in names and cell.strip() else cell if cell.strip() else "")
    return tuple(names)


def structural_header(rows: Sequence[Row]) -> tuple[int, int | None]:
    """(index of the first row as wide as most are, index of the header): titles above are narrower.

    The header is the first of these rows, where it reads like one.
    """
    widths = Counter(_width(row) for row in rows)
    usual = max(widths, key=lambda width: (widths[width], width))
    needed = max(min(usual, 2), round(0.6 * usual))
    first = next((i for i, row in enumerate(rows[:HEADER_ROWS]) if _width(row) >= needed), 0)
    cells = header_cells(rows[first])
    body = rows[first + 1 :]
    columns = sum_up([row.cells for row in body], len(cells))
    is_header = _is_partly_named(cells) or reads_like_header(cells, columns)
    return first, first if is_header and not _recurs(cells, body) else None


def _recurs(cells: Sequence[str], body: Sequence[Row]) -> bool:
    """True where one of the cells stands below itself again in another row than a repeated header: it is a value."""
    named = [(i, cell) for i, cell in enumerate(cells) if cell.strip()]
    for row in body:
        same = sum(i < len(row.cells) and row.cells[i] == cell for i, cell in named)
        if 0 < same < len(named):
            return True
    return False


def _width(row: Row) -> int:
    """Number of cells that say something of their own."""
    return sum(bool(cell.strip()) and i not in row.spread for i, cell in enumerate(row.cells))


def _is_partly_named(cells: Sequence[str]) -> bool:
    layout = find_layout(unique_names(cells))
    known = (layout.question, layout.answer, layout.session, layout.speaker, layout.content)
    is_short = all(len(cell) <= 30 and not asks(cell) for cell in cells)
    return is_short and any(name is not None for name in known)


def mapped_header(rows: Sequence[Row], wanted: Sequence[str]) -> int | None:
    """Index of the first row that has one of the wanted names, and the others as names or letters."""
    for i, row in enumerate(rows[:HEADER_ROWS]):
        if resolves(row, wanted) and any(_has_name(unique_names(header_cells(row)), name) for name in wanted):
            return i
    return None


def resolves(row: Row, wanted: Iterable[str]) -> bool:
    names = unique_names(header_cells(row))
    return all(find_column(names, name) is not None for name in wanted)


def _has_name(names: Sequence[str], name: str) -> bool:
    return name in names or normalize_name(name) in {normalize_name(n) for n in names if n}


def find_column(names: Sequence[str], name: str) -> int | None:
    """The column of that name, else of that letter."""
    folded = [normalize_name(n) if n else "" for n in names]
    if name in names:
        return list(names).index(name)
    if normalize_name(name) in folded:
        return folded.index(normalize_name(name))
    is_letter = name.isascii() and name.isalpha() and len(name) <= 3
    return index if is_letter and (index := column_index(name)) < len(names) else None
