"""Every sentence exists in both languages, names the same values, and every key in the code has one."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
from babel.messages.pofile import read_po

from postil import errors
from postil.config import setting_paths
from postil.language import CATALOGS, has_sentence

PACKAGE = CATALOGS.parent
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}
SETTINGS = {f"config.{path}" for path in setting_paths()}
ROOMS = sorted(path.stem for path in (CATALOGS / "en").glob("*.po"))


def sentences(language: str, room: str) -> dict[str, str]:
    with (CATALOGS / language / f"{room}.po").open("rb") as file:
        return {str(m.id): str(m.string) for m in read_po(file, abort_invalid=True) if m.id}


def placeholders(sentence: str) -> set[str]:
    return {name.split(".")[0].split("[")[0] for _, name, _, _ in Formatter().parse(sentence) if name is not None}


def test_both_languages_have_the_same_catalogs() -> None:
    assert ROOMS
    assert sorted(path.stem for path in (CATALOGS / "zh").glob("*.po")) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_languages_agree(room: str) -> None:
    english, chinese = sentences("en", room), sentences("zh", room)
    # the English sentence of a setting stands under its field in config.py
    assert english.keys() - SETTINGS == chinese.keys() - SETTINGS
    empty = [key for key, sentence in (english | chinese).items() if not sentence.strip()]
    assert not empty
    differing = {key for key in english if placeholders(english[key]) != placeholders(chinese[key])}
    assert not differing
    foreign = [key for key in english.keys() | chinese.keys() if not key.startswith(f"{room}.")]
    assert not foreign


@pytest.mark.parametrize("path", sorted(CATALOGS.glob("*/*.po")), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_catalog_defines_each_key_once(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "charset=UTF-8" in text
    assert "#, fuzzy" not in text
    twice = [key for key, n in Counter(re.findall(r'^msgid "(.+)"$', text, re.MULTILINE)).items() if n > 1]
    assert not twice


def test_every_setting_is_explained_in_chinese() -> None:
    assert not [key for key in SETTINGS if not has_sentence(key, "zh")]


def literal_keys(node: ast.expr) -> Iterator[str]:
    """The strings that an argument can be: a literal, or either branch of a choice between literals."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from literal_keys(node.body)
        yield from literal_keys(node.orelse)


def keys_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and key of every sentence that a module names."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        named = {k.arg: k.value for k in node.keywords}
        first = node.args[0] if node.args else named.get("code" if called == "Problem" else "key")
        for key in literal_keys(first) if first is not None else ():
            if called == "say" or called == "Warned":
                yield node.lineno, key
            elif called in ERRORS:
                yield from ((node.lineno, k) for k in (key, f"{key}.hint"))
            elif called == "Problem":
                yield from ((node.lineno, f"problems.{k}") for k in (key, f"{key}.hint"))


def test_every_key_in_the_code_has_a_sentence() -> None:
    missing, found = [], 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for line, key in keys_in(ast.parse(path.read_text("utf-8"))):
            found += 1
            if not (has_sentence(key, "en") and has_sentence(key, "zh")):
                missing.append(f"{path.relative_to(PACKAGE)}:{line} {key}")
    assert not missing
    assert found > 20


def test_every_help_text_of_the_shell_has_a_sentence() -> None:
    """Help texts are keys that stand in the shell's signatures until the language is known."""
    missing = [
        f"{path.name}:{node.lineno} {node.value}"
        for path in sorted((PACKAGE / "cli").glob("*.py"))
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"cli(\.[a-z0-9_]+)+", node.value)
        and not has_sentence(node.value, "en")
    ]
    assert not missing
