"""Which language the user reads, and every sentence in it.

Sentences live in gettext catalogs, one per room: `locales/<language>/<room>.po`. A key names its catalog by what stands
before the first dot: `say("cli.train.read", rows=12)` looks up "cli.train.read" in `cli.po` and fills `{rows}` in.
A word that changes with a number stands in both forms: `{rows} {rows:row|rows}`. gettext's own plurals know one number
in a sentence; ours often name several.
The locale chooses Chinese or English; the environment variable POSTIL_LANG overrides it.
"""

import locale
import os
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, Literal, cast

from babel.messages.pofile import read_po

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
CATALOGS = Path(__file__).parent / "locales"

_chosen: ContextVar[Language | None] = ContextVar("language", default=None)


def use_language(language: Language | None) -> None:
    """Sets the language for the current context; None goes back to the environment's choice."""
    _chosen.set(language)


def current_language() -> Language:
    """The language in force: `use_language`, else POSTIL_LANG, else the locale, else English."""
    if chosen := _chosen.get():
        return chosen
    names = [os.environ.get(name, "") for name in ("POSTIL_LANG", "LC_ALL", "LC_MESSAGES", "LANG")]
    name = next((n for n in names if n), "") or locale.getlocale()[0] or "en"
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"


@cache
def _catalog(language: Language, room: str) -> dict[str, str]:
    with (CATALOGS / language / f"{room}.po").open("rb") as file:
        return {cast(str, m.id): cast(str, m.string) for m in read_po(file) if m.id}


def has_sentence(key: str, language: Language = "en") -> bool:
    """True when the key's catalog holds a sentence for it."""
    room = key.partition(".")[0]
    return (CATALOGS / language / f"{room}.po").exists() and key in _catalog(language, room)


def say(key: str, **values: Any) -> str:
    """The sentence of `key` in the current language with `values` filled in.

    Raises:
        KeyError: no catalog holds the key, or a value that the sentence names is missing (both are bugs).
    """
    sentence = _catalog(current_language(), key.partition(".")[0])[key]
    return _FORMS.vformat(sentence, (), values) if "|" in sentence else sentence.format(**values)


class _Forms(Formatter):
    """Fills sentences in as `str.format` does; `{rows:row|rows}` becomes the first form for 1, else the second."""

    def format_field(self, value: Any, format_spec: str) -> str:
        one, bar, more = format_spec.partition("|")
        return (one if value == 1 else more) if bar else str(super().format_field(value, format_spec))


_FORMS = _Forms()


def say_in_all(key: str) -> tuple[str, ...]:
    """The sentence of `key` in every language, as it stands: for what one user wrote and another reads.

    Raises:
        KeyError: no catalog holds the key (a bug).
    """
    return tuple(_catalog(language, key.partition(".")[0])[key] for language in LANGUAGES)
