"""Problems as plain values and back, without a word of any language: a kept report can be read in all of them."""

from collections.abc import Mapping
from typing import Any, get_args

from postil.problems import Fix, FixAction, Passage, Place, Problem


def plain_problem(problem: Problem) -> dict[str, Any]:
    """The problem in JSON's types; sentences are said when it is read."""
    fix = problem.fix
    return {
        "code": problem.code,
        "severity": problem.severity,
        "place": plain_place(problem.place),
        "column": problem.column,
        "json_path": problem.json_path,
        "excerpt": problem.excerpt,
        "values": problem.values,
        "fix": fix
        and {
            "action": fix.action,
            "places": [plain_place(place) for place in fix.places],
            "automatic": fix.automatic,
            "values": fix.values,
        },
        "passages": [[plain_place(passage.place), passage.text] for passage in problem.passages],
    }


def read_problem(plain: Mapping[str, Any]) -> Problem:
    """What `plain_problem` made.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    fix = plain["fix"]
    return Problem(
        code=plain["code"],
        severity=plain["severity"],
        place=read_place(plain["place"]),
        column=plain["column"],
        json_path=plain["json_path"],
        excerpt=plain["excerpt"],
        values=dict(plain["values"]),
        fix=fix and _read_fix(fix),
        # reports of earlier releases have none
        passages=tuple(Passage(read_place(place), text) for place, text in plain.get("passages", ())),
    )


def plain_place(place: Place) -> list[Any]:
    """File, row and sheet."""
    return [place.file, place.row, place.sheet]


def read_place(plain: Any) -> Place:
    """What `plain_place` made."""
    file, row, sheet = plain
    return Place(str(file), int(row), sheet)


def _read_fix(plain: Mapping[str, Any]) -> Fix:
    if plain["action"] not in get_args(FixAction):
        raise ValueError(plain["action"])
    places = tuple(read_place(place) for place in plain["places"])
    return Fix(plain["action"], places, plain["automatic"], dict(plain["values"]))
