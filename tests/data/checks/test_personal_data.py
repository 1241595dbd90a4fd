import time

import pytest

from postil.data.checks.personal_data import PersonalData, PersonalRow, find_personal_data, masked


def found(text: str) -> list[tuple[str, str]]:
    return [(text[start:end], kind) for start, end, kind in find_personal_data(text)]


@pytest.mark.parametrize(
    ("text", "value", "kind"),
    [
        ("我的手机是13812345678。", "13812345678", "mobile"),
        ("电话：138-1234-5678", "138-1234-5678", "mobile"),
        ("call +86 138 1234 5678", "+86 138 1234 5678", "mobile"),
        ("订单号：1，手机13812345678", "13812345678", "mobile"),
        ("身份证11010519491231002X", "11010519491231002X", "id_card"),
        ("write to a.b@qq.com please", "a.b@qq.com", "email"),
        ("卡号6222021234567890128", "6222021234567890128", "bank_card"),
        ("4111 1111 1111 1111", "4111 1111 1111 1111", "bank_card"),
        ("+49 170 1234567", "+49 170 1234567", "phone"),
        ("+1 (212) 736-5000", "+1 (212) 736-5000", "phone"),
        ("(212) 736-5000", "(212) 736-5000", "phone"),
        ("010-62345678", "010-62345678", "phone"),
    ],
)
def test_what_is_personal(text: str, value: str, kind: str) -> None:
    assert found(text) == [(value, kind)]


@pytest.mark.parametrize(
    "text",
    [
        "订单号13812345678",
        "order no. 13812345678",
        "快递单号 4111111111111111",
        "SF1381234567890",
        "110105194912310021",  # the check digit is wrong
        "6222021234567890127",
        "support@shop.com, me@example.com, root@localhost",
        "in 2024 2025 for 199.00 or 1,299",
        "2024-01-15 12:30:45",
        "192.168.1.100 3.14159265358979 1700000000000",
        "400-800-8888 and 800-555-1234",
        "0.13812345678",
        "+100 points 200 bonus 300",
        "1 + 2024 2025 = 4049",
        "https://shop.com/item/13812345678",
    ],
)
def test_what_is_not(text: str) -> None:
    assert found(text) == []


def test_a_value_in_three_rows_is_the_companys_own() -> None:
    data = PersonalData()
    for row in range(3):
        data.add("热线 139 0000 1111，邮箱 boss@firm.cn", row)
    data.add("我的手机是 13812345678，热线 13900001111", 3)
    data.add("13812345678", 4)
    assert list(data.rows()) == [
        PersonalRow(3, ("138****78",), ("13900001111",)),
        PersonalRow(4, ("138****78",), ()),
    ]


def test_the_same_row_twice_is_no_repetition() -> None:
    data = PersonalData()
    data.add("13812345678, 13812345678, 138-1234-5678", 0)
    assert [row.index for row in data.rows()] == [0]


def test_reports_never_show_the_value_itself() -> None:
    assert masked("13812345678") == "138****78" and masked("li.lei@qq.com") == "l***@qq.com"


@pytest.mark.parametrize("text", ["a." * 100_000, "1" * 200_000, "+1 " * 70_000, "a@" * 100_000, "1-" * 100_000])
def test_hostile_text_takes_no_time(text: str) -> None:
    started = time.process_time()
    list(find_personal_data(text))
    assert time.process_time() - started < 2


def test_only_reserved_domains_are_examples() -> None:
    assert [kind for _, _, kind in find_personal_data("wang@example-tea.cn")] == ["email"]
    assert not list(find_personal_data("wang@example.com or wang@mail.example.org or wang@host.test"))
