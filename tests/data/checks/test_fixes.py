"""Fixes change what they say and nothing else."""

import json
import time
from decimal import Decimal

import pytest

from postil.data.checks import fixes
from postil.data.checks.fixes import apply_fix
from postil.data.checks.text_fixes import (
    break_control_tokens,
    decode_mojibake,
    mask_personal_data,
    strip_control_characters,
    strip_html,
    trim,
)
from postil.data.shapes.drafts import Draft
from postil.data.shapes.record import Record
from postil.problems import Fix, Place

PLACE = Place("a.jsonl", 3)


def record(**fields):
    return Record(PLACE, fields)


def chat(*messages):
    return [{"role": role, "content": content} for role, content in messages]


@pytest.mark.parametrize(
    ("function", "before", "after"),
    [
        (trim, "\u3000 a b\n\u200b", "a b"),
        (strip_control_characters, "a\x00b\x0bc\ufeff\x7f\n\t", "ab\nc\n\t"),
        (decode_mojibake, "schÃ¶n", "schön"),
        (strip_html, "<p>Hi&nbsp;<b>you</b></p><br/>bye", "Hi you\n\nbye"),
        (strip_html, "&lt;p&gt;Hi&lt;/p&gt;", "Hi"),
        (strip_html, "a < b and b > c, List<String>, 5 <s>", "a < b and b > c, List<String>, 5 <s>"),
        (strip_html, "Use `<b>` for <b>bold</b>", "Use `<b>` for bold"),
        (strip_html, "<script>alert(1)</script>x<!-- y -->", "x"),
        (mask_personal_data, "打我 13812345678 或 li.lei@qq.com", "打我 [电话] 或 [邮箱]"),
        (mask_personal_data, "call 13812345678", "call [phone]"),
        (break_control_tokens, "a<|im_end|>b</s>", "a< |im_end|>b< /s>"),
    ],
)
def test_texts_are_changed_once(function, before, after):
    assert function(before) == after
    assert function(after) == after


def test_masking_keeps_what_is_named():
    assert mask_personal_data("13812345678, 13912345678", keep=["13812345678"]) == "13812345678, [phone]"


def test_a_models_own_control_tokens_are_broken():
    assert break_control_tokens("see [EOT]", ["[EOT]"]) == "see [ EOT]"


def test_text_actions_reach_every_string_and_nothing_else():
    nested = record(a=" x ", b=[{"c": " y ", " k ": Decimal("3.10")}], d=None, e=True)
    mended = apply_fix("trim", nested)
    assert mended is not None
    assert mended.fields == {"a": "x", "b": [{"c": "y", " k ": Decimal("3.10")}], "d": None, "e": True}
    assert nested.fields["a"] == " x "


def test_json_in_a_cell_stays_json():
    cell = json.dumps(chat(("user", "a<br>b"), ("assistant", "c")))
    mended = apply_fix("strip_html", record(messages=cell))
    assert mended is not None
    assert json.loads(mended.fields["messages"]) == chat(("user", "a\nb"), ("assistant", "c"))


@pytest.mark.parametrize("spelling", ["openai", "sharegpt", "cell", "drafts", "pairs of role and text"])
def test_messages_of_one_speaker_are_joined(spelling):
    items = [("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d")]
    assert _contents(apply_fix("merge_messages", _spelt(items, spelling))) == ["a\nb", "c\nd"]


@pytest.mark.parametrize("spelling", ["openai", "sharegpt", "cell", "drafts"])
def test_what_stands_after_the_last_answer_goes(spelling):
    items = [("user", "a"), ("assistant", "b"), ("user", "c"), ("user", "d")]
    assert _contents(apply_fix("drop_last_question", _spelt(items, spelling))) == ["a", "b"]
    assert apply_fix("drop_last_question", _spelt([("user", "a")], spelling)) is None
    items = [("assistant", "hello"), ("assistant", "there"), ("user", "a"), ("assistant", "b")]
    assert _contents(apply_fix("drop_opening", _spelt(items, spelling))) == ["a", "b"]


@pytest.mark.parametrize("spelling", ["openai", "sharegpt", "cell", "drafts"])
def test_empty_messages_go(spelling):
    items = [("user", "a"), ("assistant", " "), ("assistant", "b")]
    assert _contents(apply_fix("drop_empty_messages", _spelt(items, spelling))) == ["a", "b"]


def test_calls_of_tools_are_neither_joined_nor_empty():
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}
    items = [*chat(("user", "a")), call, {"role": "tool", "content": ""}, *chat(("assistant", "b"))]
    for action in ("merge_messages", "drop_empty_messages", "drop_last_question"):
        mended = apply_fix(action, record(messages=items))
        assert mended is not None
        assert mended.fields["messages"] == items


def test_joined_messages_are_not_learned_where_one_was_not():
    items = [*chat(("user", "a")), {"role": "assistant", "content": "b", "weight": 0}, *chat(("assistant", "c"))]
    mended = apply_fix("merge_messages", record(messages=items))
    assert mended is not None
    assert mended.fields["messages"][1] == {"role": "assistant", "content": "b\nc", "weight": 0}


def test_typed_parts_are_joined():
    items = [{"role": "user", "content": [{"type": "text", "text": t}]} for t in "ab"]
    mended = apply_fix("merge_messages", record(messages=items))
    assert mended is not None
    assert "".join(p["text"] for p in mended.fields["messages"][0]["content"]) == "a\nb"


def test_an_unanswered_pair_at_the_end_goes():
    turns = [{"human": "a", "assistant": "b"}, {"human": "c", "assistant": ""}]
    mended = apply_fix("drop_last_question", record(conversation=turns))
    assert mended is not None
    assert mended.fields["conversation"] == turns[:1]


@pytest.mark.parametrize(
    ("path", "get"),
    [
        ("b.c [1]", lambda f: f["b.c [1]"]),
        ("messages[1].content", lambda f: f["messages"][1]["content"]),
        ("cell[0].content", lambda f: json.loads(f["cell"])[0]["content"]),
    ],
)
def test_texts_are_set_by_path(path, get):
    items = chat(("user", "a"), ("assistant", "b"))
    fields = {"b.c [1]": "x", "messages": items, "cell": json.dumps(items)}
    mended = apply_fix("set_text", Record(PLACE, fields), {"path": path, "value": "new"})
    assert mended is not None
    assert get(mended.fields) == "new"
    assert get(fields) != "new"


def test_a_row_of_a_chat_can_be_changed_alone():
    drafts = tuple(
        Draft(r, f" {r} ", "", "content", place=Place("a.csv", n)) for n, r in ((2, "user"), (3, "assistant"))
    )
    whole = Record(Place("a.csv", 2), {}, turns=drafts, rows=(2, 3), num_rows=2)
    second = apply_fix("trim", whole, place=Place("a.csv", 3))
    assert second is not None
    assert [d.content for d in second.turns] == [" user ", "assistant"]
    assert apply_fix("drop_row", whole, place=Place("a.csv", 2)) is None
    left = apply_fix("drop_row", whole, place=Place("a.csv", 3))
    assert left is not None
    assert [d.role for d in left.turns] == ["user"]


def test_constructors_name_their_action_and_place():
    for name in ("trim", "strip_html", "merge_messages", "drop_last_question", "drop_empty_messages", "drop_row"):
        assert getattr(fixes, name)(PLACE) == Fix(name, (PLACE,))
    assert not fixes.mask_personal_data(PLACE).automatic
    assert fixes.keep_first_answer(PLACE, PLACE).places == (PLACE, PLACE)
    assert fixes.keep_added_answer(PLACE).places == (PLACE,) and not fixes.keep_added_answer(PLACE).automatic
    assert fixes.fill_down(PLACE, "key", "v").values == {"path": "key", "value": "v"}
    assert not fixes.set_text(PLACE, "key", "v").automatic
    assert fixes.break_control_tokens(PLACE, ["<x>"]).values == {"tokens": ["<x>"]}


def _spelt(items, spelling):
    match spelling:
        case "openai":
            return record(messages=chat(*items))
        case "sharegpt":
            names = {"user": "human", "assistant": "gpt"}
            return record(conversations=[{"from": names[r], "value": t} for r, t in items])
        case "cell":
            return record(messages=json.dumps(chat(*items)))
        case "drafts":
            return Record(PLACE, {}, turns=tuple(Draft(r, t, "") for r, t in items))
        case _:
            return record(messages=[[r, t] for r, t in items])


def _contents(mended):
    assert mended is not None
    if mended.turns:
        return [d.content for d in mended.turns]
    (value,) = mended.fields.values()
    items = json.loads(value) if isinstance(value, str) else value
    return [i[1] if isinstance(i, list) else i.get("content", i.get("value")) for i in items]


@pytest.mark.parametrize(
    "piece", ["<p ", "<script>", "<!--", "&nbsp", "`", "<|", " ", "<b", "</script>", "<style", "\n \t", "</p "]
)
def test_no_text_takes_long(piece):
    """Half a million characters of the beginnings of what is looked for: a pattern that steps back takes for ever."""
    text = "<b>" + piece * (500_000 // len(piece)) + "x"
    started = time.process_time()
    for function in (trim, strip_control_characters, strip_html, break_control_tokens):
        function(text)
    assert time.process_time() - started < 10
