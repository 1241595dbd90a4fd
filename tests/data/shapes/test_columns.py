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
        (("response",), None, "response"),
        (("問題", "回覆"), "問題", "回覆"),
        (("ご質問", "回答"), "ご質問", "回答"),
        (("Question\n问题", "答案/Answer"), "Question\n问题", "答案/Answer"),
        (("常见问题", "标准解答"), "常见问题", "标准解答"),
        (("faq_question", "expected_answer"), "faq_question", "expected_answer"),
        (("question_id", "question_type", "answer_count"), None, None),
        (("问题编号", "问题类型", "答案长度"), None, None),
        (("问题", "A", "B", "C", "D", "答案"), "问题", "答案"),
        (("问题/答案",), None, None),
        (("用户ID", "客户 ID"), None, None),
        (("latitude", "longitude"), None, None),
    ],
)
def test_question_and_answer_are_found_by_name(
    names: tuple[str, ...], question: str | None, answer: str | None
) -> None:
    layout = find_layout(names)
    assert (layout.question, layout.answer) == (question, answer)


@pytest.mark.parametrize(
    ("names", "text", "label"),
    [
        (("text", "category"), "text", "category"),
        (("label", "review"), "review", "label"),
        (("编号", "文本", "标签"), "文本", "标签"),
        (("评论内容", "情感"), "评论内容", "情感"),
        (("sentence", "intent", "language"), "sentence", "intent"),
    ],
)
def test_texts_with_labels_are_a_classification(names: tuple[str, ...], text: str, label: str) -> None:
    layout = find_layout(names)
    assert (layout.question, layout.answer, layout.kind) == (text, label, "classification")


@pytest.mark.parametrize(
    "names",
    [
        ("question", "answer", "category"),
        ("prompt", "completion", "label"),
        ("messages", "label"),
        ("instruction", "chosen", "rejected", "label"),
        ("role", "content", "label"),
        ("question", "category"),
    ],
)
def test_a_label_beside_something_else_makes_no_classification(names: tuple[str, ...]) -> None:
    assert find_layout(names).kind == "qa"


def test_who_speaks_when_in_which_chat() -> None:
    layout = find_layout(("会话ID", "发送时间", "发送人", "消息内容"))
    assert (layout.session, layout.time, layout.speaker, layout.content) == ("会话ID", "发送时间", "发送人", "消息内容")
    assert layout.is_log and not layout.is_pair
    layout = find_layout(("conversation_id", "role", "text", "timestamp"))
    assert (layout.session, layout.speaker, layout.content, layout.time) == (
        "conversation_id",
        "role",
        "text",
        "timestamp",
    )


@pytest.mark.parametrize(
    ("names", "speaker"),
    [
        (("sender_type", "body"), "sender_type"),
        (("sender", "sender_type", "body"), "sender_type"),
        (("direction", "text"), "direction"),
        (("from", "to", "direction", "body"), "direction"),
        (("消息方向", "消息内容"), "消息方向"),
        (("direction", "text", "label"), None),
        (("sender", "direction", "text", "label"), "sender"),
    ],
)
def test_who_speaks_goes_by_many_names(names: tuple[str, ...], speaker: str | None) -> None:
    assert find_layout(names).speaker == speaker


def test_input_stands_beside_an_instruction_only() -> None:
    assert find_layout(("instruction", "input", "output")).extra_input == "input"
    assert find_layout(("input", "output")).extra_input is None
    assert find_layout(("instruction", "input", "output")).ignored_pairs == ()


def test_a_second_candidate_is_named() -> None:
    assert find_layout(("question", "query", "answer")).ignored_pairs == (("question", "query"),)


@pytest.mark.parametrize(
    ("names", "ignored"),
    [
        (
            ("编号", "中文问题", "中文回答", "English Question", "English Answer"),
            (("中文问题", "English Question"), ("中文回答", "English Answer")),
        ),
        (("标准问题", "相似问法", "扩展问1", "答案"), (("标准问题", "相似问法"), ("标准问题", "扩展问1"))),
        (("question", "answer", "answer_from", "question_id", "answer_start", "问题分类"), ()),
        (("instruction", "input", "output"), ()),
    ],
)
def test_other_wordings_and_a_second_language_are_named_as_not_read(
    names: tuple[str, ...], ignored: tuple[tuple[str, str], ...]
) -> None:
    assert find_layout(names).ignored_pairs == ignored


@pytest.mark.parametrize(
    ("names", "question", "answer"),
    [
        (("场景", "客户话术1", "客服话术1", "客户话术2", "客服话术2"), "客户话术1", "客服话术1"),
        (("id", "agent_message", "customer_message"), "customer_message", "agent_message"),
        (("用户说", "商家说"), "用户说", "商家说"),
        (("question", "context", "response"), "question", "response"),
    ],
)
def test_what_each_side_says_is_told_by_how_its_column_begins(
    names: tuple[str, ...], question: str, answer: str
) -> None:
    layout = find_layout(names)
    assert (layout.question, layout.answer) == (question, answer)
    assert layout.extra_input == ("context" if "context" in names else None)
