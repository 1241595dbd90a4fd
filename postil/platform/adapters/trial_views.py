"""What an account sees of its trials, and the one way in which a row of theirs is fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.errors import MissingInputError
from postil.platform.adapters.views import usable_row
from postil.platform.ids import is_id
from postil.platform.store.tables import Adapter, Trial, TrialAnswer

Side = Literal["base", "tuned", "other"]
ENDS = ("stop", "length", "broken")


@dataclass(frozen=True, slots=True)
class TrialAnswerView:
    """One answer.

    Args:
        adapter_id, name: of the adapter that answers; None for the base.
        ended: "" while nothing is kept, else one of `ENDS`.
    """

    place: int
    side: str
    adapter_id: str | None
    name: str | None
    text: str
    ended: str

    @property
    def is_whole(self) -> bool:
        """True where it was written to its end."""
        return self.ended in ("stop", "length")


@dataclass(frozen=True, slots=True)
class TrialView:
    """A question with its answers, from the left.

    Args:
        before: the questions of the conversation that this one goes on, the first one first.
        vote: a side, "same", or "".
        corrected_version: of the data set, which has `correction` as a row.
    """

    id: str
    adapter_id: str
    follows: str | None
    before: tuple[str, ...]
    question: str
    is_blind: bool
    options: Mapping[str, Any]
    answers: tuple[TrialAnswerView, ...]
    vote: str
    correction: str | None
    corrected_version: int | None
    created_at: datetime

    @property
    def is_hidden(self) -> bool:
        """True while nobody is to see who wrote what."""
        return self.is_blind and not self.vote

    @property
    def has_ended(self) -> bool:
        """True where every answer is kept, whole or not."""
        return all(answer.ended for answer in self.answers)

    @property
    def is_whole(self) -> bool:
        """True where every answer was written to its end, so that they can be compared and gone on from."""
        return all(answer.is_whole for answer in self.answers)

    def answer_of(self, side: Side) -> TrialAnswerView | None:
        """The answer of a side."""
        return next((answer for answer in self.answers if answer.side == side), None)


@dataclass(frozen=True, slots=True)
class Votes:
    """How often each side was liked best.

    Args:
        num_blind: of all of them, those that were given without knowing who had answered.
    """

    base: int
    tuned: int
    other: int
    same: int
    num_blind: int

    @property
    def total(self) -> int:
        """All votes."""
        return self.base + self.tuned + self.other + self.same


def own_trial(session: Session, account_id: str, adapter_id: str, trial_id: str) -> Trial:
    """The row of a trial of this account, of an adapter that it may use.

    Raises:
        MissingInputError: there is none.
    """
    usable_row(session, account_id, adapter_id)
    query = select(Trial).where(Trial.id == trial_id, Trial.account_id == account_id, Trial.adapter_id == adapter_id)
    row = session.scalar(query) if is_id(trial_id, "try") else None
    if row is None:
        raise MissingInputError("platform.trials.missing")
    return row


def conversation(session: Session, trial: Trial) -> Sequence[Trial]:
    """The trials that lead to this one, and itself, the first one first."""
    chain = [trial]
    while chain[0].follows is not None:
        chain.insert(0, session.get_one(Trial, chain[0].follows))
    return chain


def view_of(session: Session, row: Trial) -> TrialView:
    """The row as its owner sees it."""
    found = select(TrialAnswer, Adapter.name).outerjoin(Adapter, Adapter.id == TrialAnswer.adapter_id)
    answers = session.execute(found.where(TrialAnswer.trial_id == row.id).order_by(TrialAnswer.place))
    return TrialView(
        id=row.id,
        adapter_id=row.adapter_id,
        follows=row.follows,
        before=tuple(earlier.question for earlier in conversation(session, row)[:-1]),
        question=row.question,
        is_blind=row.is_blind,
        options=row.options,
        answers=tuple(TrialAnswerView(a.place, a.side, a.adapter_id, name, a.text, a.ended) for a, name in answers),
        vote=row.vote,
        correction=row.correction,
        corrected_version=row.corrected_version,
        created_at=row.created_at,
    )
