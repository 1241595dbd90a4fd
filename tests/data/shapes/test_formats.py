from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.data.shapes.formats import read_messages
from postil.data.records import Record
from postil.problems import Place

PLACE = Place("a.jsonl", 7)
ONE = [("user", "Q"), ("assistant", "A")]
TWO = [("user", "Q0"), ("assistant", "A0"), *ONE]
SYSTEM = ("system", "S")


def read(fields: dict[str, Any]) -> Any:
    return read_messages(Record(PLACE, fields))


@pytest.mark.parametrize(
    ("fields", "expected", "shape"),
    [
        ({"instruction": "Q", "response": "A"}, ONE, "instruction/response"),
        ({"instruction": "Q", "input": "", "output": "A"}, ONE, "alpaca"),
        ({"instruction": "Q", "input": "I", "output": "A"}, [("user", "Q\nI"), ("assistant", "A")], "alpaca"),
        ({"instruction": "", "input": "Q", "output": "A"}, ONE, "alpaca"),
        (
            {"instruction": "Q", "output": "A", "system": "S", "history": [["Q0", "A0"]]},
            [SYSTEM, *TWO],
            "alpaca",
        ),
        ({"query": "Q", "response": "A", "history": '[["Q0", "A0"]]', "system": " "}, TWO, "query/response"),
        ({"query": "Q", "response": "A", "history": []}, ONE, "query/response"),
        ({"prompt": "Q", "completion": "A"}, ONE, "prompt/completion"),
        ({"Question": "Q", "ANSWER": "A", "category": "x"}, ONE, "Question/ANSWER"),
        ({"问题": "Q", "答案": "A", "系统": "S"}, [SYSTEM, *ONE], "问题/答案"),
        ({"input": "Q", "output": "A"}, ONE, "input/output"),
        (
            {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "system": "S"},
            [SYSTEM, *ONE],
            "sharegpt",
        ),
        (
            {"conversation": [{"from": "user", "content": "Q"}, {"from": "assistant", "content": "A"}]},
            ONE,
            "sharegpt",
        ),
        (
            {"conversations": [{"role": "system", "content": "S"}, *({"role": r, "content": c} for r, c in ONE)]},
            [SYSTEM, *ONE],
            "messages",
        ),
        (
            {
                "messages": [
                    {"role": "developer", "content": "S"},
                    {"role": "user", "content": [{"type": "text", "text": "Q"}]},
                    {"role": "assistant", "content": ["", {"type": "text", "value": "A"}]},
                ]
            },
            [SYSTEM, *ONE],
            "messages",
        ),
        ({"messages": '[{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]'}, ONE, "messages"),
        (
            {"conversation": [{"system": "S", "input": "Q0", "output": "A0"}, {"input": "Q", "output": "A"}]},
            [SYSTEM, *TWO],
            "conversation[input/output]",
        ),
        (
            {
                "conversation": [
                    {"system": "S", "input": "Q0", "output": "A0"},
                    {"system": "S", "input": "Q", "output": "A"},
                ]
            },
            [SYSTEM, *TWO],
            "conversation[input/output]",
        ),
        (
            {"conversation": [{"human": "Q0", "assistant": "A0"}, {"human": "Q", "assistant": "A"}], "system": ""},
            TWO,
            "conversation[human/assistant]",
        ),
        ({"utterances": [{"speaker": "USER", "text": "Q"}, {"speaker": "ASSISTANT", "text": "A"}]}, ONE, "messages"),
    ],
)
def test_shapes(fields: dict[str, Any], expected: list[tuple[str, str]], shape: str) -> None:
    reading = read(fields)
    assert reading.problems == ()
    assert [(m.role, m.content) for m in reading.messages] == expected
    assert reading.shape == shape


def chat(*turns: tuple[str, Any], **others: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **others}


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({"question": "Q", "answer": " \n "}, ["missing_answer"]),
        ({"question": "", "answer": None}, ["missing_question", "missing_answer"]),
        ({"question": "Q"}, ["missing_answer"]),
        ({"response": "A"}, ["missing_question"]),
        ({"text": "Q", "label": "A"}, ["unknown_shape"]),
        ({}, ["unknown_shape"]),
        ({"question": "Q", "answer": {"a": 1}}, ["not_text"]),
        ({"question": True, "answer": "A"}, ["not_text"]),
        ({"question": "Q", "answer": "A", "history": "yesterday"}, ["bad_history"]),
        (chat(("user", "Q"), ("assistant", "")), ["empty_message"]),
        (chat(("user", "Q"), ("user", "Q"), ("assistant", "A")), ["wrong_role_order"]),
        (chat(("assistant", "A"), ("user", "Q"), ("assistant", "A")), ["wrong_role_order"]),
        (chat(("user", "Q"), ("system", "S"), ("assistant", "A")), ["wrong_role_order"]),
        (chat(("system", "S"), ("system", "T"), ("user", "Q"), ("assistant", "A")), ["two_system_messages"]),
        (chat(("user", "Q"), ("assistant", "A"), ("user", "Q")), ["ends_with_user"]),
        (chat(("assistant", "A")), ["no_user_turn"]),
        (chat(), ["no_user_turn"]),
        (chat(("narrator", "Q"), ("assistant", "A")), ["unknown_role"]),
        (chat(("user", [{"type": "image_url", "image_url": "x"}]), ("assistant", "A")), ["not_text"]),
        (chat(("user", "Q"), ("tool", "T"), ("assistant", "A")), ["tool_call"]),
        (chat(("user", "Q"), ("assistant", "A"), tools='[{"name": "f"}]'), ["tool_call"]),
        (chat(("user", "Q"), ("assistant", "A"), label=True), ["preference_data"]),
        ({"conversations": ["hello"]}, ["unknown_role"]),
        ({"prompt": "Q", "chosen": "A", "rejected": "B"}, ["preference_data"]),
        ({"instruction": "Q", "chosen": "A"}, ["preference_data"]),
        ({"question": "Q", "answer": "A", "rejected_response": "B"}, ["preference_data"]),
    ],
)
def test_bad_records_name_what_is_wrong(fields: dict[str, Any], codes: list[str]) -> None:
    reading = read(fields)
    assert [p.code for p in reading.problems] == codes
    for problem in reading.problems:
        assert problem.severity == "error" and problem.place == PLACE
        assert problem.message and problem.hint


def test_tools_that_are_empty_are_no_tools() -> None:
    assert read(chat(("user", "Q"), ("assistant", "A"), tools="[]")).problems == ()


def test_a_tool_call_beside_the_content_is_found() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    assert [p.code for p in read({"messages": [{"role": "user", "content": "Q"}, call]}).problems] == ["tool_call"]


def test_the_path_of_a_problem_leads_to_it() -> None:
    (problem,) = read(chat(("user", "Q"), ("assistant", ""))).problems
    assert (problem.json_path, problem.column) == ("messages[1].content", "messages")
    (problem,) = read({"conversation": [{"input": "Q", "output": ""}]}).problems
    assert problem.json_path == "conversation[0].output"


def test_content_is_kept_byte_for_byte() -> None:
    reading = read({"question": " Q \n", "answer": "\tA  "})
    assert [m.content for m in reading.messages] == [" Q \n", "\tA  "]


@pytest.mark.parametrize(("value", "weight"), [(0, 0), (1, 1), (0.0, 0), (1.0, 1), (False, 0), (None, 1)])
def test_weights(value: Any, weight: int) -> None:
    turns = [*chat(("user", "Q"), ("assistant", "A"), ("user", "Q"), ("assistant", "B"))["messages"]]
    turns[1]["weight"] = value
    turns[0]["weight"] = 0
    assert [m.weight for m in read({"messages": turns}).messages] == [1, weight, 1, 1]


def test_weights_that_cannot_train() -> None:
    turns = chat(("user", "Q"), ("assistant", "A"))["messages"]
    turns[1]["weight"] = 0.5
    assert [p.code for p in read({"messages": turns}).problems] == ["bad_weight"]
    turns[1]["weight"] = 0
    assert [p.code for p in read({"messages": turns}).problems] == ["nothing_to_learn"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "from", "value", "text", "type", "input", "output", "weight"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["messages", "conversations", "question", "answer", "history", "system", "tools", "label", "input"]
        ),
        json_values,
    )
)
def test_any_record_is_messages_or_problems(fields: dict[str, Any]) -> None:
    reading = read(fields)
    if not reading.problems:
        roles = [m.role for m in reading.messages if m.role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) and roles
        assert all(m.content.strip() for m in reading.messages)
