"""Chat logs as messengers and shops save them."""

from typing import Any

import pytest

from postil.data.options import ReadOptions
from postil.data.shapes.formats import read_messages
from postil.data.shapes.record import Record
from postil.data.shapes.speaker_lines import find_speech, is_day, is_moment, is_undecorated
from postil.data.shapes.text_lines import Line, number_lines
from postil.data.shapes.text_questions import text_records
from postil.problems import Problem


def read(text: str) -> list[Record | Problem]:
    return list(text_records("a.txt", enumerate(text.split("\n"), start=1), ReadOptions()))


def chats(text: str) -> list[list[Any]]:
    """The texts of each chat, the user's first."""
    found = [read_messages(r).messages for r in read(text) if isinstance(r, Record)]
    assert all(m.role == ("user", "assistant")[i % 2] for messages in found for i, m in enumerate(messages))
    return [[m.content for m in messages] for messages in found]


def skipped(text: str) -> list[int]:
    return [p.place.row for p in read(text) if isinstance(p, Problem) and p.code == "skipped_row"]


def line(text: str) -> Line:
    return number_lines([(1, text)])[0]


TWO_ROUNDS = [["ask1", "say1", "ask2", "say2"]]


@pytest.mark.parametrize(
    ("customer", "shop"),
    [
        ("tb1234_55 (2024-05-01 10:00:01):\n", "暖光旗舰店:小美 (2024-05-01 10:00:02):\n"),
        ("tb1234_55 2024-05-01 10:00:01\n", "暖光旗舰店：小美 2024-05-01 10:00:02\n"),
        ("tb1234_55 2024-05-01 10:00:01: ", "nuanguang:小美 2024-05-01 10:00:02: "),
        ("2024-05-01 10:00:01 tb1234_55: ", "2024-05-01 10:00:02 暖光旗舰店:小美: "),
        ("tb1234_55: ", "暖光专营店:小美: "),
    ],
)
def test_an_account_of_a_shop_is_one_name_that_answers(customer: str, shop: str) -> None:
    text = "".join(f"{customer}ask{i}\n{shop}say{i}\n" for i in (1, 2))
    assert chats(text) == TWO_ROUNDS
    assert all(item.code != "speakers_guessed" for item in read(text) if isinstance(item, Problem))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("暖光旗舰店:小美: 您好", "暖光旗舰店:小美"),
        ("暖光旗舰店: 小美: 您好", "暖光旗舰店"),
        ("客服:发货时间 2024-05-01 10:00:00", "客服"),
        ("小美:明天 10:00", "小美"),
        ("User:note: this", "user"),
        ("http://a:b 2024-05-01 10:00:00", None),
        ("张三<z@qq.com> 10:00", "张三<z@qq.com>"),
        ("2024-05-01 10:02:00 【群主】张三(123)", "张三"),
        ("2024-05-01 10:02", None),
        ("昨天 10:02", None),
        ("Monday 10:02 AM", None),
        ("上午 10:02", None),
        ("消息对象:张三", None),
    ],
)
def test_who_begins_to_speak_in_a_line(text: str, name: str | None) -> None:
    speech = find_speech(0, line(text))
    assert (speech and speech.name) == name


@pytest.mark.parametrize(
    "row",
    ["09:0{i} | {name}: {text}", "[09:0{i}] {name} | {text}", "2024-05-01 09:0{i} | {name} | {text}"],
)
def test_bars_between_time_name_and_text(row: str) -> None:
    names = ("Anna", "Support")
    text = "\n".join(row.format(i=i, name=names[i % 2], text=t) for i, t in enumerate(TWO_ROUNDS[0]))
    assert chats(text) == TWO_ROUNDS


def test_a_bar_divides_only_where_a_time_stands_before() -> None:
    assert find_speech(0, line("Anna | Hi there")) is None


QQ_HEAD = (
    "消息记录（此消息记录为文本格式，不支持重新导入）\n\n================\n消息分组:我的好友\n================\n"
    "消息对象:{name}\n================\n\n"
)
QQ = "2024-05-01 10:00:0{i} {customer}(12345)\nask{i}\n\n2024-05-01 10:00:0{i} 客服小美<m@qq.com>\nsay{i}\n\n"


@pytest.mark.parametrize("name", ["客服小美", "张三", "a"])
def test_the_head_of_a_log_of_qq_is_no_message(name: str) -> None:
    text = QQ_HEAD.format(name=name) + "".join(QQ.format(i=i, customer="张三") for i in (1, 2))
    assert chats(text) == TWO_ROUNDS
    assert skipped(text) == []


def test_a_head_of_qq_begins_another_chat() -> None:
    chat = "".join(QQ.format(i=i, customer="张三") for i in (1, 2))
    assert chats((QQ_HEAD.format(name="张三") + chat) * 2) == TWO_ROUNDS * 2


@pytest.mark.parametrize("day", ["—————  {}  —————", "----- {} -----", "{}"])
def test_a_log_that_wechat_mails_has_days_and_times_above_messages(day: str) -> None:
    rows = "".join(f"张三  10:0{i}\n\nask{i}\n\n\n客服小美  10:0{i}\n\nsay{i}\n\n" for i in (1, 2))
    text = "".join(f"{day.format(date)}\n\n\n{rows}" for date in ("2024-05-01", "2024-05-02"))
    assert chats(f"微信聊天记录\n\n{text}") == TWO_ROUNDS * 2
    assert skipped(f"微信聊天记录\n\n{text}") == [1]


@pytest.mark.parametrize(
    "time", ["2024-05-01 10:02", "昨天 10:02", "上午 10:02", "星期三 10:02", "—— 10:02 ——", "10:02 AM"]
)
def test_a_line_that_is_only_a_time_says_nothing(time: str) -> None:
    text = f"{time}\n张三: ask1\n客服: say1\n张三: ask2\n{time}\n客服: say2\n"
    assert chats(text) == TWO_ROUNDS
    assert is_day(line(time)) or is_moment(line(time))


def test_somebody_may_say_nothing_but_a_day_or_a_time() -> None:
    text = "10:00 张三\nWhen?\n10:01 客服\n\n5月1日\n10:02 张三\nAt what time?\n10:03 客服\n10:30\n"
    assert chats(text) == [["When?", "5月1日", "At what time?", "10:30"]]
    assert not is_undecorated(line("—— 10:02 ——")) and not is_undecorated(line("Well"))


@pytest.mark.parametrize("notice", ['"小美" 撤回了一条消息', "你撤回了一条消息", "This message was deleted"])
def test_that_a_message_was_withdrawn_is_no_part_of_the_one_above(notice: str) -> None:
    text = f"10:01 张三\nask1\n10:01 客服\nsay1\n{notice}\n10:02 张三\nask2\n10:02 客服\nsay2\n"
    assert chats(text) == TWO_ROUNDS
    assert skipped(text) == [5]


@pytest.mark.parametrize(
    "notice",
    [
        "\u200e[12.03.24, 10:31:22] Leaf & Cup: \u200eMessages and calls are end-to-end encrypted.",
        "[12.03.24, 10:31:22] Leaf & Cup: 消息和通话都进行端到端加密。对话之外的任何人都无法读取。",
        "[12.03.24, 10:31:22] Messages and calls are end-to-end encrypted. Tap to learn more.",
    ],
)
def test_what_a_messenger_says_is_said_by_nobody(notice: str) -> None:
    talk = "\n".join(
        f"[12.03.24, 10:3{i}:02] {name}: {text}"
        for i, (name, text) in enumerate(
            zip(("Anna", "Leaf & Cup") * 2, ("ask1", "say1", "ask2", "say2"), strict=True), start=2
        )
    )
    assert chats(f"{notice}\n{talk}\n") == TWO_ROUNDS
    assert skipped(f"{notice}\n{talk}\n") == [1]


def test_a_line_with_a_time_and_no_speaker_is_no_part_of_the_message_above() -> None:
    lines = [
        "12/03/2024, 10:31 - Anna: ask1",
        "12/03/2024, 10:33 - Leaf & Cup: say1",
        "12/03/2024, 10:34 - Anna changed their phone number. Tap to learn more.",
        "12/03/2024, 10:34 - Anna: ask2",
        "12/03/2024, 10:38 - Leaf & Cup: say2",
        "and more",
    ]
    assert chats("\n".join(lines)) == [["ask1", "say1", "ask2", "say2\nand more"]]
    assert skipped("\n".join(lines)) == [3]


def test_a_customer_may_speak_of_encryption() -> None:
    text = "[12.03.24, 10:31:22] Anna: Are my messages end-to-end encrypted?\n[12.03.24, 10:32:22] Shop: Yes.\n"
    text += "[12.03.24, 10:33:22] Anna: ask2\n[12.03.24, 10:34:22] Shop: say2\n"
    assert chats(text) == [["Are my messages end-to-end encrypted?", "Yes.", "ask2", "say2"]]


def test_time_name_and_message_may_stand_between_tabs() -> None:
    said = (("Anna", "ask1"), ("さくら旅館", "say1"), ("Anna", "ask2: so?"), ("さくら旅館", "say2"))
    day = "2024/03/01(金)\n"
    text = day + "".join(f"10:3{i}\t{name}\t{text}\n" for i, (name, text) in enumerate(said))
    assert chats(text) == [["ask1", "say1", "ask2: so?", "say2"]]
    assert chats(text + day + text.removeprefix(day)) == [["ask1", "say1", "ask2: so?", "say2"]] * 2
