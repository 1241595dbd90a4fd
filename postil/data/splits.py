"""Which conversations are kept away from training, to measure the result on."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from postil.data.conversations import Conversation, Message, normalize_question

MIN_ROWS_TO_SPLIT = 30
MIN_HELDOUT_ROWS = 20
MAX_HELDOUT_ROWS = 200
USUAL_MAX_SHARE = 0.2
MIN_SHARE_OF_WANTED = 0.5
"""Where keeping alike questions together holds out less than this, only equal ones are kept together."""


@dataclass(frozen=True, slots=True)
class Split:
    """Two parts without a question in common, each in file order.

    Args:
        num_heldout_questions: distinct questions in `heldout`; a measurement counts these, not rows.
    """

    train: tuple[Conversation, ...]
    heldout: tuple[Conversation, ...]
    num_heldout_questions: int

    @classmethod
    def of(cls, train: Sequence[Conversation], heldout: Sequence[Conversation]) -> "Split":
        """A split that was made earlier."""
        return cls(tuple(train), tuple(heldout), len({normalize_question(c.question) for c in heldout}))


def split_conversations(conversations: Sequence[Conversation], share: float, seed: int) -> Split:
    """Holds out whole questions: a question (its case, width and final punctuation set aside) is never in both parts.

    Nor are questions that are nearly the same, unless so many are that too little could be held out. About `share` of
    the rows are held out, at least 20 and at most 200, but no more than a fifth of the rows and of the distinct
    questions (or `share`, where that is more); none of a file with fewer than 30 rows. The choice depends on the
    questions and the seed, not on the order of the file.

    Args:
        share: between 0 and 1; 0 holds nothing out.
        seed: another seed holds out other questions.
    """
    questions = [normalize_question(conversation.question) for conversation in conversations]
    num_rows = Counter(questions)
    wanted = wanted_heldout_rows(len(questions), share)
    chosen: set[str] = set()
    if wanted:
        max_questions = int(max(USUAL_MAX_SHARE, share) * len(num_rows))
        chosen = _choose_questions(_groups_of_alike(num_rows), num_rows, wanted, max_questions, seed)
        if sum(num_rows[q] for q in chosen) < wanted * MIN_SHARE_OF_WANTED:
            chosen = _choose_questions([[q] for q in num_rows], num_rows, wanted, max_questions, seed)
    return Split(
        train=tuple(c for c, q in zip(conversations, questions, strict=True) if q not in chosen),
        heldout=tuple(c for c, q in zip(conversations, questions, strict=True) if q in chosen),
        num_heldout_questions=len(chosen),
    )


def wanted_heldout_rows(num_rows: int, share: float) -> int:
    """How many rows are held out where the questions allow it; see `split_conversations`."""
    if share <= 0 or num_rows < MIN_ROWS_TO_SPLIT:
        return 0
    max_share = max(USUAL_MAX_SHARE, share)
    return min(max(round(share * num_rows), MIN_HELDOUT_ROWS), MAX_HELDOUT_ROWS, int(max_share * num_rows))


def _choose_questions(
    groups: Sequence[Sequence[str]], num_rows: Mapping[str, int], wanted: int, max_questions: int, seed: int
) -> set[str]:
    """Whole groups in an order that their questions and the seed give, until `wanted` rows are held out."""
    chosen: set[str] = set()
    held = 0
    for group in sorted(groups, key=lambda g: _rank(min(g), seed)):
        if len(chosen) == max_questions or held == wanted:
            break
        # Questions asked very often, or in very many nearly equal ways, may not fit: they stay in training whole.
        rows = sum(num_rows[question] for question in group)
        if held + rows <= wanted and len(chosen) + len(group) <= max_questions:
            chosen.update(group)
            held += rows
    return chosen


def _groups_of_alike(questions: Iterable[str]) -> list[list[str]]:
    """Questions joined with those that are nearly the same, and with those that are nearly the same as these."""
    from postil.data.checks.near_duplicates import NearDuplicates

    ordered = sorted(questions)  # so that what is found does not depend on the order of the file
    near = NearDuplicates()
    for question in ordered:
        near.add((Message("user", question),))
    leaders = list(range(len(ordered)))

    def leader(index: int) -> int:
        while leaders[index] != index:
            leaders[index] = leaders[leaders[index]]
            index = leaders[index]
        return index

    for later, earlier, _ in near.pairs():
        leaders[leader(later)] = leader(earlier)
    groups: dict[int, list[str]] = {}
    for index, question in enumerate(ordered):
        groups.setdefault(leader(index), []).append(question)
    return list(groups.values())


def _rank(question: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{question}".encode()).digest()
