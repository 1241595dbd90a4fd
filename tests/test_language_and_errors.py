"""Sentences in two languages, and errors that carry them."""

import pytest

from postil import errors
from postil.events import StepDone, decode_event, encode_event
from postil.language import current_language, say, use_language
from postil.problems import Place


@pytest.mark.parametrize(
    ("variables", "language"),
    [
        ({"POSTIL_LANG": "zh"}, "zh"),
        ({"POSTIL_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_ALL": "C.UTF-8", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_the_locale_chooses_and_postil_lang_overrides(
    variables: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_language(None)
    for name in ("POSTIL_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert current_language() == language


def test_an_error_says_what_and_what_to_do_in_the_current_language() -> None:
    error = errors.CannotWriteError("recipes.output_exists", path="runs/a")
    assert str(error) == "runs/a exists already and is not empty. " + say("recipes.output_exists.hint", path="runs/a")
    use_language("zh")
    assert "已经存在" in error.message


def test_exit_codes_are_those_of_the_documentation() -> None:
    kinds = {
        errors.PostilError: 70,
        errors.UsageError: 64,
        errors.DataError: 65,
        errors.MissingInputError: 66,
        errors.UnavailableError: 69,
        errors.CannotWriteError: 73,
        errors.TryAgainError: 75,
    }
    for kind, code in kinds.items():
        assert kind("recipes.no_file").exit_code == code
    assert errors.Stopped("recipes.no_file", by_signal=15).exit_code == 143


@pytest.mark.parametrize(
    ("place", "column", "english", "chinese"),
    [
        (Place("b.xlsx", 8, "FAQ"), "Antwort", "sheet FAQ, row 8, column Antwort", "工作表“FAQ”，第 8 行，“Antwort”列"),
        (Place("a.csv", 3), "note", "row 3, column note", "第 3 行，“note”列"),
        (Place("a.jsonl", 3), "note", "row 3, field note", "第 3 行，字段“note”"),
        (Place("a.txt", 3), None, "row 3", "第 3 行"),
        (Place("a.txt"), None, "", ""),
    ],
)
def test_places_are_said_in_words(place: Place, column: str | None, english: str, chinese: str) -> None:
    use_language("en")
    assert place.in_words(column, place.file) == english
    assert place.in_words(column, "other.zip") == ", ".join(part for part in (place.file, english) if part)
    use_language("zh")
    assert place.in_words(column, place.file) == chinese


def test_a_word_follows_its_number() -> None:
    assert say("cli.check.good", conversations=1) == "Fine: 1 conversation can be trained on."
    assert say("cli.check.good", conversations=0) == "Fine: 0 conversations can be trained on."
    said = say("cli.profile.title", file="{a|b}", conversations=1234, turns=1)
    assert said == "{a|b}: 1,234 conversations with 1 question."
    with pytest.raises(KeyError):
        say("cli.check.good")


def test_places_are_spelled_for_programs() -> None:
    assert [str(p) for p in (Place("a.csv", 3), Place("b.xlsx", 8, "Sheet1"), Place("c.json"))] == [
        "a.csv:3",
        "b.xlsx Sheet1:8",
        "c.json",
    ]


def test_events_are_json_lines_and_come_back() -> None:
    event = StepDone(
        step=1,
        steps=2,
        loss=0.5,
        learning_rate=1e-3,
        grad_norm=1.0,
        tokens=10,
        trained_tokens=5,
        tokens_per_second=100.0,
        seconds_left=3.0,
    )
    line = encode_event(event)
    assert line.endswith(b"\n") and b'"event":"step"' in line
    assert decode_event(line) == event
