from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.data.shapes.columns import Layout
from postil.data.shapes.drafts import Draft
from postil.data.shapes.formats import read_messages
from postil.data.shapes.record import Reading, Record
from postil.problems import Place

PLACE = Place("a.jsonl", 7)
ONE = [("user", "Q"), ("assistant", "A")]
TWO = [("user", "Q0"), ("assistant", "A0"), *ONE]
SYSTEM = ("system", "S")


def read(fields: dict[str, Any]) -> Reading:
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
        ({"dialog": [{"speaker": "USER", "utterance": "Q"}, {"speaker": "SYSTEM", "utterance": "A"}]}, ONE, "messages"),
        ({"conversation": [["Q0", "A0"], ["Q", "A"]]}, TWO, "conversation"),
        ({"conversation": [["user", "Q"], ["assistant", "A"]]}, ONE, "conversation"),
        ({"dialogue": [{"用户": "Q"}, {"客服": "A"}]}, ONE, "dialogue"),
        ({"dialogue": [{"说话人": "x", "问题": "Q", "答案": "A"}]}, ONE, "dialogue[问题/答案]"),
        (
            {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]},
            ONE,
            None,
        ),
        ({"prompt": {"role": "user", "content": "Q"}, "completion": "A"}, ONE, "prompt/completion"),
        ({"id": 1, "my_own": [{"role": "user", "content": "Q"}, {"role": "bot", "content": "A"}]}, ONE, "messages"),
        ({"instruction": "Q", "output": ["A"]}, ONE, "alpaca"),
        ({"instruction": "Q", "output": "A", "system": [{"type": "text", "text": "S"}]}, [SYSTEM, *ONE], "alpaca"),
        (
            {
                "query": "Q",
                "response": "A",
                "history": [{"role": "user", "content": "Q0"}, {"role": "assistant", "content": "A0"}],
            },
            TWO,
            "query/response",
        ),
    ],
)
def test_shapes(fields: dict[str, Any], expected: list[tuple[str, str]], shape: str | None) -> None:
    reading = read(fields)
    assert reading.problems == ()
    assert [(m.role, m.content) for m in reading.messages] == expected
    assert shape is None or reading.shape == shape
    assert len(reading.origins) == len(reading.messages)


def chat(*turns: tuple[str, Any], **others: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in turns], **others}


@pytest.mark.parametrize(
    ("fields", "codes"),
    [
        ({"question": "Q", "answer": " \n "}, ["missing_answer"]),
        ({"question": "", "answer": None}, ["missing_question", "missing_answer"]),
        ({"question": "Q"}, ["missing_answer"]),
        ({"response": "A"}, ["missing_question"]),
        ({"text": "Q", "source": "A"}, ["unknown_shape"]),
        ({}, ["unknown_shape"]),
        ({"question": "Q", "answer": {"a": 1}}, ["not_text"]),
        ({"question": True, "answer": "A"}, ["not_text"]),
        ({"question": "Q", "answer": "A", "history": "yesterday"}, ["bad_history"]),
        (chat(("user", "Q"), ("assistant", "")), ["empty_message"]),
        (chat(("user", "Q"), ("user", "Q"), ("assistant", "A")), ["wrong_role_order"]),
        (chat(("assistant", "A"), ("user", "Q"), ("assistant", "A")), ["opens_with_assistant"]),
        (chat(("user", "Q"), ("system", "S"), ("assistant", "A")), ["wrong_role_order"]),
        (chat(("system", "S"), ("system", "T"), ("user", "Q"), ("assistant", "A")), ["two_system_messages"]),
        (chat(("user", "Q"), ("assistant", "A"), ("user", "Q")), ["ends_with_user"]),
        (chat(("assistant", "A")), ["no_user_turn"]),
        (chat(), ["no_user_turn"]),
        (chat(("narrator", "Q"), ("assistant", "A")), ["unknown_role"]),
        (chat(("user", [{"type": "image_url", "image_url": "x"}]), ("assistant", "A")), ["not_text"]),
        ({"conversations": ["hello"]}, ["unknown_role"]),
        ({"question": "Q", "answer": ["A", "B"]}, ["several_texts"]),
        ({"text": "<|im_start|>user\nQ<|im_end|>"}, ["chat_markup"]),
        ({"id": 3, "text": "<s>[INST] Q [/INST] A </s>"}, ["chat_markup"]),
        ({"text": "### Instruction:\nQ\n\n### Response:\nA"}, ["chat_markup"]),
        (chat(("user", ""), ("narrator", "x"), ("assistant", "")), ["empty_message", "unknown_role", "empty_message"]),
        (chat(("user", "Q"), ("user", ""), ("assistant", "A")), ["empty_message", "wrong_role_order"]),
    ],
)
def test_bad_records_name_what_is_wrong(fields: dict[str, Any], codes: list[str]) -> None:
    reading = read(fields)
    assert [p.code for p in reading.problems] == codes
    for problem in reading.problems:
        assert problem.severity == "error" and problem.place == PLACE
        assert problem.message and problem.hint


def test_the_path_of_a_problem_leads_to_it() -> None:
    (problem,) = read(chat(("user", "Q"), ("assistant", ""))).problems
    assert (problem.json_path, problem.column) == ("messages[1].content", "messages")
    (problem,) = read({"conversation": [{"input": "Q", "output": ""}]}).problems
    assert problem.json_path == "conversation[0].output"


def test_the_marks_of_a_template_are_named_with_their_model() -> None:
    (problem,) = read({"text": "<|start_header_id|>user"}).problems
    assert problem.values["markup"] == "Llama 3" and problem.column == "text" and "Llama 3" in problem.message


def test_every_message_knows_where_it_stands() -> None:
    turns = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "weight": 1}]
    origins = read({"messages": turns, "system": "S"}).origins
    assert [(o.column, o.json_path) for o in origins] == [
        ("system", "system"),
        ("messages", "messages[0].content"),
        ("messages", "messages[1].content"),
    ]
    origins = read({"query": "Q", "response": "A", "history": [["Q0", "A0"]]}).origins
    assert [o.json_path for o in origins] == ["history[0][0]", "history[0][1]", "query", "response"]


def test_a_chat_put_together_of_rows() -> None:
    drafts = tuple(Draft(r, r, "", "text", place=Place("a.csv", n)) for n, r in enumerate(("user", "assistant"), 2))
    reading = read_messages(Record(Place("a.csv", 2), {}, Layout(reason="by_content"), drafts, (2, 3), 2))
    assert (reading.problems, reading.shape, reading.layout.reason) == ((), "chat", "by_content")
    assert [o.place and o.place.row for o in reading.origins] == [2, 3]
    (problem,) = read_messages(Record(Place("a.csv", 2), {}, turns=drafts[:1])).problems
    assert (problem.code, problem.column) == ("ends_with_user", "text")


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"question": "Q", "answer": "A"}, "qa"),
        ({"query": "Q", "response": "A", "history": [["Q0", "A0"]]}, "chat"),
        (chat(("system", "S"), *ONE), "qa"),
        (chat(*TWO), "chat"),
        ({"text": "Q", "label": "A"}, "classification"),
    ],
)
def test_kinds(fields: dict[str, Any], kind: str) -> None:
    assert read(fields).kind == kind


def test_the_layout_of_the_record_comes_before_its_names() -> None:
    layout = Layout(question="answer", answer="question", reason="mapped", confidence=0.5)
    reading = read_messages(Record(PLACE, {"question": "A", "answer": "Q"}, layout))
    assert [(m.role, m.content) for m in reading.messages] == ONE
    assert reading.layout is layout
    missing = read_messages(Record(PLACE, {"question": "A"}, layout))
    assert [p.code for p in missing.problems] == ["missing_question"]


def test_thinking_beside_an_answer_is_named() -> None:
    turns = chat(*ONE)["messages"]
    turns[1]["reasoning_content"] = "hm"
    reading = read({"messages": turns})
    assert [(p.code, p.severity) for p in reading.problems] == [("thinking_left_out", "warning")]
    assert [(m.role, m.content) for m in reading.messages] == ONE


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
            [
                "messages",
                "conversations",
                "question",
                "answer",
                "history",
                "system",
                "tools",
                "label",
                "input",
                "chosen",
            ]
        ),
        json_values,
    )
)
def test_any_record_is_messages_or_problems(fields: dict[str, Any]) -> None:
    reading = read(fields)
    assert len(reading.origins) == len(reading.messages)
    if any(p.severity == "error" for p in reading.problems):
        assert not reading.messages
    elif reading.kind != "tool_calls" and not any(m.role == "tool" for m in reading.messages):
        roles = [m.role for m in reading.messages if m.role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) and roles
        assert all(m.content.strip() for m in reading.messages)
