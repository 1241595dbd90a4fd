from typing import Any

import pytest

from postil.data.shapes.drafts import Draft, Findings, is_blank
from postil.data.shapes.judging import judge_drafts
from postil.problems import Place, Problem

PLACE = Place("a.jsonl", 7)


def judged(*turns: tuple[str, Any], is_pair: bool = False) -> list[Problem]:
    findings = Findings(PLACE)
    drafts = [
        Draft(role, text, f"messages[{i}].content", "messages", is_pair=is_pair) for i, (role, text) in enumerate(turns)
    ]
    messages, origins = judge_drafts(drafts, findings)
    assert len(messages) == len(origins) and bool(messages) != findings.has_errors
    return findings.problems


Q, A, S, NO_Q, NO_A = ("user", "Q"), ("assistant", "A"), ("system", "S"), ("user", " "), ("assistant", "")


@pytest.mark.parametrize(
    ("turns", "code", "path", "action"),
    [
        ([Q, Q, A], "wrong_role_order", 1, "merge_messages"),
        ([S, Q, A, A, Q, A], "wrong_role_order", 3, "merge_messages"),
        ([A, Q, A], "opens_with_assistant", 0, "drop_opening"),
        ([Q, A, Q, Q], "wrong_role_order", 3, "merge_messages"),
        ([Q, A, S, Q, A], "wrong_role_order", 2, None),
        ([Q, A, Q], "ends_with_user", 2, "drop_last_question"),
        ([S, Q], "ends_with_user", 1, None),
        ([Q, A, NO_Q, NO_A], "empty_message", 2, "drop_empty_messages"),
        ([S, Q, NO_A], "empty_message", 2, None),
        ([Q, NO_A, Q, A], "empty_message", 1, None),
    ],
)
def test_faults_of_order_have_a_fix_where_one_mends_the_row(
    turns: list[tuple[str, str]], code: str, path: int, action: str | None
) -> None:
    problem = judged(*turns)[0]
    assert (problem.code, problem.json_path) == (code, f"messages[{path}].content")
    assert (problem.fix and problem.fix.action) == action
    assert problem.fix is None or (problem.fix.places == (PLACE,) and problem.fix.automatic)


@pytest.mark.parametrize(
    ("roles", "texts"),
    [
        ("uua", ["0\n1", "2"]),
        ("suaau", ["0", "1", "2\n3", "4"]),
        ("uauaa", ["0", "1", "2", "3\n4"]),
    ],
)
def test_messages_of_a_log_are_joined_and_kept_apart_for_the_checks(roles: str, texts: list[str]) -> None:
    names = {"s": "system", "u": "user", "a": "assistant"}
    drafts = [Draft(names[r], str(i), "p", place=Place("a", i)) for i, r in enumerate(roles, start=0)]
    findings = Findings(PLACE)
    messages, origins = judge_drafts(drafts, findings, is_log=True)
    is_whole = roles[-1] == "a"
    assert [m.content for m in messages] == (texts if is_whole else [])
    assert len(origins) == len(messages)
    assert [(m.content, o.place) for m, o in findings.readable] == [(d.content, d.place) for d in drafts]
    assert [p.code for p in findings.problems] == ["messages_joined"] + ([] if is_whole else ["ends_with_user"])


def test_calls_and_what_tools_answer_are_not_joined() -> None:
    call = [{"function": {"name": "f", "arguments": "{}"}}]
    drafts = [Draft("user", "Q", "p"), Draft("assistant", "", "p", calls=call), Draft("tool", "1", "p")]
    findings = Findings(PLACE)
    messages, _ = judge_drafts([*drafts, Draft("assistant", "A", "p")], findings, is_log=True)
    assert [m.role for m in messages] == ["user", "assistant", "tool", "assistant"]
    assert (findings.problems, findings.readable) == ([], ())


@pytest.mark.parametrize(
    ("turns", "is_pair", "found"),
    [
        ([Q, ("assistant", "[图片]")], False, [(1, "drop_stand_ins")]),
        ([Q, ("assistant", "[图片]")], True, [(1, "drop_row")]),
        ([("user", "<Media omitted>"), A], False, [(0, "drop_stand_ins")]),
        ([("user", "<Media omitted>"), A], True, []),
        ([Q, ("assistant", "[图片] 这样用")], False, []),
        ([("system", "[图片]"), Q, A], False, []),
    ],
)
def test_what_only_stands_for_media_is_told(
    turns: list[tuple[str, str]], is_pair: bool, found: list[tuple[int, str]]
) -> None:
    problems = judged(*turns, is_pair=is_pair)
    assert [(p.code, p.severity) for p in problems] == [("media_stand_in", "warning")] * len(found)
    assert [(p.json_path, p.fix and p.fix.action) for p in problems] == [
        (f"messages[{i}].content", action) for i, action in found
    ]


def test_pairs_are_not_mended_by_leaving_messages_out() -> None:
    assert [(p.code, p.fix) for p in judged(Q, A, NO_Q, NO_A, is_pair=True)] == [
        ("missing_question", None),
        ("missing_answer", None),
    ]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    problems = judged(("user", {"a": 1}), Q, ("assistant", ""))
    assert [p.code for p in problems] == ["not_text", "empty_message", "wrong_role_order"]


def test_problems_of_a_message_stand_where_it_does() -> None:
    findings = Findings(PLACE)
    judge_drafts([Draft("user", "Q", "", "text", place=Place("a.csv", 9))], findings)
    judge_drafts([Draft("x", "", "")], findings)
    assert [p.place for p in findings.problems] == [Place("a.csv", 9), PLACE]


def test_speakers_called_user_and_system() -> None:
    findings = Findings(PLACE)
    messages, _ = judge_drafts([Draft(r, r, "p") for r in ("user", "system", "user", "system")], findings)
    assert [m.role for m in messages] == ["user", "assistant", "user", "assistant"]


@pytest.mark.parametrize("value", [None, "", " \n", [], [None], [{"type": "text", "text": " "}], {}])
def test_nothing_is_blank(value: Any) -> None:
    assert is_blank(value)


@pytest.mark.parametrize("value", [0, False, "x", ["x"], [{"type": "text", "text": "x"}], {"a": 1}])
def test_something_is_not_blank(value: Any) -> None:
    assert not is_blank(value)
