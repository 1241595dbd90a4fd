"""A machine repairs what it can be sure of; whatever it repairs says what was meant."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from postil.data.files.json_faults import FaultCode, find_faults
from postil.data.files.json_repair import Repairs, repair_json
from postil.data.files.json_values import decode_json, read_json, read_jsonl
from postil.problems import Problem


def repaired(text: str) -> str | None:
    return repair_json(text, find_faults(text).faults)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("{'q': 'a \"b\"', 'n': \"it's\"}", '{"q": "a \\"b\\"", "n": "it\'s"}'),
        (r"{'q': 'it\'s \xa0\U0001f600\n'}", r'{"q": "it' + "'" + r's \u00a0\ud83d\ude00\n"}'),
        ('{"q": [1, 2,], "a": "b",}', '{"q": [1, 2], "a": "b"}'),
        ('{, "q": 1,, "a": [{},, {}] , , }', '{ "q": 1, "a": [{}, {}]   }'),
        ('{"q": "x" "a": [{} {}]}', '{"q": "x", "a": [{}, {}]}'),
        ("{q: 1, 2: 3, true: true}", '{"q": 1, "2": 3, "true": true}'),
        ('{"q": [NaN, -Infinity, None, undefined, True, False]}', '{"q": [null, null, null, null, true, false]}'),
        ('{"q": /* "x" */ 1, # why\n "a": "# //"} // so', '{"q":  1, \n "a": "# //"}'),
        ('{"q": \ufeff"\ufeffa"}', '{"q": "\ufeffa"}'),
        ('{"q": "a\r\nb\tc\x00"}', r'{"q": "a\r\nb\tc\u0000"}'),
        (r'{"q": "C:\data \"x\" \users"}', r'{"q": "C:\\data \"x\" \\users"}'),
        (r'{"q": "It\'s.\n"}', '{"q": "It\'s.\\n"}'),
        ("｛“q”：“说，‘好’”，„a“：”b”｝", '{"q":"说，‘好’","a":"b"}'),
        ('/* x */ , {"q": 1},', '{"q": 1}'),
    ],
)
def test_only_the_wrong_marks_change(text: str, wanted: str) -> None:
    assert repaired(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        '{"q": "He said "hi" to me"}',
        '{"q": "a", "a": "b',
        '{"q": "a"} {"q": "b"}',
        '{"q": "\\ud83d"}',
        '{"q": "a" b: 1}',
        "oops",
        "# a comment",
        "['q', 'a']",  # no object
        "{'q': 'It's so', 'a': 'b'}",
        "{'q': 'the dogs' food', 'a': 'b'}",
        "{'q': u'x'}",
        "{'q': 'a''b': 'c'}",
        '{"q": 1, $name: None}',
        r'{"q": "C:\data\\"}',
        '{"q": "他说"，"你好", "a": "b"}',
        '{"q": “a", "b": "c”, "d": "e"}',
        '{"q": “a“, "b": "c"}',
        '{"q": “a\\”}',
        '{"q": ["a" "b"], "n": 1}',  # two texts, or one in two pieces
        '{"q": ["a",, "b"]}',  # or something between them
        '{"q": "x", // y",\n "a": "b"}',
        r'{"q": "\alpha \frac"}',  # \f would be a form feed
        r'{"q": "C:\data", "a": "C:\new"}',
        r'{"q": "C:\xa0"}',
        '{"q": "a\\\nb"}',
        r"""{'q': '\U0010ffff\U00110000'}""",
        '{"q": .5, "a": None}',
        '{"q" "a", "b": None}',
    ],
)
def test_what_could_be_meant_in_two_ways_stays(text: str) -> None:
    assert find_faults(text).faults
    assert repaired(text) is None


def test_what_is_json_is_not_touched() -> None:
    assert repaired('{"q": "a"}') is None


# --- Any object, damaged ---------------------------------------------------------------------------------------------

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_scalars = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | _texts
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=8,
)
_objects = st.dictionaries(_texts, _values, min_size=1, max_size=4)


class Writer:
    """JSON as a careless program writes it.

    Args:
        text: how a text is written.
        word: how null, true and false are.
        comma: between entries of an object.
        end: before a closing bracket.
        key: how a name is written.
    """

    def __init__(
        self,
        text: Callable[[str], str] = lambda text: json.dumps(text, ensure_ascii=False),
        word: Callable[[Any], str] = json.dumps,
        comma: str = ", ",
        end: str = "",
        colon: str = ": ",
        brackets: str = "{}[]",
        key: Callable[[str], str] | None = None,
    ):
        self.text, self.word, self.comma, self.end, self.colon = text, word, comma, end, colon
        self.brackets, self.key = brackets, key or text

    def write(self, value: Any) -> str:
        match value:
            case str():
                return self.text(value)
            case dict():
                items = [f"{self.key(name)}{self.colon}{self.write(item)}" for name, item in value.items()]
                body = self.comma.join(items) + self.end * bool(items)
                return self.brackets[0] + body + self.brackets[1]
            case list():
                body = ", ".join(map(self.write, value)) + self.end * bool(value)
                return self.brackets[2] + body + self.brackets[3]
            case bool() | None:
                return self.word(value)
            case _:
                return str(value)


def _single(text: str) -> str:
    return "'" + json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


def _raw(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _curly(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if re.search('[“”„"\n\\\\]', text) else f"“{text}”"


def _bare(text: str) -> str:
    return text if re.fullmatch(r"[a-z]+", text) else json.dumps(text, ensure_ascii=False)


WRITERS: dict[FaultCode, Writer] = {
    "json_single_quotes": Writer(text=_single),
    "json_comma_too_many": Writer(comma=" ,,", end=" ,"),
    "json_missing_comma": Writer(comma="\n"),
    "json_unquoted_key": Writer(key=_bare),
    "json_not_a_number": Writer(word=lambda value: "NaN" if value is None else json.dumps(value)),
    "json_python_word": Writer(word=str),
    "json_comment": Writer(comma=", /* and, so: */ "),
    "json_stray_bom": Writer(comma=",\ufeff"),
    "json_line_break": Writer(text=_raw),
    "json_wide_marks": Writer(text=_curly, comma="，", colon="：", brackets="｛｝［］"),
}


@pytest.mark.parametrize("code", WRITERS)
@settings(max_examples=60, deadline=None)
@given(value=_objects)
def test_any_damaged_object_becomes_the_same_again(code: FaultCode, value: dict[str, Any]) -> None:
    value = value | {"sure": None, "line": "a\tb"}  # something for every fault
    text = WRITERS[code].write(value)
    faults = find_faults(text).faults
    assert code in faults
    found = repair_json(text, faults)
    assert found is not None
    assert decode_json(found) == value


_paths = st.lists(st.sampled_from(["C:", "\\d", "\\p", "\\(", '"', "中", "q "]), max_size=6).map("".join)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(_paths, _paths, max_size=3))
def test_backslashes_that_were_not_doubled_become_the_same_again(value: dict[str, str]) -> None:
    value = value | {"sure": "C:\\data"}
    text = json.dumps(value, ensure_ascii=False).replace("\\\\", "\\")
    assert decode_json(repaired(text) or "null") == value


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("{}[]:,\"'\\ \nabtrueNone1“”，#/u\ufeff"), max_size=40))
def test_whatever_is_repaired_is_an_object_and_has_no_fault_left(text: str) -> None:
    found = repaired(text)
    if found is not None:
        assert isinstance(decode_json(found), dict)
        assert not find_faults(found).faults


@settings(max_examples=60, deadline=None)
@given(_objects, st.data())
def test_a_quotation_mark_put_into_a_text_is_never_taken_for_something_else(value: dict[str, Any], data: Any) -> None:
    """Nobody knows where the text ends: either it stays broken, or it says what the strict reader would say."""
    text = json.dumps(value, ensure_ascii=False)
    at = data.draw(st.integers(1, len(text) - 1))
    damaged = f'{text[:at]}"{text[at:]}'
    assume("json_inner_quotes" in find_faults(damaged).faults)
    assert repaired(damaged) is None


# --- In a file -------------------------------------------------------------------------------------------------------

ROW = '{"question": "q", "answer": "a"}'


def test_lines_are_repaired_where_that_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f"{ROW}\n  {{'question': 'x'}},\n{{'question': 'y'}}\n", "utf-8")
    repairs = Repairs({2})
    good, mended, problem = read_jsonl(tmp_path / "a.jsonl", "utf-8", repairs)
    assert (good, mended) == ((1, json.loads(ROW)), (2, {"question": "x"}))
    assert isinstance(problem, Problem)
    assert problem.fix is not None
    assert (problem.fix.action, problem.fix.places, problem.fix.automatic) == ("repair_json", (problem.place,), True)
    ((row, repair),) = repairs.done.items()
    assert (row, repair.row) == (2, 2)
    assert (repair.before, repair.after) == ("  {'question': 'x'},", '{"question": "x"}')


ARRAYS = {
    "on one line": "[{a: 1}, {'a': 2}, " + ROW + ", {'a': 3}]",
    "line by line": "[\n  {'a': 1},\n  {'a': 2}\n  " + ROW + ",\n  {'a': 3},\n]",
    "over lines": '[\n {\n  "a": 1,\n },\n {\n  "a": None\n },\n ' + ROW + ",\n // three\n {\n  'a': 3\n }\n]",
    "one after another": "{'a': 1}\n{'a': 2}\n" + ROW + "\n{'a': 3}",
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("rows", [{1, 2, 4}, {2}])
def test_records_of_json_keep_their_numbers_whether_repaired_or_not(tmp_path: Path, name: str, rows: set[int]) -> None:
    (tmp_path / "a.json").write_text(ARRAYS[name], "utf-8")
    items = list(read_json(tmp_path / "a.json", "utf-8", Repairs(rows)))
    broken = {i.place.row for i in items if isinstance(i, Problem) and i.severity == "error"}
    read = [i[0] for i in items if not isinstance(i, Problem)]
    assert broken == {1, 2, 4} - rows
    assert read == sorted({3} | rows)
    assert all(i.fix for i in items if isinstance(i, Problem) and i.severity == "error")
    unrepaired = list(read_json(tmp_path / "a.json", "utf-8"))
    assert _warnings(items) == _warnings(unrepaired)


def _warnings(items: list[Any]) -> list[Problem]:
    return [item for item in items if isinstance(item, Problem) and item.severity == "warning"]


def test_an_item_with_something_else_behind_it_is_not_repaired(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[\n {'a': 1}, {'b': 2},\n {\"c\": 3}\n]", "utf-8")
    problem, good = read_json(tmp_path / "a.json", "utf-8", Repairs({1}))
    assert isinstance(problem, Problem)
    assert problem.fix is None
    assert good == (2, {"c": 3})
