"""The pages about data name every problem and every change, in both languages, and nothing that is not so."""

import csv
import re
from pathlib import Path

import pytest

from postil.cli.app import app
from postil.data.options import PURPOSES
from postil.data.purposes import DATA_PURPOSES
from postil.data.records import read_records
from postil.data.shapes import column_names
from postil.data.shapes.columns import normalize_name
from postil.data.validation import validate_dataset
from postil.language import LANGUAGES, Language
from tools.problem_tables import PAGES, with_tables


@pytest.mark.parametrize("language", LANGUAGES)
def test_tables_are_those_of_the_catalogs(language: Language) -> None:
    text = PAGES[language].read_text("utf-8")
    assert with_tables(text, language) == text, "run `make schema`"


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_column_name_on_the_page_is_known(language: Language) -> None:
    text = PAGES[language].read_text("utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| (.+) \|$", text.partition("<!-- names -->")[2].partition("<!-- end -->")[0], re.M
    )
    known = {
        "question": column_names.QUESTIONS,
        "answer": column_names.ANSWERS,
        "system": column_names.SYSTEMS,
        "history": column_names.HISTORIES,
        "session": column_names.SESSIONS,
        "speaker": column_names.SPEAKERS,
        "content": column_names.CONTENTS,
        "time": column_names.TIMES,
    }
    assert [purpose for purpose, _ in rows] == list(PURPOSES)
    for purpose, names in rows:
        unknown = [n for n in re.split(r"[,，、] ?", names) if normalize_name(n) not in known[purpose]]
        assert not unknown, purpose


@pytest.mark.parametrize("language", LANGUAGES)
def test_examples_are_read_as_the_page_says(language: Language, tmp_path: Path) -> None:
    text = PAGES[language].read_text("utf-8")
    (rows,) = re.findall(r"^```json\n(.*?)^```$", text, re.M | re.S)
    (tmp_path / "a.jsonl").write_text(rows, "utf-8")
    report = validate_dataset(read_records(tmp_path / "a.jsonl"))
    assert (report.kept, report.errors, report.multi_turn) == (4, (), 1)
    tables = [t for t in re.findall(r"(?:^\|.*\n)+", text, re.M) if "`" not in t]
    pair, chats = (re.sub(r"^[|-]+\n", "", t, flags=re.M) for t in tables if len(t) < 300)
    for number, table in enumerate((pair, chats)):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line]
        with (tmp_path / f"{number}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(lines)
    assert validate_dataset(read_records(tmp_path / "0.csv")).kept == 1
    assert validate_dataset(read_records(tmp_path / "1.csv")).num_conversations == 2


@pytest.mark.parametrize("language", LANGUAGES)
def test_verbs_and_options_on_the_page_exist(language: Language) -> None:
    text = PAGES[language].read_text("utf-8")
    commands = {c.name: c.callback for c in app.registered_commands}
    used = re.findall(r"^postil (\w+)(.*)$", text, re.M)
    assert {"check", "profile", "fix"} <= {verb for verb, _ in used}
    for verb, rest in used:
        callback = commands[verb]
        assert callback is not None
        options = {
            o for a in callback.__annotations__.values() for m in getattr(a, "__metadata__", ()) for o in _names(m)
        }
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest.partition("  #")[0])) <= options, f"{verb}{rest}"
    assert all(purpose in text for purpose in DATA_PURPOSES)


def _names(option: object) -> tuple[str, ...]:
    default, declared = getattr(option, "default", ""), getattr(option, "param_decls", None) or ()
    return tuple(str(name) for name in (default, *declared) if isinstance(name, str))
