"""Chat templates in jinja2's sandbox, the way transformers renders them, to the character.

Templates come with models from the internet. The sandbox keeps them from Python's insides; this module also bounds the
size of a template, of what it multiplies and of what it writes. Time and memory are bounded by `template_child.py`.
"""

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any

from jinja2 import Template, nodes, pass_context
from jinja2.exceptions import SecurityError, TemplateError, TemplateSyntaxError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MAX_TEMPLATE_CHARS = 200_000
MAX_OUTPUT_CHARS = 4_000_000
_MARKS = "postil_generation_marks"


class TemplateRefusal(Exception):
    """The template does not compile, refuses the messages, or needs too much; the reason is its own words."""


class _GenerationTag(Extension):
    """`{% generation %} ... {% endgeneration %}`: the part that the model writes.

    Transformers counts characters while rendering, which misses blocks inside macros. We put marks around the part
    instead (where the caller asks for them), so that it is found wherever the template moves it.
    """

    tags = {"generation"}  # noqa: RUF012 (jinja declares it so)

    def parse(self, parser: Parser) -> nodes.Node:
        """Wraps the block's body into a call of `_enclose`."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_enclose"), [], [], body).set_lineno(line)

    @pass_context
    def _enclose(self, context: Context, caller: Macro) -> str:
        opening, closing = context.get(_MARKS) or ("", "")
        return f"{opening}{caller()}{closing}"


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, with a limit on what `*` and `**` may make: one expression could fill the memory otherwise."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuses results that no chat needs."""
        if operator == "**" and (abs(left) > 1_000_000 or abs(right) > 64):
            raise SecurityError("a power this large is not allowed in a chat template")
        for many, times in ((left, right), (right, left)):
            if operator == "*" and hasattr(many, "__len__") and len(many) * times > MAX_OUTPUT_CHARS:
                raise SecurityError("a repetition this long is not allowed in a chat template")
        return super().call_binop(context, operator, left, right)


class _PlainNamespace(Namespace):
    """Jinja's namespace without names that begin with an underscore."""

    def __init__(*args: Any, **values: Any) -> None:
        self, *rest = args
        Namespace.__init__(self, {_public(name): value for name, value in dict(*rest, **values).items()})

    def __setitem__(self, name: str, value: Any) -> None:
        Namespace.__setitem__(self, _public(name), value)


def _public(name: Any) -> Any:
    if str(name).startswith("_"):
        raise SecurityError(f"a chat template may not set the attribute {name!r}")
    return name


def _raise_exception(message: str) -> None:
    raise TemplateError(message)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    # jinja's own filter escapes HTML, which would change the text
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _make_environment() -> _Environment:
    environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, loopcontrols])
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["namespace"] = _PlainNamespace
    return environment


@lru_cache(maxsize=64)
def _compile(source: str) -> Template:
    return _make_environment().from_string(source)


def inspect_source(source: str) -> bool:
    """Compiles a template; True when it says itself which part the model writes.

    Raises:
        TemplateRefusal: too long, or not jinja.
    """
    if len(source) > MAX_TEMPLATE_CHARS:
        raise TemplateRefusal(f"it has {len(source)} characters, more than {MAX_TEMPLATE_CHARS}")
    try:
        _compile(source)
        attributes = _make_environment().parse(source).find_all(nodes.ExtensionAttribute)
        return any(attribute.name == "_enclose" for attribute in attributes)
    except TemplateSyntaxError as error:
        raise TemplateRefusal(f"line {error.lineno}: {error.message}") from error
    except (TemplateError, RecursionError, MemoryError) as error:
        raise TemplateRefusal(str(error) or type(error).__name__) from error


def render_job(source: str, job: Mapping[str, Any]) -> str:
    """The text of a job that `template_renderer.py` made.

    Args:
        job: plain values: messages, tools, special_tokens, today (ISO), marks.

    Raises:
        TemplateRefusal: the template raised, or wrote more than MAX_OUTPUT_CHARS.
    """
    midnight = datetime.combine(date.fromisoformat(job["today"]), time())
    variables: dict[str, Any] = dict(job["special_tokens"]) | {
        "messages": job["messages"],
        "tools": job["tools"],
        "documents": None,
        "add_generation_prompt": False,
        "strftime_now": midnight.strftime,
        _MARKS: job["marks"],
    }
    blocks, size = [], 0
    try:
        for block in _compile(source).generate(variables):
            blocks.append(block)
            size += len(block)
            if size > MAX_OUTPUT_CHARS:
                raise TemplateRefusal(f"it wrote more than {MAX_OUTPUT_CHARS} characters")
        return "".join(blocks)
    except TemplateRefusal:
        raise
    except MemoryError as error:
        raise TemplateRefusal("it wants more memory than a chat template may have") from error
    except Exception as error:  # a template can raise anything: TypeError for a missing content, OverflowError ...
        raise TemplateRefusal(" ".join(str(error).split())[:300] or type(error).__name__) from error
