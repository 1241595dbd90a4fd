import random
import time

import pytest

from postil.data.checks.near_duplicates import SAME, NearDuplicates
from postil.data.conversations import Message

ANSWER = "You can return it within 30 days of delivery; open the order page and press return."
CHINESE = "在订单页面点击退货，七天内可以无理由退货，运费由我们承担。"


def near(*rows: tuple[str, str], max_rows: int = 1000) -> list[tuple[int, int]]:
    found = NearDuplicates(max_rows)
    for question, answer in rows:
        found.add((Message("system", "s"), Message("user", question), Message("assistant", answer)))
    return [(row, first) for row, first, _ in found.pairs()]


def grams(text: str) -> set[str]:
    letters = "".join(c for c in text.casefold() if c.isalnum())
    return {letters[i : i + 3] for i in range(len(letters) - 2)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("How do I return it?", ANSWER), ("how do I return it", ANSWER.replace("30", "31"))),
        (("How do I return it?", ANSWER), ("How do I return it, please?", ANSWER)),
        (("怎么退货", CHINESE), ("怎么退货？", CHINESE.replace("，", ","))),
        (("ＡＢＣ　退货", CHINESE), ("abc退货", CHINESE)),
    ],
)
def test_nearly_the_same(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert near(("x", "y"), one, other) == [(2, 1)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("How do I return it?", ANSWER), ("What is the way to send things back?", ANSWER)),  # useful: another wording
        (("怎么退货", CHINESE), ("如何退货", CHINESE)),
        (
            ("Is the blue one in stock at your shop today?", "yes"),
            ("Is the blue one in stock at your shop today?", "no"),
        ),
        (("a", "b"), ("a", "c")),
        (("", "."), ("x", "")),
    ],
)
def test_not_the_same(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert near(one, other) == []


def test_every_later_row_names_an_earlier_one_and_those_beyond_the_limit_are_not_seen() -> None:
    rows = [("How do I return it?", ANSWER + " " * i) for i in range(6)]
    found = near(*rows)
    assert [row for row, _ in found] == [1, 2, 3, 4, 5] and all(first < row for row, first in found)
    assert near(*rows, max_rows=3) == [(1, 0), (2, 0)]
    assert near() == near(("a", "b")) == []


@pytest.mark.parametrize(
    ("num_words", "sure_from", "none_below"),
    [(20, SAME, 0.89), (40, SAME, 0.89), (120, 0.92, 0.87)],  # answers of more than 256 runs are compared by samples
)
def test_what_is_found_agrees_with_the_sets_themselves(num_words: int, sure_from: float, none_below: float) -> None:
    """Rows with small changes among others with larger ones: 99 in 100 above the limit are found, none below."""
    rng = random.Random(5)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randrange(3, 9))) for _ in range(3000)]
    rows: list[tuple[str, str]] = []
    for _ in range(400):
        question, answer = (rng.choices(words, k=k) for k in (12, num_words))
        rows.append((" ".join(question), " ".join(answer)))
        for index in rng.sample(range(num_words), rng.randrange(1, num_words // 8 + 1)):
            answer[index] = rng.choice(words)
        rows.append((" ".join(question), " ".join(answer)))
    rng.shuffle(rows)
    found = {frozenset(pair) for pair in near(*rows)}
    true = similarities(rows)
    wanted = {pair for pair, similarity in true.items() if similarity >= sure_from}
    assert 50 < len(wanted) < 350
    assert len(found & wanted) >= 0.99 * len(wanted)
    assert all(true.get(pair, 0) > none_below for pair in found)


def similarities(rows: list[tuple[str, str]]) -> dict[frozenset[int], float]:
    """Jaccard similarity of every two rows with the same question."""
    by_question: dict[str, list[int]] = {}
    for i, (question, _) in enumerate(rows):
        by_question.setdefault(question, []).append(i)
    found: dict[frozenset[int], float] = {}
    for one, other in by_question.values():
        sets = [{("q", g) for g in grams(rows[i][0])} | {("a", g) for g in grams(rows[i][1])} for i in (one, other)]
        found[frozenset((one, other))] = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
    return found


def characters(rng: random.Random, count: int) -> str:
    return "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(count))


def test_long_answers_are_compared_whatever_their_lengths() -> None:
    """Samples of sets of other sizes hold other ranges of hashes; here the sizes pass through several of them."""
    rng = random.Random(3)
    rows: list[tuple[str, str]] = []
    for length in range(900, 1100, 10):
        question, answer = characters(rng, 12), characters(rng, length)
        rows += [(question, answer), (question, answer + characters(rng, length // 25))]
    assert near(*rows) == [(n + 1, n) for n in range(0, len(rows), 2)]


def test_very_long_answers_that_differ_are_told_apart() -> None:
    rng = random.Random(4)
    rows: list[tuple[str, str]] = []
    for _ in range(4):
        question, answer = characters(rng, 12), characters(rng, 30_000)
        rows += [(question, answer), (question, answer + characters(rng, 5_000))]  # 86 in 100 are the same
    assert near(*rows) == []


def test_rows_of_many_runs_take_no_more_memory_than_is_said() -> None:
    found = NearDuplicates()
    rng = random.Random(1)
    for _ in range(20):
        question, answer = ("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=k)) for k in (500, 5000))
        found.add((Message("user", question), Message("assistant", answer)))
    found.pairs()
    arrays = (found._signatures, found._samples, found._shifts, found._sizes, found._kept)
    assert sum(len(array) * array.itemsize for array in arrays) <= 20 * 850


def test_the_same_rows_give_the_same_answer() -> None:
    rows = [(f"How do I return item {i % 50}?", f"{ANSWER} It costs {i % 7}.") for i in range(500)]
    assert near(*rows) == near(*rows)
    assert len(near(*rows)) > 400


def test_many_rows_of_one_pattern_take_no_time() -> None:
    rng = random.Random(0)
    rows = [
        (
            f"Where is order {rng.randrange(10**9)} now?",
            f"It left on day {rng.randrange(10**6)}, parcel {rng.random()}.",
        )
        for _ in range(20_000)
    ]
    started = time.process_time()
    near(*rows, max_rows=20_000)
    assert time.process_time() - started < 20
