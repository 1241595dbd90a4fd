"""Which conversations are kept away from training, to measure the result on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from postil.data.conversations import Conversation, normalize_question

MIN_ROWS_TO_SPLIT = 30
MIN_HELDOUT_ROWS = 20
MAX_HELDOUT_ROWS = 200
USUAL_MAX_SHARE = 0.2


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

    About `share` of the rows are held out, at least 20 and at most 200, but no more than a fifth of the rows and of the
    distinct questions (or `share`, where that is more); none of a file with fewer than 30 rows. The choice depends on
    the questions and the seed, not on the order of the file.

    Args:
        share: between 0 and 1; 0 holds nothing out.
        seed: another seed holds out other questions.
    """
    groups: dict[str, int] = {}
    questions = [normalize_question(conversation.question) for conversation in conversations]
    for question in questions:
        groups[question] = groups.get(question, 0) + 1
    chosen = _choose_questions(groups, share, seed)
    return Split(
        train=tuple(c for c, q in zip(conversations, questions, strict=True) if q not in chosen),
        heldout=tuple(c for c, q in zip(conversations, questions, strict=True) if q in chosen),
        num_heldout_questions=len(chosen),
    )


def _choose_questions(groups: dict[str, int], share: float, seed: int) -> set[str]:
    num_rows = sum(groups.values())
    if share <= 0 or num_rows < MIN_ROWS_TO_SPLIT:
        return set()
    max_share = max(USUAL_MAX_SHARE, share)
    wanted = min(max(round(share * num_rows), MIN_HELDOUT_ROWS), MAX_HELDOUT_ROWS, int(max_share * num_rows))
    max_questions = int(max_share * len(groups))
    chosen: set[str] = set()
    held = 0
    for question in sorted(groups, key=lambda q: _rank(q, seed)):
        if len(chosen) == max_questions or held == wanted:
            break
        # A question asked very often may not fit: it stays in training whole.
        if held + groups[question] <= wanted:
            chosen.add(question)
            held += groups[question]
    return chosen


def _rank(question: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{question}".encode()).digest()
