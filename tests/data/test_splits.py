import random

import pytest

from postil.data.conversations import Conversation, Message, normalize_question
from postil.data.splits import Split, split_conversations
from postil.problems import Place


def rows(num_questions: int, repeats: int = 1) -> list[Conversation]:
    return [
        Conversation(
            (Message("user", f"Question {q}" + "?" * (r % 2)), Message("assistant", f"{r}")),
            Place("f", q * repeats + r + 1),
        )
        for q in range(num_questions)
        for r in range(repeats)
    ]


def keys(part: tuple[Conversation, ...]) -> set[str]:
    return {normalize_question(c.question) for c in part}


@pytest.mark.parametrize(
    ("num_questions", "repeats", "share", "heldout"),
    [
        (29, 1, 0.1, 0),
        (30, 1, 0.1, 6),
        (100, 1, 0.1, 20),
        (400, 1, 0.1, 40),
        (400, 1, 0.0, 0),
        (5000, 1, 0.1, 200),
        (1, 100, 0.1, 0),
        (4, 10, 0.1, 0),
        (100, 1, 0.4, 40),
        (133, 6, 0.1, 78),
    ],
)
def test_number_held_out(num_questions: int, repeats: int, share: float, heldout: int) -> None:
    split = split_conversations(rows(num_questions, repeats), share, seed=0)
    assert len(split.heldout) == heldout
    assert len(split.train) + len(split.heldout) == num_questions * repeats


def test_no_question_is_in_both_parts() -> None:
    split = split_conversations(rows(60, 4), 0.1, seed=3)
    assert split.heldout and not keys(split.train) & keys(split.heldout)
    assert split.num_heldout_questions == len(keys(split.heldout)) == 6


def test_choice_depends_on_the_seed_and_not_on_the_order() -> None:
    conversations = rows(300)
    shuffled = random.Random(1).sample(conversations, len(conversations))
    chosen = keys(split_conversations(conversations, 0.1, seed=0).heldout)
    assert keys(split_conversations(shuffled, 0.1, seed=0).heldout) == chosen
    assert keys(split_conversations(conversations, 0.1, seed=1).heldout) != chosen


def test_both_parts_keep_the_file_order() -> None:
    split = split_conversations(rows(100, 2), 0.1, seed=0)
    for part in (split.train, split.heldout):
        assert [c.place.row for c in part] == sorted(c.place.row for c in part)


def test_a_question_asked_too_often_stays_in_training() -> None:
    conversations = [*rows(1, 500), *rows(41)[1:]]
    split = split_conversations(conversations, 0.01, seed=0)
    assert 0 < len(split.heldout) <= 20
    assert "question 0" in keys(split.train)


def test_a_split_made_earlier_counts_its_questions() -> None:
    split = Split.of(rows(5), rows(3, 2))
    assert (len(split.train), len(split.heldout), split.num_heldout_questions) == (5, 6, 3)


def alike(number: int, wording: str) -> Conversation:
    """Questions that say nearly the same in two wordings, and nothing like those of other numbers."""
    words = " ".join(f"{word}{number * 7919 % 9973}" for word in ("parcel", "colour", "station", "winter", "garden"))
    return Conversation((Message("user", words + wording), Message("assistant", "x")), Place("f", number + 1))


def test_questions_that_are_nearly_the_same_stay_together() -> None:
    conversations = [alike(number, wording) for number in range(100) for wording in ("", " y")]
    split = split_conversations(conversations, 0.1, seed=0)
    numbers = [{c.place.row for c in part} for part in (split.train, split.heldout)]
    assert len(split.heldout) == 20 and not numbers[0] & numbers[1]
    shuffled = random.Random(1).sample(conversations, len(conversations))
    assert keys(split_conversations(shuffled, 0.1, seed=0).heldout) == keys(split.heldout)


def test_something_is_held_out_where_all_questions_are_alike() -> None:
    long = "Please tell me how long the delivery takes to my home if I order on a Sunday night, number "
    conversations = [
        Conversation((Message("user", f"{long}{i}"), Message("assistant", "x")), Place("f", i + 1)) for i in range(100)
    ]
    assert len(split_conversations(conversations, 0.1, seed=0).heldout) == 20
