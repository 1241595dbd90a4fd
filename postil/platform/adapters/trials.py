"""Trying an adapter: a question, the answers of base and tuned side by side, and which of them was liked better.

    start_trial ──> asked_at each place ──> keep_answer ──> give_vote, corrections.correct_answer
                          (asked elsewhere, all at once)

A trial belongs to whoever asked, also where the adapter is somebody else's; it goes with the adapter and the account.
"""

import random
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from postil.errors import ConflictError, MissingInputError, UsageError
from postil.platform.adapters.trial_views import TrialView, Votes, conversation, own_trial, view_of
from postil.platform.adapters.views import usable_row
from postil.platform.ids import new_id
from postil.platform.service import Service
from postil.platform.store.tables import Adapter, Trial, TrialAnswer

SAME = "same"
MOST_QUESTION_CHARS, MOST_TURNS, MOST_TRIALS = 20_000, 40, 5000
MOST_ANSWER_TOKENS = 400
LIKELIEST: Mapping[str, float] = {"temperature": 0.0, "top_p": 1.0}
"""As the answers of the result were written: each time the likeliest word."""
FREER: Mapping[str, float] = {"temperature": 0.7, "top_p": 0.9}


@dataclass(frozen=True, slots=True)
class Asked:
    """What one side of a trial is asked.

    Args:
        adapter_id: who answers; None for the base.
        base: on which all sides stand.
        options: temperature, top_p and seed.
    """

    adapter_id: str | None
    base: str
    messages: tuple[Mapping[str, str], ...]
    options: Mapping[str, Any]


def start_trial(
    service: Service,
    account_id: str,
    adapter_id: str,
    question: str,
    *,
    is_blind: bool = False,
    is_freer: bool = False,
    other_id: str | None = None,
    follows: str | None = None,
) -> TrialView:
    """Keeps a question, with a place for each answer.

    Args:
        is_blind: mixes the answers up by chance.
        is_freer: words are drawn by chance, by the same seed for every answer.
        other_id: another adapter on the same base that answers, too.
        follows: the trial whose conversation this goes on; who answers, and where, is taken from it.

    Raises:
        MissingInputError: no such adapter or trial that the account may use.
        UsageError: no question, one that is too long, or an adapter on another base or twice.
        ConflictError: too many trials, or the conversation is too long or broke off.
    """
    asked = _check_text(question, MOST_QUESTION_CHARS)
    with service.database.writing() as session:
        row = usable_row(session, account_id, adapter_id)
        _refuse_too_many(session, account_id, adapter_id)
        earlier = None if follows is None else view_of(session, own_trial(session, account_id, adapter_id, follows))
        if earlier is None:
            sides = _sides(session, account_id, row, other_id)
            if is_blind:
                random.SystemRandom().shuffle(sides)
        else:
            if not earlier.is_whole or len(earlier.before) + 2 > MOST_TURNS:
                raise ConflictError("platform.trials.no_way_on", most=MOST_TURNS)
            sides = [(answer.side, answer.adapter_id) for answer in earlier.answers]
            is_blind = earlier.is_hidden
        trial = Trial(
            id=new_id("try"),
            account_id=account_id,
            adapter_id=adapter_id,
            follows=follows,
            question=asked,
            is_blind=is_blind,
            options={**(FREER if is_freer else LIKELIEST), "seed": secrets.randbelow(2**31)},
            created_at=service.now(),
        )
        session.add(trial)
        session.flush()
        for place, (side, answering_id) in enumerate(sides):
            own = {"trial_id": trial.id, "place": place, "account_id": account_id}
            session.add(TrialAnswer(side=side, adapter_id=answering_id, **own))
        session.flush()
        return view_of(session, trial)


def list_trials(
    service: Service, account_id: str, adapter_id: str, *, limit: int = 20, after: str | None = None
) -> tuple[TrialView, ...]:
    """The account's trials of an adapter, the newest first.

    Args:
        after: the trial that ended the page before.

    Raises:
        MissingInputError: no such adapter that the account may use, or no such trial.
    """
    query = select(Trial).where(Trial.account_id == account_id, Trial.adapter_id == adapter_id)
    with service.database.reading() as session:
        usable_row(session, account_id, adapter_id)
        if after is not None:
            last = own_trial(session, account_id, adapter_id, after)
            older = and_(Trial.created_at == last.created_at, Trial.id < last.id)
            query = query.where(or_(Trial.created_at < last.created_at, older))
        rows = session.scalars(query.order_by(Trial.created_at.desc(), Trial.id.desc()).limit(limit))
        return tuple(view_of(session, row) for row in rows.all())


def get_trial(service: Service, account_id: str, adapter_id: str, trial_id: str) -> TrialView:
    """One trial of the account.

    Raises:
        MissingInputError: there is none, or it is somebody else's, or the adapter is not shared any more.
    """
    with service.database.reading() as session:
        return view_of(session, own_trial(session, account_id, adapter_id, trial_id))


def asked_at(service: Service, account_id: str, adapter_id: str, trial_id: str, place: int) -> Asked:
    """Who answers at a place, and what it is asked.

    Each side goes on from its own earlier answers. All of them are given the system message of the training, as the
    result compares them; the base would not know it otherwise.

    Raises:
        MissingInputError: as `get_trial`, or no such place.
    """
    with service.database.reading() as session:
        trial = own_trial(session, account_id, adapter_id, trial_id)
        answer = session.get(TrialAnswer, (trial.id, place))
        if answer is None:
            raise MissingInputError("platform.trials.missing")
        adapter = session.get_one(Adapter, adapter_id)
        system = adapter.manifest.get("system")
        messages = [{"role": "system", "content": str(system)}] if system else []
        for earlier in conversation(session, trial)[:-1]:
            said = session.get_one(TrialAnswer, (earlier.id, place)).text
            messages += [_user(earlier.question), {"role": "assistant", "content": said}]
        return Asked(answer.adapter_id, adapter.base, (*messages, _user(trial.question)), trial.options)


def keep_answer(service: Service, account_id: str, trial_id: str, place: int, text: str, ended: str) -> None:
    """Keeps what was answered; nothing happens where the trial was deleted meanwhile.

    A try that has brought nothing leaves what an earlier one has.

    Args:
        ended: one of `ENDS`.
    """
    with service.database.writing() as session:
        row = session.get(TrialAnswer, (trial_id, place))
        if row is not None and row.account_id == account_id and (text or ended != "broken" or not row.text):
            row.text, row.ended = text.replace("\x00", "\ufffd"), ended  # PostgreSQL has no place for the first


def drop_trial(service: Service, account_id: str, adapter_id: str, trial_id: str) -> None:
    """Takes a trial away that nothing has answered.

    Raises:
        MissingInputError: as `get_trial`.
    """
    with service.database.writing() as session:
        session.delete(own_trial(session, account_id, adapter_id, trial_id))


def clear_trials(service: Service, account_id: str, adapter_id: str) -> int:
    """Deletes all of the account's trials of an adapter, with their votes; returns how many there were.

    Raises:
        MissingInputError: no such adapter that the account may use.
    """
    of_it = and_(Trial.account_id == account_id, Trial.adapter_id == adapter_id)
    with service.database.writing() as session:
        usable_row(session, account_id, adapter_id)
        found = session.scalar(select(func.count()).where(of_it)) or 0
        session.execute(delete(Trial).where(of_it))
        return found


def give_vote(service: Service, account_id: str, adapter_id: str, trial_id: str, choice: int | None) -> TrialView:
    """Says which answer is the best.

    Args:
        choice: its place; None where they are alike.

    Raises:
        MissingInputError: as `get_trial`, or there is no answer at that place.
        ConflictError: not every answer is there, or a blind vote was given before: now it would not be blind.
    """
    with service.database.writing() as session:
        row = own_trial(session, account_id, adapter_id, trial_id)
        trial = view_of(session, row)
        if not trial.is_whole:
            raise ConflictError("platform.trials.not_whole")
        if trial.is_blind and trial.vote:
            raise ConflictError("platform.trials.voted")
        liked = next((answer.side for answer in trial.answers if answer.place == choice), None)
        if choice is not None and liked is None:
            raise MissingInputError("platform.trials.missing")
        row.vote = liked or SAME
        session.flush()
        return view_of(session, row)


def count_votes(service: Service, account_id: str, adapter_id: str) -> Votes:
    """The account's votes about an adapter."""
    query = select(Trial.vote, Trial.is_blind, func.count()).group_by(Trial.vote, Trial.is_blind)
    query = query.where(Trial.account_id == account_id, Trial.adapter_id == adapter_id, Trial.vote != "")
    counts: Counter[str] = Counter()
    with service.database.reading() as session:
        for liked, is_blind, count in session.execute(query):
            counts[liked] += count
            counts["blind"] += count * is_blind
    return Votes(counts["base"], counts["tuned"], counts["other"], counts[SAME], counts["blind"])


def _sides(session: Session, account_id: str, row: Adapter, other_id: str | None) -> list[tuple[str, str | None]]:
    sides: list[tuple[str, str | None]] = [("base", None), ("tuned", row.id)]
    if other_id is not None:
        other = usable_row(session, account_id, other_id)
        if other.id == row.id or other.base != row.base:
            raise UsageError("platform.trials.other_base", name=other.name, base=row.base)
        sides.append(("other", other.id))
    return sides


def _check_text(text: str, most: int) -> str:
    kept = text.strip()
    if not kept or len(kept) > most or "\x00" in kept or any("\ud800" <= letter <= "\udfff" for letter in kept):
        raise UsageError("platform.trials.bad_question", most=most)
    return kept


def _refuse_too_many(session: Session, account_id: str, adapter_id: str) -> None:
    count = select(func.count()).where(Trial.account_id == account_id, Trial.adapter_id == adapter_id)
    if (session.scalar(count) or 0) >= MOST_TRIALS:
        raise ConflictError("platform.trials.too_many", most=MOST_TRIALS)


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}
