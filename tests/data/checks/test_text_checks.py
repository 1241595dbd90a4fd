import time
from collections.abc import Sequence

import pytest

from postil.data.checks import text_checks
from postil.data.checks.text_checks import Remark, has_personal_sign, is_too_short, mend_mojibake
from postil.data.conversations import Message
from postil.data.shapes.columns import Kind

MOJIBAKE = "你好，世界。今天"


def chat(*texts: str) -> tuple[Message, ...]:
    return tuple(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts))


def check_texts(messages: Sequence[Message], kind: Kind, from_table: bool) -> Sequence[Remark]:
    return text_checks.check_texts(messages, " ".join(m.content for m in messages), kind, from_table)


def found(answer: str, question: str = "q", from_table: bool = False) -> list[tuple[str, str]]:
    return [(r.code, r.found) for r in check_texts(chat(question, answer), "qa", from_table)]


@pytest.mark.parametrize(
    ("answer", "code", "shown"),
    [
        ("I am {{name}}", "placeholder", "{{name}}"),
        ("我是 {{ 公司 }}", "placeholder", "{{ 公司 }}"),
        ("a\x00b", "control_characters", "\\x00"),
        ("a\u0085b", "control_characters", "\\x85"),
        ("bye<|im_end|>", "control_tokens", "<|im_end|>"),
        ("bye</s>", "control_tokens", "</s>"),
        ("[INST] hi", "control_tokens", "[INST]"),
        ("<｜User｜>hi", "control_tokens", "<｜User｜>"),
        ("<p>Hello</p> there", "html", "<p>"),
        ("a<br/>b", "html", "<br/>"),
        ("a&nbsp;b", "html", "&nbsp;"),
        ('<span style="color:red">a</span>', "html", '<span style="color:red">'),
        (MOJIBAKE.encode().decode("latin1"), "mojibake", "你好，世界。今天"),
        ("donâ€™t", "mojibake", "’t"),
        ("浣犲ソ", "mojibake", "你好"),
        ("锟斤拷你好", "lost_characters", "锟斤拷"),
        ("a\ufffdb", "lost_characters", "\ufffd"),
        ("As an AI language model, I cannot say.", "refusal", "As an AI language model, I cannot"),
        ("I'm sorry, but I can't help with that.", "refusal", "sorry, but I can't help"),
        ("作为一个人工智能，我没有感情", "refusal", "作为一个人工智能，我没有"),
        ("很抱歉，我无法回答这个问题", "refusal", "抱歉，我无法回答这"),
    ],
)
def test_what_is_found(answer: str, code: str, shown: str) -> None:
    assert found(answer) == [(code, shown)]


def test_of_a_long_run_of_damage_the_beginning_is_shown() -> None:
    (remark,) = check_texts(chat("q", "Hello " + "\ufffd" * 60_000 + " there"), "qa", False)
    assert remark.code == "lost_characters"
    assert remark.excerpt.startswith("Hello \ufffd") and len(remark.excerpt) < 200 and len(remark.found) == 60


@pytest.mark.parametrize(
    "answer",
    [
        "{{}} {{1}} a\tb\r\n{x}",
        "if a < b and c > d, see [1] & [2]",
        "List<String> names",
        "Use `<br>` here:\n```\n<p>x</p>\n```",
        "write <div> at the beginning",
        "Ça va très bien, naïve façade, À la carte",
        "Grüße aus Köln für 5 €",
        "抱歉，我无法查到您的订单",
        "Sorry, we cannot deliver on Sundays.",
        "我是小助手，由某公司开发的AI。",
        "I am an AI assistant made by the shop.",
        "I'm a language model called Postil, trained by the shop.",
        "作为一名人工智能助手，我会认真回答。",
        "有人会说，你作为一个人工智能助手并没有帮到用户。",
        "run: ${{ github.repository }}",
        "",
    ],
)
def test_what_is_left_alone(answer: str) -> None:
    assert found(answer) == []


def test_html_is_left_alone_where_it_is_the_subject() -> None:
    assert found("<p>x</p>", "How do I write a paragraph in HTML?") == []


def test_formulas_are_looked_for_in_cells_only() -> None:
    for cell in ("=SUM(A1:B2)", "=cmd|'/c calc'!A1", "@SUM(1)", "+A1+B2"):
        assert [code for code, _ in found(cell, from_table=True)] == ["formula_injection"]
        assert found(cell) == []
    for cell in ("- one item (of two)", "+86 138", "-5", "@home", "= 3", "-A"):
        assert found(cell, from_table=True) == []


def test_one_of_each_kind_and_where_it_stands() -> None:
    remarks = check_texts(chat("{{a}}", "{{b}} <br>", "x", "As an AI I can't. {{c}}"), "chat", False)
    assert [(r.code, r.index) for r in remarks] == [("placeholder", 0), ("html", 1), ("refusal", 3)]


def test_an_answer_that_repeats_the_question() -> None:
    assert [r.code for r in check_texts(chat("hi", "hi"), "qa", False)] == ["answer_equals_question"]
    assert not check_texts(chat("food", "food"), "classification", False)
    assert not check_texts((Message("user", ""), Message("assistant", "")), "qa", False)


def test_questions_may_speak_of_an_ai() -> None:
    assert found("No.", "Answer as an AI language model") == []


@pytest.mark.parametrize(
    ("answer", "short"), [("a", True), (" . ", True), ("...", True), ("3.3", False), ("好的", False), ("👍🏽", False)]
)
def test_too_short(answer: str, short: bool) -> None:
    assert is_too_short(answer) == short


def test_mending_leaves_good_text_as_it_is() -> None:
    for text in ("Ça va très bien", "正常的中文，没有问题。", "銆 alone", "naïve", ""):
        assert mend_mojibake(text) == text
    assert mend_mojibake("你好世界".encode().decode("gb18030")) == "你好世界"
    assert mend_mojibake("你好世界".encode().decode("latin1")) == "你好世界"


def test_digits_enough_for_a_number() -> None:
    assert has_personal_sign("q 138-1234-56") and has_personal_sign("a@b")
    assert not has_personal_sign("in 2024 5 of 100000 were")


@pytest.mark.parametrize(
    "text",
    ["<p>" * 30_000, "<" * 100_000, "<p " * 30_000, "{{a" * 30_000, "`" * 50_000, "<|" * 50_000, "&nbsp" * 20_000],
)
def test_hostile_text_takes_no_time(text: str) -> None:
    started = time.process_time()
    check_texts(chat("q", text), "qa", True)
    assert time.process_time() - started < 2
