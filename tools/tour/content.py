"""Made-up questions and answers of a tea shop, in both languages: good ones, and a workbook with the usual mistakes."""

import csv
import io
import json
from pathlib import Path

from openpyxl import Workbook

from postil.language import Language

_TEAS = {
    "en": (
        "Green Snail,Dragon Well,Iron Goddess,White Peony,Keemun,Yunnan Gold,Jasmine Pearl,Hairy Peak,Lapsang,Old Pu'er"
    ),
    "zh": "碧螺春,龙井,铁观音,白牡丹,祁门红茶,滇红,茉莉龙珠,黄山毛峰,正山小种,陈年普洱",
}
_QUESTIONS = {
    "en": [
        ("How much is {tea}?", "A tin of {tea} with 100 grams costs {price} yuan."),
        ("How do I brew {tea}?", "Take 3 grams of {tea} for a cup, and wait {minutes} minutes."),
        ("How long does {tea} keep?", "{tea} keeps {months} months in a closed tin, away from light."),
        ("When do you send {tea}?", "We send {tea} within {hours} hours, on Sundays too."),
    ],
    "zh": [
        ("{tea}多少钱？", "{tea}每罐一百克，售价{price}元。"),
        ("{tea}怎么泡？", "每杯放三克{tea}，泡{minutes}分钟就好。"),
        ("{tea}能放多久？", "{tea}密封避光可以存放{months}个月。"),
        ("{tea}什么时候发货？", "{tea}在{hours}小时内发货，周日也发。"),
    ],
}
_HEADERS = {"en": ("Customer asks", "We answer"), "zh": ("顾客的问题", "客服的回答")}
SHEETS = {"en": "Tea shop", "zh": "茶叶店"}
_MISTAKES: dict[str, list[tuple[str | None, str | None]]] = {
    "en": [
        ("Do you wrap presents?", None),
        (None, "Yes, every day from nine to eight."),
        (None, "On the left, behind the scales."),
        ("  Where is your shop?  ", "In the old town, \u200bnext to the bridge.  "),
        ("May I return a tin?", "#N/A"),
        ("Whom do I call about my order?", "Please call Mr Lin on 138 0013 8000."),
        ("How much is Dragon Well?", "It costs what is written on the tin."),
        ("Do you have cups?", "<p>Yes, we have <b>cups</b> &amp; pots.</p>"),
    ],
    "zh": [
        ("可以包装成礼物吗？", None),
        (None, "可以，每天九点到二十点营业。"),
        (None, "左手边，秤的后面。"),
        ("  店在哪里？  ", "在老城区，\u200b桥的旁边。  "),
        ("可以退货吗？", "#N/A"),
        ("订单的事找谁？", "请打林先生的电话 13800138000。"),
        ("龙井多少钱？", "以罐子上写的价格为准。"),
        ("有茶杯卖吗？", "<p>有的，<b>茶杯</b>&nbsp;和茶壶都有。</p>"),
    ],
}
FILE_NAMES = {"en": "tea shop questions.xlsx", "zh": "茶叶店客服问答.xlsx"}


def good_rows(language: Language) -> list[tuple[str, str]]:
    """40 questions with their answers, every one different."""
    rows = []
    for number, tea in enumerate(_TEAS[language].split(",")):
        values = {"tea": tea, "price": 38 + 15 * number, "minutes": 2 + number, "months": 6 + 3 * number}
        for question, answer in _QUESTIONS[language]:
            hours = 24 + 2 * number
            rows.append((question.format(**values), answer.format(hours=hours, **values)))
    return rows


def write_mistaken_workbook(folder: Path, language: Language) -> Path:
    """A workbook as people send it: good rows, and one of each usual mistake below them."""
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = SHEETS[language]
    for row in (_HEADERS[language], *good_rows(language), *_MISTAKES[language]):
        sheet.append(row)
    path = folder / FILE_NAMES[language]
    book.save(path)
    return path


def write_good_table(folder: Path, language: Language) -> Path:
    """The good rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([_HEADERS[language], *good_rows(language)])
    path = folder / f"{SHEETS[language]}.csv"
    path.write_text(text.getvalue(), "utf-8")
    return path


def write_talks(folder: Path, language: Language) -> Path:
    """Twenty conversations of two questions each, as JSON lines."""
    rows = good_rows(language)
    lines = []
    for (first, first_answer), (second, second_answer) in zip(rows[::2], rows[1::2], strict=True):
        said = [("user", first), ("assistant", first_answer), ("user", second), ("assistant", second_answer)]
        lines.append(json.dumps({"messages": [{"role": r, "content": c} for r, c in said]}, ensure_ascii=False))
    path = folder / {"en": "talks.jsonl", "zh": "多轮对话.jsonl"}[language]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path
