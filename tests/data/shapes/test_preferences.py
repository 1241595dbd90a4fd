from typing import Any

import pytest

from postil.data.shapes.formats import read_messages
from postil.data.shapes.record import Reading, Record
from postil.problems import Place

Q = {"role": "user", "content": "Q"}
A = {"role": "assistant", "content": "good"}
B = {"role": "assistant", "content": "bad"}
SYSTEM = {"role": "system", "content": "S"}


def read(fields: dict[str, Any]) -> Reading:
    return read_messages(Record(Place("a.json", 1), fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "Q", "chosen": "good", "rejected": "bad"},
        {"instruction": "Q", "instruction_paraphrased": "P", "chosen": "good", "reject": "bad"},
        {"instruction": "Q", "input": "", "chosen": "good", "rejected": "bad"},
        {"question": "Q", "answer": "good", "rejected_response": "bad"},
        {"prompt": "Q", "chosen": [Q, A], "rejected": [Q, B]},
        {"prompt": [Q], "chosen": [A], "rejected": [B]},
        {"chosen": [Q, A], "rejected": [Q, B]},
        {"messages": [Q, A], "rejected_response": "bad"},
        {"messages": [Q], "chosen": A, "rejected": B},
        {"messages": [Q], "chosen": "good", "rejected": "bad"},
        {
            "conversations": [{"from": "human", "value": "Q"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        {"input": {"messages": [Q], "tools": []}, "preferred_output": [A], "non_preferred_output": [B]},
        {"chosen": "\n\nHuman: Q\n\nAssistant: good", "rejected": "\n\nHuman: Q\n\nAssistant: bad"},
        {"prompt": "Q", "chosen": "good"},
    ],
)
def test_the_chosen_side_is_the_answer(fields: dict[str, Any]) -> None:
    reading = read(fields)
    assert (reading.problems, reading.kind, reading.is_rejected) == ((), "preference", False)
    assert [(m.role, m.content) for m in reading.messages] == [("user", "Q"), ("assistant", "good")]
    assert len(reading.origins) == 2
    assert "reject" not in str(reading.origins) and "bad" not in str(reading.messages)


def test_system_and_history_stay_before_the_chosen_answer() -> None:
    fields = {"system": "S", "history": [["Q0", "A0"]], "prompt": "Q", "chosen": "good", "rejected": "bad"}
    assert [m.content for m in read(fields).messages] == ["S", "Q0", "A0", "Q", "good"]
    turns = read({"prompt": "other", "chosen": [SYSTEM, Q, A], "rejected": [SYSTEM, Q, B]}).messages
    assert [m.content for m in turns] == ["S", "Q", "good"]


def test_a_chat_of_marked_turns_has_all_its_turns() -> None:
    text = "\n\nHuman: Q0\nmore\n\nAssistant: A0\n\nstill A0\n\nHuman: Q\n\nAssistant: good"
    reading = read({"chosen": text, "rejected": text.replace("good", "bad")})
    assert [m.content for m in reading.messages] == ["Q0\nmore", "A0\n\nstill A0", "Q", "good"]


@pytest.mark.parametrize(
    ("fields", "is_rejected"),
    [
        ({"messages": [Q, A], "label": True}, False),
        ({"messages": [Q, B], "label": False}, True),
        ({"prompt": "Q", "completion": "bad", "label": False}, True),
        ({"prompt": [Q], "completion": [B], "label": False}, True),
        ({"instruction": "Q", "output": "bad", "kto_tag": False}, True),
        ({"instruction": "Q", "output": "bad", "kto_tag": 0}, True),
        ({"instruction": "Q", "output": "good", "kto_tag": "TRUE"}, False),
        ({"question": "Q", "answer": "bad", "label": "false"}, True),
    ],
)
def test_marked_answers(fields: dict[str, Any], is_rejected: bool) -> None:
    reading = read(fields)
    assert (reading.problems, reading.kind, reading.is_rejected) == ((), "preference", is_rejected)
    assert len(reading.messages) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [Q, A], "label": "refund"},
        {"messages": [Q, A], "label": 1},
        {"messages": [Q, A], "label": None},
        {"messages": [Q, A], "rejected": ""},
        {"question": "Q", "answer": "good", "rejected": False},
        {"question": "Q", "answer": "good", "rejected": None, "chosen": " "},
    ],
)
def test_other_labels_and_empty_fields_are_no_comparison(fields: dict[str, Any]) -> None:
    reading = read(fields)
    assert (reading.problems, reading.kind, reading.is_rejected) == ((), "qa", False)


def test_a_comparison_without_the_better_answer_is_an_error() -> None:
    assert [p.code for p in read({"prompt": "Q", "chosen": "", "rejected": "bad"}).problems] == ["missing_answer"]
    assert [p.code for p in read({"chosen": "good", "rejected": "bad"}).problems] == ["no_user_turn"]
