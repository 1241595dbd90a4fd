import pytest

from postil.data.shapes.columns import find_layout, normalize_name


@pytest.mark.parametrize(
    "header",
    [
        "question",
        "Question",
        " QUESTION ",
        "question（必填）",
        "Question:",
        "ｑｕｅｓｔｉｏｎ",
        "question*",
        "\ufeffquestion",
    ],
)
def test_headers_are_folded(header: str) -> None:
    assert normalize_name(header) == "question"


@pytest.mark.parametrize(
    ("names", "question", "answer"),
    [
        (("q", "a"), "q", "a"),
        (("编号", "问题", "答案", "备注"), "问题", "答案"),
        (("客户", "客服"), "客户", "客服"),
        (("用户", "提问", "回复"), "提问", "回复"),
        (("department", "title", "ask", "answer"), "ask", "answer"),
        (("input", "output"), "input", "output"),
        (("User Question", "Reply"), "User Question", "Reply"),
        (("text", "category"), None, None),
        (("response",), None, "response"),
    ],
)
def test_question_and_answer_are_found_by_name(
    names: tuple[str, ...], question: str | None, answer: str | None
) -> None:
    layout = find_layout(names)
    assert (layout.question, layout.answer) == (question, answer)


def test_input_stands_beside_an_instruction_only() -> None:
    assert find_layout(("instruction", "input", "output")).extra_input == "input"
    assert find_layout(("input", "output")).extra_input is None
    assert find_layout(("instruction", "input", "output")).ignored_pairs == ()


def test_a_second_candidate_is_named() -> None:
    assert find_layout(("question", "query", "answer")).ignored_pairs == (("question", "query"),)
