"""Writes the tables of problems and changes into docs/data.md and docs/data.zh.md: `python -m tools.problem_tables`.

What stands in them is what `postil check` says, from the catalogs; a test holds the pages to it.
"""

import re
from pathlib import Path
from typing import get_args

from babel.messages.pofile import read_po

from postil.language import CATALOGS, LANGUAGES, Language
from postil.problems import FixAction

DOCS = Path(__file__).parents[1] / "docs"
PAGES: dict[Language, Path] = {"en": DOCS / "data.md", "zh": DOCS / "data.zh.md"}
_HEADS: dict[Language, tuple[str, str]] = {
    "en": (
        "| code | what is said | what to do |\n|---|---|---|",
        "| change | what it does |\n|---|---|",
    ),
    "zh": ("| 代码 | 会看到的话 | 怎么办 |\n|---|---|---|", "| 处理 | 做什么 |\n|---|---|"),
}


def problem_table(language: Language) -> str:
    """Every problem that has a sentence, by its code."""
    sentences = _sentences(language)
    codes = sorted(key.split(".")[1] for key in sentences if re.fullmatch(r"problems\.[a-z0-9_]+", key))
    rows = [
        f"| `{code}` | {_cell(sentences[f'problems.{code}'])} | {_cell(sentences[f'problems.{code}.hint'])} |"
        for code in codes
    ]
    return "\n".join([_HEADS[language][0], *rows])


def fix_table(language: Language) -> str:
    """Every change that a machine can make."""
    sentences = _sentences(language)
    rows = [f"| `{action}` | {_cell(sentences[f'problems.fix.{action}'])} |" for action in get_args(FixAction)]
    return "\n".join([_HEADS[language][1], *rows])


def with_tables(text: str, language: Language) -> str:
    """A page with its two tables as they should be."""
    for name, table in (("problems", problem_table(language)), ("fixes", fix_table(language))):
        marks = re.compile(rf"(<!-- {name}: written by .*? -->\n).*?(\n<!-- end of {name} -->)", re.DOTALL)
        assert marks.search(text), f"the page has no place for {name}"
        text = marks.sub(lambda found, table=table: f"{found[1]}{table}{found[2]}", text)
    return text


def _sentences(language: Language) -> dict[str, str]:
    with (CATALOGS / language / "problems.po").open("rb") as file:
        return {str(m.id): str(m.string) for m in read_po(file) if m.id}


def _cell(sentence: str) -> str:
    """One line; what the sentence fills in stands as three dots, a word in two forms in its second."""
    sentence = re.sub(r"\{[a-z_]+:[^{}|]*\|([^{}|]*)\}", r"\1", sentence)
    filled = re.sub(r"(?<!\{)\{[a-z_]+[^{}]*\}(?!\})", "...", sentence).replace("{{", "{").replace("}}", "}")
    return " ".join(filled.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    for each in LANGUAGES:
        PAGES[each].write_text(with_tables(PAGES[each].read_text("utf-8"), each), "utf-8")
