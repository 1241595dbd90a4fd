from typing import Any

import pytest

from postil.data.options import ReadOptions
from postil.data.shapes.columns import mapped_layout
from postil.data.shapes.formats import read_messages
from postil.data.shapes.json_records import json_records
from postil.data.shapes.record import Record
from postil.problems import Place, Problem

ROW = {"question": "q", "answer": "a"}
CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def records(*values: Any, columns: dict[Any, str] | None = None) -> list[Record | Problem]:
    numbered = (v if isinstance(v, Problem) else (n, v) for n, v in enumerate(values, start=1))
    return list(json_records("a.json", iter(numbered), ReadOptions(columns=columns or {})))


def said(items: list[Record | Problem]) -> list[Any]:
    """(row, texts) of records, (row, code) of problems."""
    return [
        (item.place.row, item.code)
        if isinstance(item, Problem)
        else (item.place.row, *(m.content for m in read_messages(item).messages))
        for item in items
    ]


def test_objects_are_records_as_they_stand() -> None:
    broken = Problem("broken_json", "error", Place("a.json", 2))
    assert records(ROW, broken, {}) == [Record(Place("a.json", 1), ROW), broken, Record(Place("a.json", 3), {})]
    assert records() == []
    assert said(records(broken)) == [(2, "broken_json")]


@pytest.mark.parametrize("value", ["text", 3, None, [], ["q"], ["q", "a", "b"], ["q", 1], [ROW]])
def test_other_entries_are_named(value: Any) -> None:
    assert said(records(ROW, value)) == [(1, "q", "a"), (2, "not_an_object")]


def test_pairs_and_message_lists() -> None:
    items = records(["How?", "So."], ["q2", "a2"], CHAT)
    assert said(items) == [(1, "How?", "So."), (2, "q2", "a2"), (3, "q", "a")]
    assert {i.layout.reason for i in items if isinstance(i, Record) and i.layout} == {"structure"}
    assert said(records(["question", "answer"], ["q2", "a2"])) == [(2, "q2", "a2")]


@pytest.mark.parametrize("name", ["data", "train", "records", "常见问题"])
@pytest.mark.parametrize("items", [[ROW, ROW], [["q", "a"], ["q", "a"]], [CHAT, CHAT], [{"messages": CHAT}] * 2])
def test_an_object_that_holds_the_records(name: str, items: list[Any]) -> None:
    found = records({"version": "1", "tags": ["x"], name: items})
    assert said(found) == [(1, "q", "a"), (2, "q", "a")]
    assert all(isinstance(i, Record) and i.layout and i.layout.reason == "structure" for i in found)


def test_turn_names_may_hold_records_too() -> None:
    assert said(records({"conversations": [{"messages": CHAT}, {"messages": CHAT}]})) == [(1, "q", "a"), (2, "q", "a")]


@pytest.mark.parametrize(
    "value",
    [
        {"messages": CHAT},
        {"conversation": [{"input": "q", "output": "a"}]},
        {"id": 1, "utterances": [{"speaker": "USER", "text": "q"}, {"speaker": "ASSISTANT", "text": "a"}]},
        {"prompt": CHAT[:1], "completion": CHAT[1:]},
        {"anything": CHAT},
        {"question": "q", "answer": "a", "sources": [{"url": "x"}, {"url": "y"}]},
    ],
)
def test_one_dialogue_is_one_record(value: dict[str, Any]) -> None:
    assert said(records(value)) == [(1, "q", "a")]


def test_several_lists_are_read_but_not_what_is_held_back() -> None:
    assert said(records({"shipping": [ROW], "returns": [ROW, ROW]})) == [(n, "q", "a") for n in (1, 2, 3)]
    assert said(records({"train": [ROW], "test": [ROW, ROW]})) == [(0, "held_back_list"), (1, "q", "a")]
    assert said(records({"test": [ROW]})) == [(1, "q", "a")]


def test_questions_as_names() -> None:
    found = records({"怎么退货？": "七天内。", "How long?": "Two days.", "Is it free?": "Yes."})
    assert said(found) == [(1, "怎么退货？", "七天内。"), (2, "How long?", "Two days."), (3, "Is it free?", "Yes.")]
    assert isinstance(found[0], Record) and found[0].layout
    assert (found[0].layout.reason, found[0].layout.confidence < 0.9) == ("structure", True)


@pytest.mark.parametrize(
    "value", [{"name": "x", "version": "1", "author": "y"}, {"How?": "So."}, {"a b": "x", "c d": 1, "e f": "y"}]
)
def test_other_objects_are_not_taken_for_questions(value: dict[str, Any]) -> None:
    (record,) = records(value)
    assert isinstance(record, Record) and record.fields == value


def test_messages_as_entries_are_put_together_by_session() -> None:
    rows = [{"session_id": s, "role": r, "content": c} for s, r, c in [(1, "user", "q"), (2, "user", "q2")]]
    rows += [{"session_id": s, "role": "assistant", "content": c} for s, c in [(2, "a2"), (1, "a")]]
    found = records(*rows)
    assert said(found) == [(1, "q", "a"), (2, "q2", "a2")]
    first = found[0]
    assert isinstance(first, Record) and (first.rows, first.num_rows) == ((1, 4), 2)
    assert [o.place and o.place.row for o in read_messages(first).origins] == [1, 4]


def test_messages_without_session_are_one_chat() -> None:
    assert said(records(*CHAT, *CHAT)) == [(1, "q", "a", "q", "a")]
    assert said(records(*CHAT, "x")) == [(3, "not_a_message"), (1, "q", "a")]


@pytest.mark.parametrize(
    ("speaker", "content", "asks", "answers"),
    [
        ("sender_type", "body", "customer", "agent"),
        ("sender_type", "body", "End-User", "Support"),
        ("direction", "body", "in", "out"),
        ("direction", "text", "Inbound", "outbound-api"),
        ("direction", "message", "incoming", "outgoing"),
        ("sender", "content", "张三", "客服小美"),
        ("sender", "content", "tom", "暖光旗舰店:小美"),
    ],
)
def test_messages_tell_who_speaks_in_many_ways(speaker: str, content: str, asks: str, answers: str) -> None:
    names = [asks, answers, asks, asks, answers]
    found = records(*({speaker: name, content: str(i)} for i, name in enumerate(names)))
    assert said(found) == [(1, "0", "1", "2\n3", "4")]


def test_messages_are_ordered_by_time() -> None:
    stamped = [{**CHAT[1], "time": "2024-05-01 10:05"}, {**CHAT[0], "time": "2024-05-01 10:01"}]
    assert said(records(*stamped)) == [(1, "q", "a")]
    assert said(records(*({**row, "time": t} for row, t in zip(CHAT, ("10:5", "9:30"), strict=True)))) == [
        (1, "q", "a")
    ]


def test_what_the_user_says_comes_first() -> None:
    row = {"Foo": "q", "bar": "a", "question": "x", "answer": "y"}
    found = records(row, {"answer": "y", "question": "x"}, columns={"question": "foo", "answer": "bar"})
    assert said(found) == [(1, "q", "a"), (2, "x", "y")]
    assert isinstance(found[0], Record) and found[0].layout and found[0].layout.reason == "mapped"


@pytest.mark.parametrize(
    ("names", "columns", "expected"),
    [
        (("instruction", "input", "output", "x"), {"answer": "x"}, ("instruction", "x", "input")),
        (("instruction", "input", "output", "x"), {"question": "x"}, ("x", "output", None)),
        (("instruction", "input", "output"), {"question": "input"}, ("input", "output", None)),
        (("a", "b"), {"question": "b", "answer": "a"}, ("b", "a", None)),
        (("问题", "备注", "回复"), {"answer": "备注"}, ("问题", "备注", None)),
        (("messages", "q2", "a2"), {"question": "q2", "answer": "a2"}, ("q2", "a2", None)),
    ],
)
def test_mapped_layouts(names: tuple[str, ...], columns: dict[Any, str], expected: tuple[str | None, ...]) -> None:
    layout = mapped_layout(names, columns)
    assert (layout.question, layout.answer, layout.extra_input) == expected
    assert (layout.turns, layout.ignored_pairs, layout.reason) == ((), (), "mapped")


def test_a_chat_can_be_mapped() -> None:
    row = {"turn_list": [{"author_name": "x"}], "log": CHAT, "question": "x", "answer": "y"}
    assert said(records(row, columns={"content": "log"})) == [(1, "q", "a")]


PEOPLE = [("U1", "How?"), ("U2", "So."), ("U1", "And where?"), ("U2", "There.")]


@pytest.mark.parametrize(("speaker", "content"), [("user", "text"), ("author", "body"), ("sender", "message")])
def test_a_few_people_in_turns_are_a_chat(speaker: str, content: str) -> None:
    guess, *read = records(*({speaker: name, content: text, "type": "message"} for name, text in PEOPLE))
    assert isinstance(guess, Problem) and guess.code == "speakers_guessed"
    assert (guess.values["user"], guess.values["assistant"]) == ("U1", "U2")
    assert said(read) == [(1, "How?", "So.", "And where?", "There.")]


@pytest.mark.parametrize("names", ["AAABBBCCC", "ABCDEFABCDEF"])
def test_what_several_people_wrote_is_no_chat(names: str) -> None:
    items = records(*({"user": f"Mr {name}", "text": f"Some text {i}."} for i, name in enumerate(names)))
    assert [item.place.row for item in items] == [*range(1, len(names) + 1)]
    assert all(isinstance(item, Record) and not item.turns for item in items)


@pytest.mark.parametrize("more", [{}, {"sentiment": "good"}])
def test_many_who_speak_once_are_no_chat(more: dict[str, str]) -> None:
    names = ["Tom", "Ann"] * 3 if more else ["Tom", "Ann", "Bob", "Tim", "Zoe"]
    items = records(*({"author": name, "text": f"Some text {i}.", **more} for i, name in enumerate(names[:5])))
    assert [item.place.row for item in items] == [1, 2, 3, 4, 5]
    assert all(isinstance(item, Record) and not item.turns for item in items)


def test_a_list_of_messages_of_people_is_a_chat() -> None:
    messages = [{"from": name, "text": ["", {"type": "bold", "text": text}]} for name, text in PEOPLE]
    (record,) = records({"name": "Shop", "messages": messages})
    assert isinstance(record, Record)
    reading = read_messages(record)
    assert [(m.role, m.content) for m in reading.messages] == [
        ("user" if name == "U1" else "assistant", text) for name, text in PEOPLE
    ]
    assert [p.code for p in reading.problems] == ["speakers_guessed"]


@pytest.mark.parametrize("name", ["wizard", "gtp"])
def test_a_role_that_is_none_is_no_name(name: str) -> None:
    (record,) = records({"messages": [{"role": "user", "content": "q"}, {"role": name, "content": "a"}]})
    assert isinstance(record, Record)
    assert [p.code for p in read_messages(record).problems] == ["unknown_role"]


def test_who_speaks_may_be_an_object_and_notes_are_internal() -> None:
    comments = [
        {"author": {"name": "Anna", "role": "end-user"}, "public": True, "body": "How?"},
        {"author": {"name": "Tom", "role": "agent"}, "public": True, "body": "So."},
        {"author": {"name": "Tom", "role": "agent"}, "public": False, "body": "annoying"},
    ]
    (record,) = records({"id": 1, "comments": comments})
    assert isinstance(record, Record)
    reading = read_messages(record)
    assert [m.content for m in reading.messages] == ["How?", "So."]
    (note,) = reading.problems
    assert (note.code, note.severity, note.json_path, note.excerpt) == (
        *("internal_note", "warning", "comments[2].body", "annoying"),
    )
