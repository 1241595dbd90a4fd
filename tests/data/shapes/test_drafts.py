import re
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest

from postil.data.files.json_faults import FaultCode
from postil.data.shapes import drafts
from postil.data.shapes.drafts import CALL_ROLES, ROLES, Draft, Findings, excerpt_of, origin_of, plain_text
from postil.language import LANGUAGES, has_sentence
from postil.problems import Place


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (" x ", " x "),
        (0, "0"),
        (Decimal("3.10"), "3.10"),
        (["a", {"type": "text", "text": "b"}, {"type": "input_text", "text": "c"}], "abc"),
        ([{"type": "text", "value": "v"}], "v"),
        (True, None),
        ({"a": 1}, None),
        ([{"type": "image_url", "image_url": "x"}], None),
        ([{"type": "text", "text": 1}], None),
    ],
)
def test_plain_text(content: Any, text: str | None) -> None:
    assert plain_text(content) == text


def test_excerpts_are_short_and_on_one_line() -> None:
    assert excerpt_of("a\n  b" + "x" * 1000) == "a b" + "x" * 77
    assert excerpt_of({"a": ["é"]}) == '{"a":["é"]}'
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert excerpt_of(deep) == "..."


def test_a_finding_blames_the_draft_or_a_field() -> None:
    findings = Findings(Place("a", 1))
    findings.add("not_text", Draft("user", "x", "m[0].content", "m", place=Place("a", 4)), found="x")
    findings.add("bad_tools", blamed="tools", path="tools[0]", severity="warning")
    first, second = findings.problems
    assert (first.place.row, first.column, first.json_path) == (4, "m", "m[0].content")
    assert (second.place.row, second.column, second.json_path) == (1, "tools", "tools[0]")
    assert findings.has_errors


def test_origins() -> None:
    assert origin_of(Draft("user", "x", "", "text")).json_path is None


def test_no_role_is_both_a_speaker_and_a_call() -> None:
    assert not CALL_ROLES & set(ROLES)


def test_every_code_has_its_sentences() -> None:
    """Codes that reach a Problem through a variable, which the catalogs' own test cannot see."""
    folder = Path(drafts.__file__).parent
    source = "".join(path.read_text("utf-8") for path in folder.glob("*.py"))
    found = set(re.findall(r'findings\.add\(\s*"(\w+)"', source))
    assert len(found) > 12
    for code in {*found, *get_args(FaultCode), "missing_question", "missing_answer", "empty_message"}:
        for language in LANGUAGES:
            assert has_sentence(f"problems.{code}", language) and has_sentence(f"problems.{code}.hint", language)


@pytest.mark.parametrize("kind", [{}, [], None, 3, "image"])
def test_a_part_of_another_kind_is_no_text(kind: object) -> None:
    assert plain_text(["a", {"type": kind, "text": "b"}]) is None
    assert plain_text(["a", {"type": "link", "text": "b"}]) == "ab"
