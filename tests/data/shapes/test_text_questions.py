"""Texts as people write them, in the shapes that are understood, and texts that hold no questions."""

from pathlib import Path
from typing import Any

import pytest

from postil.data.options import ReadOptions
from postil.data.shapes.formats import read_messages
from postil.data.shapes.record import Record
from postil.data.shapes.text_questions import recognise_text, text_records
from postil.problems import Place, Problem

OPTIONS = ReadOptions()


def read(text: str) -> list[Record | Problem]:
    return list(text_records("a.txt", enumerate(text.split("\n"), start=1), OPTIONS))


def pairs(text: str) -> list[tuple[str, str]]:
    return [(r.fields["question"], r.fields["answer"]) for r in read(text) if isinstance(r, Record) and not r.turns]


def chats(text: str) -> list[list[tuple[str, Any]]]:
    return [[(t.role, t.content) for t in r.turns] for r in read(text) if isinstance(r, Record) and r.turns]


def problems(text: str) -> list[tuple[str, int]]:
    return [(p.code, p.place.row) for p in read(text) if isinstance(p, Problem)]


PAIRS = {
    "english marks": (
        "Q: How do I pay?\nA: By card.\n\nq : Where?\na : In Berlin.\n",
        [("How do I pay?", "By card."), ("Where?", "In Berlin.")],
        [],
    ),
    "several paragraphs, a list, a time": (
        "产品问答手册\n\n一、售前\n问：这款杯子能装热水吗？\n答：可以，最高 100 度。\n"
        "请注意烫手。\n\n另外不要放进微波炉。\n\n"
        "问：几点开门：周末也一样吗？\n答：每天 10:30 开门。\n\n二、售后\n问：怎么退货\n"
        "答：步骤：\n1. 打开订单\n2. 提交\n",
        [
            ("这款杯子能装热水吗？", "可以，最高 100 度。\n请注意烫手。\n\n另外不要放进微波炉。"),
            ("几点开门：周末也一样吗？", "每天 10:30 开门。"),
            ("怎么退货", "步骤：\n1. 打开订单\n2. 提交"),
        ],
        [1, 3, 13],
    ),
    "brackets and code": (
        "【问】怎么退货？\n【答】七天内可退。\n\n【问】怎么运行？\n【答】\n这样：\n```\n  Q: in code\n```\n",
        [("怎么退货？", "七天内可退。"), ("怎么运行？", "这样：\n```\n  Q: in code\n```")],
        [],
    ),
    "numbered marks": (
        "Q1. What is it?\nA1. A cup.\n\nQ2. How big is it?\nA2. 300 ml.\nIt is big.\n",
        [("What is it?", "A cup."), ("How big is it?", "300 ml.\nIt is big.")],
        [],
    ),
    "numbered marks without a dot": (
        "Q1 如何退货\nA1 七天内可退\nQ2 运费谁出\nA2 我们出\n",
        [("如何退货", "七天内可退"), ("运费谁出", "我们出")],
        [],
    ),
    "bold marks": (
        "# FAQ\n\n**Q: How do I pay?**\n\nA: By card.\n\n**Q:** What about cash?\n"
        "**A:** Yes, **cash** too.\n\n---\n\n"
        "**Question 3:** Do you ship?\n**Answer:** Yes.\n",
        [("How do I pay?", "By card."), ("What about cash?", "Yes, **cash** too."), ("Do you ship?", "Yes.")],
        [1],
    ),
    "on one line": (
        "Q: How much? A: 5 euro.\nQ: When? A: Now.\nIn May too.\n",
        [("How much?", "5 euro."), ("When?", "Now.\nIn May too.")],
        [],
    ),
    "on one line, numbered, only the answer marked": (
        "1. 怎么退货？答：七天内可退。\n2. 运费谁出？答：我们出。\n",
        [("怎么退货？", "七天内可退。"), ("运费谁出？", "我们出。")],
        [],
    ),
    "only answers marked": (
        "怎么退货\n答：七天内\n\n运费谁出\n答：我们\n出\n",
        [("怎么退货", "七天内"), ("运费谁出", "我们\n出")],
        [],
    ),
    "only answers marked, no blank lines": (
        "1. 怎么退货\n答：七天内\n2. 运费谁出\n答：我们出\n",
        [("怎么退货", "七天内"), ("运费谁出", "我们出")],
        [],
    ),
    "only questions marked": (
        "Q: How do I pay?\nBy card or cash.\n\nQ: Where are you?\nIn Berlin.\nNear the river.\n",
        [("How do I pay?", "By card or cash."), ("Where are you?", "In Berlin.\nNear the river.")],
        [],
    ),
    "customer asks, service answers": (
        "客户问：有优惠吗\n客服答：满一百减十。\n客户问：能开发票吗\n客服答：可以，请留抬头。\n",
        [("有优惠吗", "满一百减十。"), ("能开发票吗", "可以，请留抬头。")],
        [],
    ),
    "full width, byte order mark, carriage returns, trailing blanks": (
        "\ufeffＱ：有货吗？  \r\nＡ：有的。\r\n\r\n\u200bＱ\u200b：多少钱？\r\n　Ａ：１０元。　\r\n",
        [("有货吗？", "有的。"), ("多少钱？", "１０元。")],
        [],
    ),
    "choices are no answers": (
        "Q: 下列哪个最大？\nA. 猫\nB. 狗\nC. 象\n答案：C\n\nQ: 下列哪个会飞？\nA. 鸟\nB. 狗\n答案：A\n",
        [("下列哪个最大？\nA. 猫\nB. 狗\nC. 象", "C"), ("下列哪个会飞？\nA. 鸟\nB. 狗", "A")],
        [],
    ),
    "something is missing": (
        "Q: one?\nQ: two?\nA: yes\n\nA: orphan\nQ: three?\n",
        [("one?", ""), ("two?", "yes"), ("", "orphan"), ("three?", "")],
        [],
    ),
    "titles between marked questions": (
        "Shipping\n\nQ: How long?\nA: 3 days.\n\nQ: How much?\nA: 5.\n\nReturns\n\nQ: Can I?\nA: Yes.\n",
        [("How long?", "3 days."), ("How much?", "5."), ("Can I?", "Yes.")],
        [1, 9],
    ),
    "spanish": (
        "Pregunta: ¿Cómo pago?\nRespuesta: Con tarjeta.\n\nPregunta: ¿Dónde?\nRespuesta: Aquí.\n",
        [("¿Cómo pago?", "Con tarjeta."), ("¿Dónde?", "Aquí.")],
        [],
    ),
    "japanese": (
        "よくあるご質問\n\n質問：チェックインは何時ですか？\n回答：15時からです。\n\n"
        "質問：駐車場はありますか？\n回答：はい、無料です。\n",
        [("チェックインは何時ですか？", "15時からです。"), ("駐車場はありますか？", "はい、無料です。")],
        [1],
    ),
    "traditional": (
        "問題1：怎麼退貨？\n答案1：七天內可退。\n\n問題2：運費誰出？\n答案2：我們出。\n",
        [("怎麼退貨？", "七天內可退。"), ("運費誰出？", "我們出。")],
        [],
    ),
    "numbers, steps that begin again": (
        "常见问题\n联系邮箱：a@b.cn\n\n1. 怎么退货？\n请按下面的步骤：\n1. 打开订单\n2. 点击退货\n"
        "3. 提交\n\n2. 怎么换货？\n联系客服。\n\n"
        "3. 运费谁出？\n我们出。\n",
        [
            ("怎么退货？", "请按下面的步骤：\n1. 打开订单\n2. 点击退货\n3. 提交"),
            ("怎么换货？", "联系客服。"),
            ("运费谁出？", "我们出。"),
        ],
        [1, 2],
    ),
    "a list of checks that ask, inside an answer": (
        "1. 无法开机怎么办？\n请检查：\n1. 电源接好了吗？\n2. 开关打开了吗？\n\n2. 屏幕不亮怎么办？\n换屏幕。\n",
        [("无法开机怎么办？", "请检查：\n1. 电源接好了吗？\n2. 开关打开了吗？"), ("屏幕不亮怎么办？", "换屏幕。")],
        [],
    ),
    "marks set off by dashes": (
        "Q - What?\nA - That.\n\nQ - When?\nA - Now.\n",
        [("What?", "That."), ("When?", "Now.")],
        [],
    ),
    "instructions and responses": (
        "### Instruction:\nTranslate hello\n\n### Response:\nBonjour\n\n"
        "### Instruction:\nAdd 1+1\n\n### Response:\n2\n",
        [("Translate hello", "Bonjour"), ("Add 1+1", "2")],
        [],
    ),
    "numbers without question marks": (
        "1、退货流程\n七天内可退。\n2、换货流程\n联系客服。\n3、发票\n下单时填写抬头。\n",
        [("退货流程", "七天内可退。"), ("换货流程", "联系客服。"), ("发票", "下单时填写抬头。")],
        [],
    ),
    "chinese numbers, other lists inside": (
        "一、怎么注册？\n1. 打开\n2. 填写\n二、怎么退款？\n（1）联系客服\n（2）等待\n三、能开发票吗\n可以。\n",
        [("怎么注册？", "1. 打开\n2. 填写"), ("怎么退款？", "（1）联系客服\n（2）等待"), ("能开发票吗", "可以。")],
        [],
    ),
    "sections of numbers": (
        "一、账号问题\n1. 怎么注册账号\n点注册。\n2. 忘记密码怎么办\n点忘记密码。\n二、订单问题\n"
        "1. 如何取消订单\n点取消。\n2. 多久发货\n48 小时内。\n",
        [
            ("怎么注册账号", "点注册。"),
            ("忘记密码怎么办", "点忘记密码。"),
            ("如何取消订单", "点取消。"),
            ("多久发货", "48 小时内。"),
        ],
        [1, 6],
    ),
    "numbers in parentheses": (
        "（1）怎么退货？\n七天内。\n（2）多久到账？\n三天。\n",
        [("怎么退货？", "七天内。"), ("多久到账？", "三天。")],
        [],
    ),
    "numbers of two parts": (
        "1.1 怎么退货？\n七天内。\n1.2 运费谁出？\n我们。\n2.1 几点开门？\n十点。\n",
        [("怎么退货？", "七天内。"), ("运费谁出？", "我们。"), ("几点开门？", "十点。")],
        [],
    ),
    "every number is 1": (
        "1. How?\nSo.\n1. Why?\nBecause.\n1. When?\nNow.\n",
        [("How?", "So."), ("Why?", "Because."), ("When?", "Now.")],
        [],
    ),
    "headings of three depths": (
        "# 帮助中心\n\n欢迎。\n\n## 账号\n\n### 如何注册？\n\n点击注册。\n\n- 一\n- 二\n\n"
        "### 忘记密码怎么办\n\n点忘记密码。\n\n#### 小提示\n"
        "记住它。\n\n## 订单\n\n### 能取消吗？\n可以。\n",
        [
            ("如何注册？", "点击注册。\n\n- 一\n- 二"),
            ("忘记密码怎么办", "点忘记密码。\n\n#### 小提示\n记住它。"),
            ("能取消吗？", "可以。"),
        ],
        [1, 3, 5, 21],
    ),
    "headings with numbers, settings above": (
        "---\ntitle: FAQ\n---\n\n## 1. How do I install it?\nRun make.\n\n## 2. How do I run it?\nRun it.\n",
        [("How do I install it?", "Run make."), ("How do I run it?", "Run it.")],
        [1, 2, 3],
    ),
    "bold headings": (
        "**How do I pay?**\nBy card.\n\n**Where are you?**\nIn Berlin.\n",
        [("How do I pay?", "By card."), ("Where are you?", "In Berlin.")],
        [],
    ),
    "bullets": (
        "- 怎么退货？\n  七天内。\n- 运费谁出？\n  我们出。\n",
        [("怎么退货？", "七天内。"), ("运费谁出？", "我们出。")],
        [],
    ),
    "blocks that begin with a question": (
        "怎么退货？\n七天内可退。\n\n运费谁出？\n我们出。\n谢谢。\n\n几点开门？\n十点。\n",
        [("怎么退货？", "七天内可退。"), ("运费谁出？", "我们出。\n谢谢。"), ("几点开门？", "十点。")],
        [],
    ),
    "blocks without question marks": (
        "退货流程\n七天内联系客服即可退货。\n\n换货流程\n联系客服换货，运费由我们承担。\n\n发票\n"
        "下单时填写抬头，电子发票三天内发到邮箱。\n",
        [
            ("退货流程", "七天内联系客服即可退货。"),
            ("换货流程", "联系客服换货，运费由我们承担。"),
            ("发票", "下单时填写抬头，电子发票三天内发到邮箱。"),
        ],
        [],
    ),
    "a blank line between question and answer": (
        "How do I pay?\n\nBy card or cash.\n\nWhere is it?\n\nIn Berlin.\n\nIt is near the river.\n",
        [("How do I pay?", "By card or cash."), ("Where is it?", "In Berlin.\n\nIt is near the river.")],
        [],
    ),
    "colons that are none": (
        "几点开门：10:30\n官网: https://a.b/c\n比例是多少：3:1\n怎么退货：七天内联系客服\n",
        [("几点开门", "10:30"), ("官网", "https://a.b/c"), ("比例是多少", "3:1"), ("怎么退货", "七天内联系客服")],
        [],
    ),
    "the answer after the question mark": (
        "怎么退货？七天内可退。\n运费谁出？我们出。\nWhat are your hours?: 10:30 to 18:00\n",
        [("怎么退货？", "七天内可退。"), ("运费谁出？", "我们出。"), ("What are your hours?", "10:30 to 18:00")],
        [],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_finds_the_pairs_of_a_text(name: str) -> None:
    text, expected, skipped = PAIRS[name]
    assert pairs(text) == expected
    assert [row for code, row in problems(text) if code == "skipped_row"] == skipped


U, A = "user", "assistant"
CHATS = {
    "user and ai, any case": (
        "User: Hello!\nAI: Hi!\nuser: What is 3:1?\nBe short.\nAi: A ratio.\n",
        [[(U, "Hello!"), (A, "Hi!"), (U, "What is 3:1?\nBe short."), (A, "A ratio.")]],
    ),
    "header lines with times": (
        "买家 2024-05-01 10:31:00\n我的快递呢\n单号 123\n\n客服小王 2024-05-01 10:32:00\n稍等，我查一下。\n",
        [[(U, "我的快递呢\n单号 123"), (A, "稍等，我查一下。")]],
    ),
    "time before the name": (
        "2024-05-01 10:30:12 张三\n在吗\n2024-05-01 10:30:20 客服小王\n在的\n",
        [[(U, "在吗"), (A, "在的")]],
    ),
    "a customer by name": (
        "[10:30] 张三：在吗\n[10:31] 客服：在的\n[10:32] 张三：有货吗？\n[10:33] 客服：有的\n",
        [[(U, "在吗"), (A, "在的"), (U, "有货吗？"), (A, "有的")]],
    ),
    "titles of chats": (
        "会话 1\n用户：在吗\n客服：在的\n用户：有货吗\n\n客服：有\n\n会话 2\n用户：怎么退\n客服：七天内可退\n",
        [[(U, "在吗"), (A, "在的"), (U, "有货吗"), (A, "有")], [(U, "怎么退"), (A, "七天内可退")]],
    ),
    "blank lines between chats": (
        "User: a\nAI: b\nUser: c\nAI: d\n\nuser: e\nAi: f\n\nUSER: g\nAI: h\n",
        [[(U, "a"), (A, "b"), (U, "c"), (A, "d")], [(U, "e"), (A, "f")], [(U, "g"), (A, "h")]],
    ),
    "blank lines between messages": (
        "User: a\n\nAI: b\n\nUser: c\n\nAI: d\n\nmore\n",
        [[(U, "a"), (A, "b"), (U, "c"), (A, "d\n\nmore")]],
    ),
    "rules and dates between chats": (
        "用户: a\n客服: b\n-----\n用户: c\n客服: d\n2024年5月2日 星期四\n用户: e\n客服: f\n",
        [[(U, "a"), (A, "b")], [(U, "c"), (A, "d")], [(U, "e"), (A, "f")]],
    ),
    "markdown, code and notes inside": (
        "**User:** How do I sort?\n\n**Assistant:** Use sort:\n\n```\nuser: x\n```\n\n"
        "Note: it is stable.\n\n**User:** Thanks\n\n"
        "**Assistant:** Welcome\n",
        [
            [
                (U, "How do I sort?"),
                (A, "Use sort:\n\n```\nuser: x\n```\n\nNote: it is stable."),
                (U, "Thanks"),
                (A, "Welcome"),
            ]
        ],
    ),
    "headings that name the speaker": (
        "### User\nHi\n\n### Assistant\nHello!\n\n# Tip\nmore\n\n### User\nBye\n\n### Assistant\nBye.\n",
        [[(U, "Hi"), (A, "Hello!\n\n# Tip\nmore"), (U, "Bye"), (A, "Bye.")]],
    ),
    "a system message first": (
        "System: You are kind.\nUser: Hi\nAssistant: Hello\n",
        [[("system", "You are kind."), (U, "Hi"), (A, "Hello")]],
    ),
    "japanese": (
        "お客様：予約したいです\nスタッフ：何名様ですか\nお客様：二名です\nスタッフ：かしこまりました\n",
        [[(U, "予約したいです"), (A, "何名様ですか"), (U, "二名です"), (A, "かしこまりました")]],
    ),
}


@pytest.mark.parametrize("name", CHATS)
def test_finds_the_chats_of_a_text(name: str) -> None:
    text, expected = CHATS[name]
    assert chats(text) == expected
    assert problems(text) == []


def test_a_chat_knows_the_line_of_every_message() -> None:
    (record,) = read("会话 12\n用户：在吗\n有货吗\n\n客服：有\n")
    assert isinstance(record, Record)
    assert record.rows == (1, 2, 3, 5) and record.num_rows == 1
    assert [turn.place for turn in record.turns] == [Place("a.txt", 2), Place("a.txt", 5)]
    assert record.layout is not None and record.layout.kind == "chat"


def test_who_speaks_first_is_the_user_where_no_name_tells() -> None:
    text = "12/05/2024, 10:30 - John: hi\n12/05/2024, 10:31 - Mary: Hello\n12/05/2024, 10:32 - John: open?\nnow?\n"
    assert chats(text) == [[(U, "hi"), (A, "Hello"), (U, "open?\nnow?")]]
    (warning,) = (p for p in read(text) if isinstance(p, Problem))
    assert (warning.code, warning.severity, warning.values) == (
        "speakers_guessed",
        "warning",
        {"user": "John", "assistant": "Mary"},
    )
    assert chats("A: 你好\nB: 你好，需要什么？\nA: 一杯咖啡。\nB: 好的。\n")[0][0] == (U, "你好")


def test_what_the_system_reports_inside_a_chat_is_no_message() -> None:
    text = "系统消息：客服已接入\n用户：你好\n客服：您好\n系统消息：用户离开\n用户：在吗\n客服：在的\n"
    assert chats(text) == [[(U, "你好"), (A, "您好"), (U, "在吗"), (A, "在的")]]
    assert problems(text) == [("skipped_row", 1), ("skipped_row", 4)]


def test_every_question_without_an_answer_is_an_error_at_its_line() -> None:
    text = "Phones\n\n1.What do you sell?\n2.Do you ship?\n\nOrders & more\n\n1.Can I cancel?\n2.Who delivers?"
    found = [p for r in read(text) if isinstance(r, Record) for p in read_messages(r).problems]
    assert [(p.code, p.place.row) for p in found] == [("missing_answer", row) for row in (3, 4, 8, 9)]
    assert problems(text) == [("text_guessed", 0), ("skipped_row", 1), ("skipped_row", 6)]


NO_QUESTIONS = {
    "a story": (
        "从前有座山，山里有座庙。\n\n庙里有个老和尚在讲故事。他说：从前有座山。\n\n10:30 他睡了。\n"
        "你说奇怪不奇怪？\n后来他醒了。\n"
    ),
    "an article": (
        "Tea: a history\n\nTea is drunk everywhere.\nIt was first grown in China.\n\n"
        "Who drinks most of it is not known.\n"
    ),
    "a manual": (
        "# Tool\n\nA tool.\n\n## Install\n\npip install tool\n\n## Usage\n\nRun: tool --help\n\n"
        "1. Open it\n2. Use it\n\n## License\n\nMIT\n"
    ),
    "a poem": (
        "The woods are lovely,\ndark and deep,\nBut I have promises\n\nto keep and miles\n"
        "to go before\nI sleep\n\nTo go\nagain\nend\n"
    ),
    "a timetable": "10:30 开会\n11:00 吃饭\n12:00 午休\n13:00 客服培训\n",
    "a licence": "1. Redistributions of source code must retain the notice above, and\nthis list of conditions.\n\n"
    "2. Redistributions in binary form must reproduce the notice above in\n"
    "the documentation.\n\n3. Neither name may\nbe used.\n",
    "a form filled in again and again": "- size: 3\n- colour: red\n- price: 5\n- size: 4\n- colour: blue\n- price: 6\n",
    "a page that asks once in passing": "Tea comes from China.\nIt is drunk hot.\nIt is drunk cold.\n"
    "Some like milk in it.\nWhy so?\n"
    "Nobody knows.\nHow odd?\nThe end comes here.\nAnd here.\nAnd also here.\nReally.\n",
    "code": "import os\n\ndef f(x):\n    return x\n\nclass A:\n    x: int = 1\n",
    "a list": "1. Milk\n2. Bread\n3. Eggs\n",
    "a log": "INFO: started\nERROR: no disk\nINFO: stopped\nERROR: no disk\n",
    "nothing": "\n \n",
}


@pytest.mark.parametrize("name", NO_QUESTIONS)
def test_a_text_without_questions_is_one_error_that_shows_how_to_write_them(name: str) -> None:
    text = NO_QUESTIONS[name]
    assert recognise_text(text.split("\n")) is None
    (problem,) = read(text)
    assert isinstance(problem, Problem)
    assert (problem.code, problem.severity, problem.place) == ("no_questions_in_text", "error", Place("a.txt"))
    assert "Q:" in problem.hint and problem.message


def test_a_layout_that_only_looks_like_questions_is_shown_for_a_look() -> None:
    text = PAIRS["blocks without question marks"][0]
    assert problems(text) == [("text_guessed", 0)]
    assert all(r.layout is not None and r.layout.confidence < 0.9 for r in read(text) if isinstance(r, Record))
    assert problems(PAIRS["english marks"][0]) == []


def test_a_markdown_table_is_read_as_a_table() -> None:
    text = "# FAQ\n\n| 问题 | 答案 |\n|---|:---:|\n| 怎么退？ | 七天\\|内<br>可退 |\n| 运费？ | 我们出 |\n"
    records = [r for r in read(text) if isinstance(r, Record)]
    assert [(r.place.row, r.fields["问题"], r.fields["答案"]) for r in records] == [
        (5, "怎么退？", "七天|内\n可退"),
        (6, "运费？", "我们出"),
    ]
    assert ("skipped_row", 1) in problems(text)


def test_a_text_over_the_limit_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.data.shapes.text_questions.MAX_TEXT_CHARS", 19)
    assert problems("Q: one?\nA: yes\nQ: two?\nA: no\n") == [("text_too_big", 3)]


@pytest.mark.parametrize(
    ("file", "shape", "num_pairs", "num_chats", "skipped"),
    [
        ("o19_shop_faq_en.txt", "marked", 14, 0, []),
        ("o20_numbered_faq_zh.txt", "numbered", 12, 0, [1, 2]),
        ("o32_questions_only.txt", "numbered", 0, 0, [1, 10, 18, 26, 33, 40]),
        ("o35_user_ai_chat.txt", "chat", 0, 1, []),
    ],
)
def test_real_texts(shared: Path, file: str, shape: str, num_pairs: int, num_chats: int, skipped: list[int]) -> None:
    text = (shared / "data" / file).read_text(encoding="utf-8")
    found = recognise_text(text.split("\n"))
    assert found is not None and found.name == shape
    records = [r for r in read(text) if isinstance(r, Record)]
    codes = [p.code for r in records for p in read_messages(r).problems]
    assert codes == (["missing_answer"] * 29 if file.startswith("o32") else [])
    assert sum(bool(answer) for _, answer in pairs(text)) == num_pairs
    assert [len(chat) for chat in chats(text)] == [6] * num_chats
    assert [row for code, row in problems(text) if code == "skipped_row"] == skipped
