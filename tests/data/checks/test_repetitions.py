from collections.abc import Sequence

from postil.data.checks.repetitions import MOST_PASSAGES, Fingerprints, find_repetitions, row_beside
from postil.data.conversations import Message, ToolCall
from postil.problems import ADDED, Place, Problem


def pair(question: str, answer: str, system: str = "") -> tuple[Message, ...]:
    before = (Message("system", system),) if system else ()
    return (*before, Message("user", question), Message("assistant", answer))


def remembered(*conversations: Sequence[Message]) -> Fingerprints:
    fingerprints = Fingerprints()
    for row, messages in enumerate(conversations, start=2):
        fingerprints.add(messages, Place("a.csv", row))
    return fingerprints


def problems(fingerprints: Fingerprints, near: Sequence[tuple[int, int, float]] = ()) -> list[Problem]:
    def excerpts(indices: Sequence[int]) -> dict[int, tuple[str, str]]:
        return {i: (f"text {i}", f"answer {i}") for i in indices}

    return list(find_repetitions(fingerprints, excerpts, near))


def test_repeats_name_the_first_and_go_by_themselves() -> None:
    found = problems(remembered(pair("q", "a"), pair("r", "b"), pair("q", "a"), pair("q", "a")))
    assert [(p.code, p.place.row, p.values, p.excerpt) for p in found] == [
        ("duplicate", 4, {"first": "2"}, "text 2"),
        ("duplicate", 5, {"first": "2"}, "text 3"),
    ]
    assert found[0].fix and found[0].fix.automatic and found[0].fix.places == (Place("a.csv", 4),)


def test_conflicts_keep_the_first_answer_when_asked() -> None:
    found = problems(
        remembered(pair("How?", "x"), pair("how", " x "), pair("HOW ？", "y"), pair("how", "y"), pair("w", "z"))
    )
    assert [(p.code, p.place.row, p.values) for p in found] == [
        ("conflicting_answers", 2, {"answers": 2, "rows": "2, 4"})
    ]
    fix = found[0].fix
    assert fix and not fix.automatic and [p.row for p in fix.places] == [4, 5]
    assert [(p.place.row, p.text) for p in found[0].passages] == [(row, f"answer {row - 2}") for row in (2, 3, 4, 5)]


def test_of_many_answers_some_are_shown_the_last_among_them() -> None:
    found = problems(remembered(*(pair("How?", str(i)) for i in range(30))))[0]
    rows = [p.place.row for p in found.passages]
    assert len(rows) == MOST_PASSAGES and rows[0] == 2 and rows[-1] == 31


def test_what_was_added_by_hand_wins_the_newest_first() -> None:
    fingerprints = Fingerprints()
    places = [Place("a.csv", 2), Place("a.csv", 3), Place("a.csv", 4), Place(ADDED, 2), Place(ADDED, 5)]
    answers = ("old", "newest", "old", "newer", "newest")
    for place, answer in zip(places, answers, strict=True):
        fingerprints.add(pair("How?", answer), place)
    fix = next(p.fix for p in problems(fingerprints) if p.code == "conflicting_answers")
    assert fix and fix.action == "keep_added_answer" and not fix.automatic
    assert fix.places == (places[0], places[2], places[3])


def test_another_system_message_is_another_question() -> None:
    assert not problems(remembered(pair("q", "a", "S"), pair("q", "b", "T"), pair("q", "c")))


def test_tool_calls_tell_conversations_apart() -> None:
    def calling(city: str) -> tuple[Message, ...]:
        call = Message("assistant", "", tool_calls=(ToolCall("weather", {"city": city}),))
        return (Message("user", "q"), call, Message("tool", "{}"), Message("assistant", "Fine."))

    assert [p.code for p in problems(remembered(calling("Rome"), calling("Oslo"), calling("Rome")))] == ["duplicate"]


def test_near_pairs_that_ask_the_same_are_left_to_the_others() -> None:
    fingerprints = remembered(pair("q", "a"), pair("Q!", "b"), pair("r", "b"))
    found = problems(fingerprints, [(1, 0, 0.95), (2, 1, 0.935)])
    assert [(p.code, p.place.row, p.values) for p in found if p.code == "near_duplicate"] == [
        ("near_duplicate", 4, {"first": "3", "percent": 93})
    ]
    assert not next(p.fix.automatic for p in found if p.fix and p.code == "near_duplicate")


def test_places_come_back_whole() -> None:
    fingerprints = Fingerprints()
    places = [
        Place("a.xlsx", 7, "Sheet 1"),
        Place("a.xlsx", 1_048_576, "二"),
        Place("b.csv", 3),
        Place("a.xlsx", 8, "二"),
    ]
    for place in places:
        fingerprints.add(pair("q", "a"), place)
    assert [fingerprints.place(i) for i in range(4)] == places


def test_rows_are_named_with_their_sheet_or_file() -> None:
    here = Place("a.xlsx", 3, "s")
    assert row_beside(Place("a.xlsx", 2, "s"), here) == "2"
    assert row_beside(Place("a.xlsx", 2, "t"), here) == "t:2"
    assert row_beside(Place("b.csv", 2), here) == "b.csv:2"
