"""What a job's run has found out about its adapter: base and tuned answers, and the rows that got worse.

The report has questions and answers of the user's data, so it stays with the run: who is shared an adapter does not see
it, and it goes when the job is deleted. The numbers of the verdict are in the adapter's manifest as well.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from postil.evaluation.metrics import is_right
from postil.platform.jobs.jobs import run_folder
from postil.platform.jobs.views import get_job
from postil.platform.service import Service
from postil.problems import Place
from postil.recipes.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class ComparedAnswer:
    """A held-out question, the answer in the file, and what base and adapter answered.

    Args:
        base_is_right: nearly the answer in the file, as the run has judged it.
        where: its place in the file, in words; "" where it is not known.
    """

    question: str
    expected: str
    base: str
    tuned: str
    base_is_right: bool
    tuned_is_right: bool
    where: str


@dataclass(frozen=True, slots=True)
class WorseRow:
    """A held-out row from whose answer the adapter is further than the base; losses in nats per token.

    Args:
        where: its place in words; "" where it is not known.
    """

    question: str
    expected: str
    loss_base: float
    loss_tuned: float
    where: str
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class RunReport:
    """What `report.json` says.

    Args:
        num_worse: rows that got worse; None in a report of a version that did not look.
        worse: the first fifty of them, the furthest risen first.
    """

    answers: tuple[ComparedAnswer, ...]
    num_rows: int
    num_worse: int | None
    worse: tuple[WorseRow, ...]


def find_report(service: Service, account_id: str, job_id: str) -> RunReport | None:
    """The report of a job's run; None where it has left none that can be read.

    Raises:
        MissingInputError: the account has no such job.
    """
    job = get_job(service, account_id, job_id)
    file = RunFolder(run_folder(service, job.id)).report
    try:
        kept = json.loads(file.read_text("utf-8"))
        return RunReport(
            answers=tuple(_answer(found) for found in kept["answers"]),
            num_rows=int(kept.get("num_rows", 0)),
            num_worse=kept.get("num_worse"),
            worse=tuple(_worse(found) for found in kept.get("worse", ())),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _answer(found: Mapping[str, Any]) -> ComparedAnswer:
    return ComparedAnswer(
        question=str(found["question"]),
        expected=str(found["expected"]),
        base=str(found["base"]),
        tuned=str(found["tuned"]),
        base_is_right=_is_right(found, "base"),
        tuned_is_right=_is_right(found, "tuned"),
        where=_where(found),
    )


def _is_right(found: Mapping[str, Any], side: str) -> bool:
    """As the run has judged; one of an older version has not kept it, and did not know which words carry a fact."""
    judged = found.get(f"{side}_is_right")
    return is_right(found[side], found["expected"]) if judged is None else bool(judged)


def _worse(found: Mapping[str, Any]) -> WorseRow:
    base, tuned = float(found["loss_base"]), float(found["loss_tuned"])
    if not (math.isfinite(base) and math.isfinite(tuned)):
        raise ValueError(found)
    return WorseRow(str(found["question"]), str(found["expected"]), base, tuned, _where(found), _place(found))


def _where(found: Mapping[str, Any]) -> str:
    place = _place(found)
    return "" if place is None else place.in_words(known_file=place.file)


def _place(found: Mapping[str, Any]) -> Place | None:
    file = found.get("file")
    return Place(str(file), int(found["row"]), found["sheet"]) if file else None
