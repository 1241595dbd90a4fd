"""The straight way and the general way must say the same."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.data.shapes.columns import find_layout
from postil.data.shapes.formats import read_any_record
from postil.data.shapes.plain_records import read_plain_record
from postil.data.shapes.record import Record
from postil.problems import Place

texts = st.sampled_from(["", " ", "\u3000", "Q", " A \n", "[]", "0"]) | st.text(max_size=5)
odd = st.none() | st.integers(0, 1) | st.booleans() | st.just([]) | st.lists(texts, max_size=2) | st.just({})
roles = st.sampled_from(["user", "assistant", "system", "human", "gpt", "tool", "User", "", "narrator"])


@st.composite
def messages(draw: st.DrawFn) -> list[Any]:
    role, content = draw(st.sampled_from([("role", "content"), ("from", "value"), ("from", "content")]))
    good = draw(st.booleans())
    wanted = ["user", "assistant"] * draw(st.integers(1, 3))
    wanted = (["system"] if draw(st.booleans()) else []) + wanted
    turns: list[Any] = [{role: r, content: draw(st.text(min_size=1, max_size=4))} for r in wanted]
    if not good:
        index = draw(st.integers(0, len(turns) - 1))
        turns[index] = draw(
            st.fixed_dictionaries({role: roles | odd, content: texts | odd}, optional={"weight": st.integers(0, 2)})
            | texts
            | odd
        )
    return turns


records = st.fixed_dictionaries(
    {},
    optional={
        "instruction": texts | odd,
        "question": texts,
        "output": texts | odd,
        "input": texts | odd,
        "system": texts | odd,
        "history": odd | st.lists(st.lists(texts, min_size=2, max_size=2), max_size=2),
        "messages": messages() | odd,
        "conversations": messages(),
        "id": st.integers(),
        "tools": odd,
        "label": st.booleans(),
    },
) | st.fixed_dictionaries({"messages": messages()})


@settings(max_examples=400, deadline=None)
@given(records)
def test_both_ways_say_the_same(fields: dict[str, Any]) -> None:
    record, layout = Record(Place("a.jsonl", 3), fields), find_layout(tuple(fields))
    plain = read_plain_record(record, layout)
    assert plain is None or plain == read_any_record(record, layout)


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"id": 1, "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}], "system": ""},
        {"instruction": "Q", "input": "", "output": "A", "system": "S", "history": []},
        {"instruction": "Q", "input": "I", "output": "A"},
        {"问题": "Q", "答案": "A"},
        {"text": "Q", "label": "1"},
    ],
)
def test_ordinary_records_go_the_straight_way(fields: dict[str, Any]) -> None:
    assert read_plain_record(Record(Place("a", 1), fields), find_layout(tuple(fields))) is not None
