"""What is typed into forms: amounts, numbers and days as people write them, and everything else blamed by its field."""

from datetime import timedelta

import pytest

from postil.web.pages.forms import Form
from postil.web.pages.typed import Typed, spell_amount


def read(text: str) -> Typed:
    return Typed(Form((("x", text),)))


@pytest.mark.parametrize(
    ("text", "micro"),
    [
        ("0", 0),
        ("0.03", 30_000),
        ("12.5", 12_500_000),
        (" 1,200.50 ", 1_200_500_000),
        ("0.000001", 1),
        ("007", 7_000_000),
    ],
)
def test_amounts(text: str, micro: int) -> None:
    typed = read(text)
    assert typed.amount("x") == micro and not typed.wrong
    assert read(spell_amount(micro)).amount("x") == micro


@pytest.mark.parametrize(
    "text", ["-1", "1e3", "1.2.3", "12,5", "1.0000001", "yuan", "１２", "NaN", "inf", "9" * 40, "1 000"]
)
def test_what_is_no_amount(text: str) -> None:
    typed = read(text)
    assert typed.amount("x") is None and list(typed.wrong) == ["x"] and "no amount" in typed.wrong["x"]


@pytest.mark.parametrize("text", ["-1", "1.5", "9" * 16, "many", "٣"])
def test_what_is_no_number(text: str) -> None:
    typed = read(text)
    assert typed.count("x") is None and list(typed.wrong) == ["x"]


@pytest.mark.parametrize(
    "text", ["tomorrow", "2026-02-30", "9999-12-31", "0000-01-01", "31.1.2027", "2026-W05", "20270131"]
)
def test_what_is_no_day(text: str) -> None:
    typed = read(text)
    assert typed.day_end("x") is None and list(typed.wrong) == ["x"]


def test_a_day_ends_where_the_next_one_begins() -> None:
    ends = read("2027-01-31").day_end("x")
    assert ends is not None and (ends - timedelta(microseconds=1)).astimezone().date().isoformat() == "2027-01-31"


def test_nothing_typed_is_nothing_wrong_unless_it_is_needed() -> None:
    typed = read(" ")
    assert [typed.amount("x"), typed.count("x"), typed.day_end("x")] == [None] * 3 and not typed.wrong
    typed.needed("x")
    assert list(typed.wrong) == ["x"]
    assert (spell_amount(None), spell_amount(0), spell_amount(30_000), spell_amount(5_000_000)) == (
        "",
        "0",
        "0.03",
        "5",
    )
