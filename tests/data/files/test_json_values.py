import json
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postil.data.files import json_values
from postil.data.files.json_faults import MAX_DEPTH, find_faults
from postil.data.files.json_kinds import sniff_json
from postil.data.files.json_values import read_json, read_jsonl
from postil.problems import Problem

ROW = '{"question": "q", "answer": "a"}'
FIELDS = json.loads(ROW)


def write(tmp_path: Path, text: str, name: str = "a.jsonl", encoding: str = "utf-8") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def shown(items: Any) -> list[Any]:
    """(row, value) of values, (row, code) of problems."""
    return [(i.place.row, i.code) if isinstance(i, Problem) else i for i in items]


@pytest.mark.parametrize(
    ("line", "codes", "column"),
    [
        ("{'question': 'q', 'answer': 'a'}", ["json_single_quotes"], 2),
        ('{"question": "q", "answer": "a",}', ["json_comma_too_many"], 33),
        ('{"question": "q",, "answer": "a"}', ["json_comma_too_many"], 18),
        ('{question: "q", "answer": "a"}', ["json_unquoted_key"], 2),
        ('{"question": NaN, "answer": "a"}', ["json_not_a_number"], 14),
        ('{"question": -Infinity}', ["json_not_a_number"], 14),
        ('{"question": "\\ud83d", "answer": "a"}', ["json_lone_surrogate"], 15),
        ('{"question": "\\ude00\\ud83d", "answer": "a"}', ["json_lone_surrogate"], 15),
        ('{"question": "q", "answer": None}', ["json_python_word"], 29),
        ('{"question": "q" "answer": "a"}', ["json_missing_comma"], 18),
        (f"{ROW} {ROW}", ["json_two_objects"], 34),
        ('{"question": "q" /* why */, "answer": "a"} // so', ["json_comment"], 18),
        ('{"question": "q",\ufeff "answer": "a"}', ["json_stray_bom"], 18),
        ('{"question": "a\tb", "answer": "a"}', ["json_line_break"], 16),
        ('{"question": "C:\\data", "answer": "a"}', ["json_bad_escape"], 17),
        ('{"question": "He said "hi" to me", "answer": "a"}', ["json_inner_quotes"], 23),
        ('{"question": "说"你好"了", "answer": "a"}', ["json_inner_quotes"], 16),
        ("{“question”：“q”，“answer”：“a”}", ["json_wide_marks"], 2),
        ('{"question": "q", "answer": "a', ["json_unfinished"], 29),
        ('{"question": "q", "answer": "a"', ["json_unfinished"], 32),
        ("oops", ["broken_json"], 1),
        ('{"question": 012}', ["broken_json"], 14),
        ("[" * 100_000, ["json_too_deep"], MAX_DEPTH + 1),
        ('{"a":' + "[" * 300 + "]" * 300 + "}", ["json_too_deep"], 1),
        (
            "{'a': None, b: NaN}",
            ["json_single_quotes", "json_python_word", "json_unquoted_key", "json_not_a_number"],
            2,
        ),
    ],
)
def test_what_is_wrong_is_named_and_the_other_lines_are_read(
    tmp_path: Path, line: str, codes: list[str], column: int
) -> None:
    path = write(tmp_path, f"{ROW}\n{line.rstrip()}\n{ROW}\n")
    assert shown(read_jsonl(path, "utf-8")) == [(1, FIELDS), *((2, code) for code in codes), (3, FIELDS)]
    problems = [i for i in read_jsonl(path, "utf-8") if isinstance(i, Problem)]
    assert (problems[0].values["line"], problems[0].values["column"]) == (2, column)
    for problem in problems:
        assert problem.severity == "error" and problem.message and problem.hint and problem.excerpt


def test_marks_at_the_ends_of_a_line_change_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, f"\n{ROW},\n\ufeff{ROW}\n  \n{ROW}")
    assert shown(read_jsonl(path, "utf-8")) == [(2, FIELDS), (3, FIELDS), (5, FIELDS)]


@pytest.mark.parametrize("reader", [read_jsonl, read_json])
def test_a_key_that_occurs_twice_is_a_warning(tmp_path: Path, reader: Any) -> None:
    path = write(tmp_path, '{"question": "x", "question": "q", "answer": {"a": 1, "a": 2}}')
    problem, (row, value) = reader(path, "utf-8")
    assert (problem.code, problem.severity, problem.values) == ("duplicate_keys", "warning", {"keys": "a, question"})
    assert (row, value) == (1, {"question": "q", "answer": {"a": 2}})


@pytest.mark.parametrize(
    "line", ['{"a" : "x\\": y", "b" :1}', '{"a":"\\": \\": ", "b":{"c":1.5}}', '{"\\u0061":"é","b":["\\":"]}']
)
def test_clean_rows_that_look_suspicious_are_clean(tmp_path: Path, line: str) -> None:
    ((row, value),) = read_jsonl(write(tmp_path, line), "utf-8")
    assert (row, value) == (1, json.loads(line, parse_float=Decimal))


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=4), values, max_size=3), min_size=1, max_size=4), st.data())
def test_what_was_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], data: Any) -> None:
    folder = tmp_path_factory.mktemp("json")
    ascii_only = data.draw(st.booleans())
    lines = "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows)
    path = write(folder, lines)
    assert list(read_jsonl(path, "utf-8")) == list(enumerate(rows, start=1))
    array = write(folder, json.dumps(rows, ensure_ascii=ascii_only, indent=data.draw(st.sampled_from([None, 0, 2]))))
    assert list(read_json(array, "utf-8")) == list(enumerate(rows, start=1))


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("{}[]:,\"'\\ \nabtrue1“，#/u\ufeff"), max_size=40))
def test_nothing_breaks_the_readers(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = write(tmp_path_factory.mktemp("json"), text)
    for reader in (read_jsonl, read_json):
        assert all(isinstance(item, Problem | tuple) for item in reader(path, "utf-8"))
    find_faults(text)


def test_a_broken_item_of_an_array_is_skipped(tmp_path: Path) -> None:
    text = (
        f'[\n  {ROW},\n  {{"question": "q2, "answer": "a"}},\n  {{"question": "q3"\n   "answer": "a"}},\n  {ROW}\n]\n'
    )
    items = list(read_json(write(tmp_path, text), "utf-8"))
    assert shown(items) == [(1, FIELDS), (2, "json_inner_quotes"), (3, "json_missing_comma"), (4, FIELDS)]
    places = [(i.values["line"], i.values["column"]) for i in items if isinstance(i, Problem)]
    assert places == [(3, 21), (5, 4)]


def test_a_broken_item_on_one_line_with_the_others(tmp_path: Path) -> None:
    text = f"[{ROW}, {{'question': 1}}, {ROW}]"
    assert shown(read_json(write(tmp_path, text), "utf-8")) == [(1, FIELDS), (2, "json_single_quotes"), (3, FIELDS)]


def test_faults_between_the_items_cost_no_item(tmp_path: Path) -> None:
    path = write(tmp_path, f"[{ROW},\n{ROW}\n{ROW},\n]")
    items = list(read_json(path, "utf-8"))
    assert shown(items) == [
        (1, FIELDS),
        (2, FIELDS),
        (3, "json_missing_comma"),
        (3, FIELDS),
        (3, "json_comma_too_many"),
    ]
    assert {i.severity for i in items if isinstance(i, Problem)} == {"warning"}


@pytest.mark.parametrize(
    ("text", "last"),
    [(f"[{ROW}, ", (0, "json_unfinished")), (f'[{ROW}, {{"question": "q', (2, "json_unfinished"))],
)
def test_a_file_that_was_cut_keeps_what_is_whole(tmp_path: Path, text: str, last: tuple[int, str]) -> None:
    assert shown(read_json(write(tmp_path, text), "utf-8")) == [(1, FIELDS), last]


def test_objects_one_after_another_are_records(tmp_path: Path) -> None:
    pretty = json.dumps(FIELDS, indent=2)
    path = write(tmp_path, f"{pretty}\n{pretty}\n", "a.json")
    assert sniff_json(path, "utf-8") == "json"
    assert shown(read_json(path, "utf-8")) == [(1, FIELDS), (2, FIELDS)]


@pytest.mark.parametrize("field", ["x" * 1_000_001, ["y", {"z": "x" * 1_000_001}]])
def test_a_field_has_a_limit(tmp_path: Path, field: Any) -> None:
    line = json.dumps({"question": "q", "answer": field})
    path = write(tmp_path, f"{line}\n{ROW}\n")
    problem, second = read_jsonl(path, "utf-8")
    assert isinstance(problem, Problem) and second == (2, FIELDS)
    assert (problem.code, problem.column, problem.place.row) == ("field_too_long", "answer", 1)
    (problem,) = read_json(write(tmp_path, line, "a.json"), "utf-8")
    assert isinstance(problem, Problem) and problem.code == "field_too_long"


def test_many_short_fields_are_no_long_one(tmp_path: Path) -> None:
    wide = {"question": ["x" * 999_999] * 2}
    assert list(read_jsonl(write(tmp_path, json.dumps(wide)), "utf-8")) == [(1, wide)]


def test_a_line_over_all_limits_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "MAX_LINE_CHARS", 100)
    path = write(tmp_path, f'{ROW}\n{{"a": "{"x" * 3_000_000}"}}\n{ROW}\n')
    assert shown(read_jsonl(path, "utf-8")) == [(1, FIELDS), (2, "field_too_long"), (3, FIELDS)]


def test_a_large_array_is_read_in_small_memory(tmp_path: Path) -> None:
    text = "x" * 2000
    path = tmp_path / "a.json"
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number in range(15_000):
            file.write("," * bool(number) + json.dumps({"question": str(number), "answer": text}))
        file.write("]")
    tracemalloc.start()
    rows = sum(isinstance(item, tuple) for item in read_json(path, "utf-8"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 15_000
    assert peak < path.stat().st_size / 3


def test_items_longer_than_the_window_are_whole(tmp_path: Path) -> None:
    rows = [{"a": ["x" * 700_000] * 3, "n": 12345}] * 3
    assert [v for _, v in read_json(write(tmp_path, json.dumps(rows)), "utf-8")] == rows  # type: ignore[misc]


def test_lines_and_columns_are_counted_across_windows(tmp_path: Path) -> None:
    rows = [json.dumps({"a": "x" * 1000})] * 3000
    text = "[\n" + ",\n".join([*rows, "{'a': 1}"]) + "\n]"
    *_, problem = read_json(write(tmp_path, text), "utf-8")
    assert isinstance(problem, Problem)
    assert (problem.place.row, problem.values) == (3001, {"line": 3002, "column": 2})


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a.jsonl", f"{ROW}\n{ROW}\n", "jsonl"),
        ("a.json", f"{ROW}\n{ROW}\n", "jsonl"),
        ("a.txt", ROW, "jsonl"),
        ("a.json", ROW, "json"),
        ("a.jsonl", ROW, "jsonl"),
        ("a.jsonl", f"[{ROW},\n{ROW}]", "json"),
        ("a.txt", f"[{ROW}, {ROW}]", "json"),
        ("a.jsonl", '["q", "a"]\n["q", "a"]\n', "jsonl"),
        ("a.jsonl", "{'question': 'q'}\n{'question': 'q'}\n", "jsonl"),
        ("a.json", '{"question": "q0",\n' + f"{ROW}\n{ROW}\n", "jsonl"),
        ("a.json", '{\n"data": [\n' + f"{ROW},\n" * 60 + f"{ROW}\n]}}", "json"),
        ("a.txt", "[2024-01-01 10:00] User: hi\n[2024-01-01 10:01] AI: hi\n", None),
        ("a.txt", "[draft] notes\n", None),
        ("a.csv", "question,answer\nq,a\n", None),
        ("a.jsonl", f"# rows\n{ROW}\n", "jsonl"),
    ],
)
def test_the_content_tells_what_a_file_is(tmp_path: Path, name: str, text: str, kind: str | None) -> None:
    assert sniff_json(write(tmp_path, text, name), "utf-8") == kind


def test_a_large_minified_file_is_told_by_its_beginning(tmp_path: Path) -> None:
    path = write(tmp_path, json.dumps([{"a": "x" * 10_000}] * 300), "a.txt")
    assert sniff_json(path, "utf-8") == "json"
