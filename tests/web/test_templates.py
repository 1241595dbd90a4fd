"""What every template keeps: no bare sentence, keys that exist with what they name, and nothing that runs or is styled
in place."""

import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from string import Formatter

import pytest
from babel.messages.pofile import read_po
from jinja2 import nodes

from postil.language import CATALOGS, LANGUAGES
from postil.web.pages.rendering import TEMPLATES, environment
from postil.web.pages.static_files import static_files

NAMES = sorted(path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.html"))
VALUE = "\ufffc"
"""Stands where a template fills a value in."""
SPOKEN = (
    "aria-label",
    "data-label",
    "aria-description",
    "aria-roledescription",
    "aria-valuetext",
    "title",
    "placeholder",
    "alt",
    "label",
)
BUTTONS = ("submit", "button", "reset")
AS_THEY_ARE = {"Postil", "English", "中文"}
"""Names that are the same in every language: ours, and those of the languages in themselves."""
NOT_READ = ("code", "pre", "script", "style")
"""Elements whose text is for machines."""
LETTERS = re.compile(r"[^\W\d_]{2,}|[\u3400-\u9fff]")
OUTSIDE = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)


@cache
def catalog(language: str, room: str) -> dict[str, str]:
    path = CATALOGS / language / f"{room}.po"
    if not path.exists():
        return {}
    with path.open("rb") as file:
        return {str(m.id): str(m.string) for m in read_po(file) if m.id}


@cache
def source(name: str) -> str:
    return (TEMPLATES / name).read_text("utf-8")


@cache
def tree(name: str) -> nodes.Template:
    return environment().parse(source(name), name)


def html_of(text: str) -> str:
    """A template without Jinja: every branch stands there, and `VALUE` for everything that is filled in."""
    parts = []
    inside = re.sub(r"{% block \w+_class %}.*?{% endblock %}", "", text)  # stands within a tag of the layout
    for _, kind, value in environment().lex(inside):
        if kind == "data":
            parts.append(value)
        elif kind == "variable_begin":
            parts.append(VALUE)
    return "".join(parts)


class Page(HTMLParser):
    """Finds what a template must not have."""

    def __init__(self, text: str):
        super().__init__()
        self.faults: list[str] = []
        self.open: list[str] = []
        self.num_texts = 0
        self.feed(html_of(text))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("input", "meta", "link", "br", "hr", "img", "path", "line", "circle", "rect", "polyline", "use"):
            self.open.append(tag)
        given = {name: value or "" for name, value in attrs}
        for name, value in given.items():
            self._attribute(tag, name, value, given)
        if tag == "form" and given.get("method") not in ("get", "post"):
            self._blame("a form without method")
        if tag == "form" and not given.get("action", "").startswith(("/", VALUE)):
            self._blame("a form without an own action")
        if tag == "script" and "src" not in given:
            self._blame("a script in the page")
        if tag in ("style", "iframe", "object", "embed", "base"):
            self._blame(f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:  # an element that one branch opens and another closes
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not any(tag in NOT_READ for tag in self.open):
            self._sentence(data)

    def _attribute(self, tag: str, name: str, value: str, given: dict[str, str]) -> None:
        if name == "style" or name.startswith(("on", "hx-on")):
            self._blame(f"{name}=")
        if name in ("href", "src", "action", "formaction", "srcset") and OUTSIDE.match(value):
            self._blame(f"{name}={value}")
        if "js:" in value and name.startswith("hx-"):
            self._blame(f"{name}={value}")
        is_shown = tag == "input" and given.get("type", "text") in (*BUTTONS, "text", "search", "email", "url")
        if name in SPOKEN or (name == "value" and is_shown) or (tag == "meta" and given.get("name") == "description"):
            self._sentence(value)

    def _sentence(self, text: str) -> None:
        self.num_texts += 1
        for part in text.split(VALUE):
            if LETTERS.search(part) and part.strip(" \n·") not in AS_THEY_ARE:
                self._blame(f"a bare sentence: {part.strip()!r}")

    def _blame(self, what: str) -> None:
        self.faults.append(f"line {self.getpos()[0]}: {what}")


def calls_of_t(
    node: nodes.Node, known: dict[str, set[str]] | None = None
) -> Iterator[tuple[nodes.Call, dict[str, set[str]]]]:
    """Every `t(...)`, with the texts that the loops around it give their names."""
    known = known or {}
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "t":
        yield node, known
    if isinstance(node, nodes.For):
        known = known | looped(node)
    for child in node.iter_child_nodes():
        yield from calls_of_t(child, known)


def looped(loop: nodes.For) -> dict[str, set[str]]:
    """Names that a loop over constants goes through: `for path, key in (("/a", "a"), ...)`."""
    is_pair = isinstance(loop.target, nodes.Tuple)
    names = [target.name for target in loop.target.find_all(nodes.Name)] or [loop.target.name]  # type: ignore[attr-defined]
    if not isinstance(loop.iter, nodes.Expr):
        return {}
    try:
        values = loop.iter.as_const()
    except nodes.Impossible:
        return {}
    known: dict[str, set[str]] = {name: set() for name in names}
    for value in values:
        for name, part in zip(names, value if is_pair else (value,), strict=True):
            known[name].add(str(part))
    return known


def patterns(node: nodes.Node, known: dict[str, set[str]]) -> Iterator[str]:
    """Every key that an expression can be; `VALUE` for a part that is not known before."""
    if isinstance(node, nodes.Const):
        yield str(node.value)
    elif isinstance(node, nodes.CondExpr):
        yield from patterns(node.expr1, known)
        if node.expr2 is not None:
            yield from patterns(node.expr2, known)
    elif isinstance(node, nodes.Concat):
        made = [""]
        for part in node.nodes:
            made = [before + after for before in made for after in patterns(part, known)]
        yield from made
    elif isinstance(node, nodes.Add):
        yield from (a + b for a in patterns(node.left, known) for b in patterns(node.right, known))
    elif isinstance(node, nodes.Name) and node.name in known:
        yield from known[node.name]
    else:
        yield VALUE


def sentences(language: str, pattern: str) -> dict[str, str]:
    """Sentences whose keys a pattern can be."""
    known = catalog(language, pattern.partition(".")[0])
    if VALUE not in pattern:
        return {pattern: known[pattern]} if pattern in known else {}
    form = re.compile(r"[\w.-]+".join(map(re.escape, pattern.split(VALUE))))
    return {key: text for key, text in known.items() if form.fullmatch(key)}


def placeholders(sentence: str) -> set[str]:
    return {name.split(".")[0].split("[")[0] for _, name, _, _ in Formatter().parse(sentence) if name is not None}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_stands_bare_and_nothing_runs_in_place(name: str) -> None:
    assert not Page(source(name)).faults


@pytest.mark.parametrize("name", NAMES)
def test_every_sentence_exists_with_what_it_names(name: str) -> None:
    missing = []
    for call, known in calls_of_t(tree(name)):
        given = {keyword.key for keyword in call.kwargs}
        for pattern in patterns(call.args[0], known):
            if pattern == VALUE:  # a key that the page was given, such as a symptom's
                continue
            for language in LANGUAGES:
                found = sentences(language, pattern)
                if not found:
                    missing.append(f"line {call.lineno}: {language} {pattern}")
                if call.dyn_kwargs is None and VALUE not in pattern:
                    lacking = {part for text in found.values() for part in placeholders(text)} - given
                    missing += [f"line {call.lineno}: {pattern} names {part}" for part in sorted(lacking)]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_sentences_come_from_catalogs_alone(name: str) -> None:
    """A text in an expression, such as `"yes" if it else "no"`, is a bare sentence too."""
    root = tree(name)
    said = {id(const) for call in root.find_all(nodes.Call) for const in call.find_all(nodes.Const)}
    bare = [
        (const.lineno, const.value)
        for output in root.find_all((nodes.Output, nodes.Assign))
        for const in output.find_all(nodes.Const)
        if id(const) not in said
        and isinstance(const.value, str)
        and re.search(r"[^\W\d_] [^\W\d_]|[\u3400-\u9fff]", const.value)
    ]
    assert not bare


@pytest.mark.parametrize("name", NAMES)
def test_parts_and_files_that_are_named_exist(name: str) -> None:
    root, missing = tree(name), []
    for node in root.find_all((nodes.Include, nodes.Extends, nodes.Import, nodes.FromImport)):
        template = node.template  # type: ignore[attr-defined]
        if isinstance(template, nodes.Const) and template.value not in NAMES:
            missing.append(template.value)
    for call in root.find_all(nodes.Call):
        if isinstance(call.node, nodes.Name) and call.node.name == "static" and isinstance(call.args[0], nodes.Const):
            missing += [call.args[0].value] * (call.args[0].value not in static_files())
    assert not missing


WRONG = {
    "<p>Sign in</p>": "bare sentence",
    "<p>{{ x }} rows</p>": "bare sentence",
    "<p>登录</p>": "bare sentence",
    "<p>{% if x %}{{ y }}{% else %}none{% endif %}</p>": "bare sentence",
    '<input placeholder="your name">': "bare sentence",
    '<a href="/x" title="more of it">{{ y }}</a>': "bare sentence",
    '<input type="submit" value="Send">': "bare sentence",
    '<img alt="a chart" src="/x.svg">': "bare sentence",
    '<nav aria-label="Main {{ x }}"></nav>': "bare sentence",
    '<p style="color: red"></p>': "style=",
    '<p onclick="go()"></p>': "onclick=",
    '<p hx-on:click="go()"></p>': "hx-on:click=",
    "<p hx-vals='js:{a: 1}'></p>": "hx-vals=",
    "<script>go()</script>": "script",
    '<script src="//cdn.example/x.js"></script>': "src=",
    '<a href="javascript:go()">{{ x }}</a>': "href=",
    "<style>p {}</style>": "<style>",
    '<form action="/x"></form>': "method",
    '<form method="post"></form>': "action",
    '<form method="post" action="https://evil.example/"></form>': "action",
}


@pytest.mark.parametrize("text", WRONG)
def test_the_look_itself_finds_what_is_wrong(text: str) -> None:
    assert any(WRONG[text] in fault for fault in Page(text).faults)


def test_the_look_lets_pass_what_is_right() -> None:
    text = """{# A sentence in a comment. #}<form method="post" action="/x/{{ id }}" class="a card">
    <label>{{ t("pages.name") }}, 12 · <code>postil doctor</code> <input name="x" value="{{ 'y z' }}">
    </label><b title="{{ t('pages.name') }}">Postil</b><button name="language" value="en">English</button></form>
    <script src="/static/app.js" defer></script>"""
    page = Page(text)
    assert not page.faults and page.num_texts > 3


def test_keys_are_found_in_choices_and_loops() -> None:
    text = """{% for path, key in (("/a", "models"), ("/b", "data")) %}{{ t("pages.nav." ~ key) }}{% endfor %}
    {{ t("pages.a" if x else "pages.b") }}{{ t("pages." ~ x.kind ~ ".c") }}"""
    root = environment().parse(text)
    found = [pattern for call, known in calls_of_t(root) for pattern in patterns(call.args[0], known)]
    assert sorted(found) == sorted(["pages.nav.models", "pages.nav.data", "pages.a", "pages.b", f"pages.{VALUE}.c"])
    assert set(sentences("en", f"pages.nav.{VALUE}")) >= {"pages.nav.models", "pages.nav.jobs"}
    assert placeholders("{n} {n:row|rows} of {most}") == {"n", "most"}
