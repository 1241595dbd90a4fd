"""The expert drawer: every setting that a job may choose as a field of a form, and what was typed read back.

A field that is left empty leaves its setting to the recommendation. Everything typed is kept as it was typed, wrong or
not; the fields' limits are those of `RunConfig` and of `platform/jobs/requests.py`, where they are checked again.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from postil.advice.recommend import Recommendation
from postil.config import RunConfig, setting_paths
from postil.language import current_language, say
from postil.platform.jobs.requests import MAX_SYSTEM_CHARS, MOST, SETTINGS
from postil.web.pages.forms import Form

PREFIX = "set."
"""What stands before a setting's name in the form."""
Kind = Literal["whole", "number", "numbers", "names", "choice", "switch", "text"]
_WHOLE, _NUMBER = re.compile(r"[+-]?\d{1,18}"), re.compile(r"[+-]?(\d{1,18}\.?\d{0,18}|\.\d{1,18})([eE][+-]?\d{1,3})?")
_SWITCH = {"yes": True, "no": False}
_EITHER = ("training.epochs", "training.max_steps")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a number may be; `above` and `below` are themselves not allowed."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None


_OF_BETAS = Limits(least=0, below=1)
"""The decays of moments; the settings leave them open, the optimizer does not."""


@dataclass(frozen=True, slots=True)
class Field:
    """One setting as the drawer shows it.

    Args:
        typed: as it was sent; "" leaves it to the recommendation.
        now: what counts where nothing is typed, in words.
        why: of a recommended one.
        error: what is wrong with what was typed.
    """

    name: str
    kind: Kind
    sentence: str
    choices: tuple[str, ...]
    limits: Limits
    typed: str
    now: str
    why: str
    error: str

    @property
    def slug(self) -> str:
        """For ids in the page."""
        return self.name.replace(".", "-").replace("_", "-")

    @property
    def part(self) -> str:
        """The part of the settings that it belongs to."""
        return self.name.partition(".")[0]


def typed_settings(form: Form) -> dict[str, str]:
    """What stands in the drawer's fields, by setting; fields that are empty or unknown are left out."""
    found = ((name.removeprefix(PREFIX), value) for name, value in form if name.startswith(PREFIX))
    return {name: value for name, value in found if name in SETTINGS and value.strip()}


def read_settings(typed: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """What was typed as settings of a job, and in words what is wrong, by setting."""
    settings: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, text in typed.items():
        try:
            settings[name] = _read(name, text)
        except ValueError as error:
            errors[name] = str(error)
    if all(name in typed for name in _EITHER):
        errors |= {name: say("train_page.error.either") for name in _EITHER}
    return settings, errors


def drawer_fields(
    typed: Mapping[str, str], errors: Mapping[str, str], advice: Recommendation | None
) -> tuple[Field, ...]:
    """All fields, in the order of `RunConfig`."""
    recommended = {setting.name: setting for setting in advice.settings} if advice else {}
    sentences, found = setting_paths(), []
    for name in (path for path in sentences if path in SETTINGS):
        info, setting = _info(name), recommended.get(name)
        counts = setting.value if setting and not setting.chosen else info.default
        kind = _kind(info.annotation)
        field = Field(
            name=name,
            kind=kind,
            sentence=_said_of_empty(sentences[name]) if current_language() == "en" else say(f"config.{name}"),
            choices=_choices(info.annotation),
            limits=_limits(name, info),
            typed=typed.get(name, ""),
            now=say("train_page.drawer.nothing") if counts is None and kind == "text" else value_in_words(counts),
            why=setting.why if setting else "",
            error=errors.get(name, ""),
        )
        found.append(field)
    return tuple(found)


def _said_of_empty(sentence: str) -> str:
    """The sentence of a setting for a form, where None is a field that is left empty."""
    return re.sub(r"\bNone\b(:?)", lambda found: "left empty:" if found[1] else "left empty, it", sentence)


def value_in_words(value: Any) -> str:
    """A setting's value as the drawer shows it."""
    if value is None:
        return say("train_page.drawer.automatic")
    if isinstance(value, bool):
        return say("train_page.drawer.yes" if value else "train_page.drawer.no")
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(value_in_words, value))
    return str(value)


def _read(name: str, text: str) -> Any:
    """The value that a field's text means.

    Raises:
        ValueError: none; says in words what would do.
    """
    info, plain = _info(name), unicodedata.normalize("NFKC", text).strip()
    kind, limits = _kind(info.annotation), _limits(name, info)
    if kind == "text":
        return _text(text)
    if kind == "switch" and plain in _SWITCH:
        return _SWITCH[plain]
    if kind in ("switch", "choice"):
        choices = ("yes", "no") if kind == "switch" else _choices(info.annotation)
        if plain not in choices:
            raise ValueError(say("train_page.error.choice", choices=", ".join(choices)))
        return plain
    if kind == "whole":
        return int(_limited(_number(plain, _WHOLE, "whole"), limits))
    if kind == "number":
        return _limited(_number(plain, _NUMBER, "number"), limits)
    parts = [part.strip() for part in re.split(r"[,、\n]", plain) if part.strip()]
    if kind == "numbers":
        if len(parts) != 2:
            raise ValueError(say("train_page.error.two_numbers"))
        return [_limited(_number(part, _NUMBER, "number"), _OF_BETAS) for part in parts]
    if not parts:
        raise ValueError(say("train_page.error.names"))
    return "all-linear" if parts == ["all-linear"] else parts


def _text(text: str) -> str:
    if len(text) > MAX_SYSTEM_CHARS:
        raise ValueError(say("train_page.error.too_long", most=MAX_SYSTEM_CHARS, chars=len(text)))
    return text.strip()


def _number(text: str, pattern: re.Pattern[str], kind: str) -> float:
    if not pattern.fullmatch(text):
        raise ValueError(say(f"train_page.error.{kind}"))
    value = int(text) if pattern is _WHOLE else float(text)
    if not isfinite(value):
        raise ValueError(say(f"train_page.error.{kind}"))
    return value


def _limited(value: float, limits: Limits) -> float:
    for limit, is_kept, key in (
        (limits.least, limits.least is None or value >= limits.least, "least"),
        (limits.above, limits.above is None or value > limits.above, "above"),
        (limits.most, limits.most is None or value <= limits.most, "most"),
        (limits.below, limits.below is None or value < limits.below, "below"),
    ):
        if not is_kept:
            raise ValueError(say(f"train_page.error.{key}", limit=f"{limit:g}" if limit and limit < 1 else limit))
    return value


def _info(name: str) -> FieldInfo:
    part, _, last = name.partition(".")
    fields: dict[str, FieldInfo] = RunConfig.model_fields[part].annotation.model_fields  # type: ignore[union-attr]
    return fields[last]


def _limits(name: str, info: FieldInfo) -> Limits:
    found = {
        key: getattr(rule, key) for rule in info.metadata for key in ("ge", "le", "gt", "lt") if hasattr(rule, key)
    }
    most = min((x for x in (found.get("le"), MOST.get(name)) if x is not None), default=None)
    return Limits(least=found.get("ge"), most=most, above=found.get("gt"), below=found.get("lt"))


def _kind(annotation: Any) -> Kind:
    for part in _members(annotation):
        if get_origin(part) is Literal and _is_alone(annotation):
            return "choice"
        if get_origin(part) is tuple:
            item = get_args(part)[0]
            return "numbers" if float in (item, *get_args(item)) else "names"
        kinds: dict[Any, Kind] = {bool: "switch", int: "whole", float: "number", str: "text"}
        if part in kinds:
            return kinds[part]
    raise TypeError(f"no field is made for {annotation}")


def _choices(annotation: Any) -> tuple[str, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _is_alone(annotation: Any) -> bool:
    return len(_members(annotation)) == 1


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types that a value may have, None left out."""
    if get_origin(annotation) in (Union, UnionType):
        return tuple(part for part in get_args(annotation) if part is not type(None))
    return (annotation,)
