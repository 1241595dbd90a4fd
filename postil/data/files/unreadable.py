"""A file, or a part of one, that cannot be read, as a problem beside those of its neighbours."""

from postil.errors import DataError
from postil.problems import Place, Problem


def unreadable(place: Place, error: DataError) -> Problem:
    """What the error says, located; of paths only the name that the user knows."""
    values = error.values | {"path": place.file} if "path" in error.values else error.values
    named = DataError(error.key, **values)
    return Problem("unreadable", "error", place, values={"reason": named.message, "advice": named.hint})
