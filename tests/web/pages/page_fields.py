"""Reads a page as a browser does: the fields that a form would send, the text that is seen, the code that is shown."""

from dataclasses import dataclass, field
from html.parser import HTMLParser


@dataclass
class _Reader(HTMLParser):
    fields: dict[str, str] = field(default_factory=dict)
    codes: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    select: str = ""
    option: str | None = None
    is_chosen: bool = False
    textarea: str | None = None
    in_pre: bool = False

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attrs}
        name = known.get("name", "")
        if tag == "input" and name:
            is_box = known.get("type") in ("radio", "checkbox")
            if not is_box or "checked" in known:
                self.fields[name] = known.get("value", "")
        elif tag == "select":
            self.select = name
        elif tag == "option":
            self.option, self.is_chosen = known.get("value"), "selected" in known
            if self.option is not None:
                self._choose(self.option)
        elif tag == "textarea":
            self.textarea, self.fields[name] = name, ""
        elif tag == "pre":
            self.in_pre = True
            self.codes.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self.textarea is not None:
            self.fields[self.textarea] = self.fields[self.textarea].removeprefix("\n")
            self.textarea = None
        elif tag == "pre":
            self.in_pre = False

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.textarea is not None:
            self.fields[self.textarea] += data
        elif self.in_pre:
            self.codes[-1] += data
        elif self.option is None and self.select and data.strip():
            self._choose(data.strip())

    def _choose(self, value: str) -> None:
        if self.is_chosen or self.select not in self.fields:
            self.fields[self.select] = value


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html.partition("<main")[2] or html)  # the head of the page has forms of its own
    return reader


def fields_of(html: str) -> dict[str, str]:
    """Name -> value of every field, as it would be sent without a change; forms are not told apart."""
    return _read(html).fields


def text_of(html: str) -> str:
    """All that can be read, white space made single."""
    return " ".join(" ".join(_read(html).words).split())


def codes_of(html: str) -> list[str]:
    """What the page shows as code, block by block."""
    return _read(html).codes
