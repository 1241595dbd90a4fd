"""What is wrong in the text of one conversation, though it could train: one warning of each kind, located.

A clean conversation pays for a dozen searches for single characters and no more: every check has a cheap sign that its
text must show before anything is looked at closely.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from postil.data.checks.text_fixes import (
    CERTAIN_CONTROL_CHARACTERS,
    CONTROL_CHARACTERS,
    CONTROL_TOKEN,
    HTML_ENTITY,
    strip_control_characters,
    strip_html,
)
from postil.data.conversations import Message
from postil.data.shapes.columns import Kind

_PLACEHOLDER = re.compile(r"(?<!\$)\{\{\s*[^\W\d][\w.\- ]{0,40}\}\}")
# Formatting that somebody's editor left behind; a single "<div>" in a sentence may be what is talked about.
_FORMATTED = "p|div|span|b|strong|i|em|u|font|a|ul|ol|li|table|tr|td|th|h[1-6]|center|blockquote|section|article"
_BREAK = re.compile(r"<br\s*/?>|<(?:img|hr)\b[^<>]{0,999}>", re.IGNORECASE)
_OPENING = re.compile(rf"<(?:{_FORMATTED})(?:\s[^<>]{{0,999}})?>", re.IGNORECASE)
_CLOSING = re.compile(rf"</(?:{_FORMATTED})>", re.IGNORECASE)
_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`", re.DOTALL)
_ABOUT_HTML = re.compile(r"html|<!doctype|<body|<script|xml|markup|网页|網頁|标签|標籤", re.IGNORECASE)
_LOST = re.compile(r"\ufffd+|锟斤拷|ï¿½|烫烫烫|屯屯屯")
_LONG_ENOUGH = re.compile(r"[0-9][0-9 \-().]{8}")
_NINE_DIGITS = re.compile(r"[0-9](?:[ \-().]{0,2}[0-9]){8}")
_FORMULA = re.compile(r"\s*[=+\-@](?:[A-Za-z_][\w.]*\s?\(|[A-Za-z]+\||\$?[A-Z]{1,3}\$?\d+(?:[-+*/:]|$))")
_FORMULA_STARTS = ("=", "+", "-", "@")
# Who says what he is without refusing anything ("I am a language model made by ...") is left alone.
_REFUSAL = re.compile(
    r"\b(?:as an?|i(?:['’]m| am) (?:just |only )?an?) (?:ai\b|artificial intelligence|(?:large )?language model)"
    r"[^.!?\n]{0,60}?\b(?:can(?:no|['’])t|can not|unable|don['’]t|(?:do|am|be) not|won['’]t|not (?:able|have))\b"
    r"|\bsorry,? (?:but )?i (?:can(?:no|['’])t|am (?:unable|not able) to|['’]m (?:unable|not able) to) "
    r"(?:help|assist|fulfil|comply|provide|answer|do that|create|generate|write)"
    r"|\bi (?:can(?:no|['’])t|am unable to) (?:help|assist) (?:you )?with (?:that|this)"
    r"|(?:(?<![你您])作为|我(?:只|仅仅?)?是)一?[个個名位款]?(?:AI|人工智能|大?型?语言模型|自然语言)"
    r"[^。！？\n]{0,30}?(?:无法|不能|没有|不具备|不会|无权|並非|并不|不可以)"
    r"|(?:抱歉|对不起)[，,]?\s*我(?:无法|不能)(?:回答|提供|协助|满足|完成)[您你]?的?(?:这|该|此|请求|要求|问题|相关)",
    re.IGNORECASE,
)
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")
_CHINESE_SIGNS = frozenset("，。！？、：；“”‘’（）《》…—～·【】")
_AROUND = 20
_MOST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Remark:
    """A warning about one message.

    Args:
        index: of the message.
        found: what was found, as the sentence names it.
        excerpt: with its surroundings.
    """

    code: str
    index: int
    found: str
    excerpt: str


def check_texts(messages: Sequence[Message], text: str, kind: Kind, from_table: bool) -> Sequence[Remark]:
    """Remarks on one conversation, at most one of each code.

    Args:
        text: all contents, joined by blanks.
        from_table: the texts were cells, where a formula could have been meant.
    """
    remarks: list[Remark] = []
    if _is_suspect(text) or (from_table and any(m.content.lstrip()[:1] in _FORMULA_STARTS for m in messages)):
        about_html = _ABOUT_HTML.search(text) is not None
        for index, message in enumerate(messages):
            remarks += _text_remarks(message.content, index, about_html, from_table)
    if _may_refuse(text):
        remarks += _refusals(messages)
    if kind != "classification":
        remarks += _echoes(messages, _mended if remarks else str.strip)
    return _first_of_each(remarks) if remarks else ()


def _first_of_each(remarks: Sequence[Remark]) -> Sequence[Remark]:
    first: dict[str, Remark] = {}
    for remark in remarks:
        first.setdefault(remark.code, remark)
    return list(first.values())


def has_personal_sign(text: str) -> bool:
    """True where personal data could be: an @, or digits enough for a number."""
    if "@" in text:
        return True
    return _LONG_ENOUGH.search(text) is not None and _NINE_DIGITS.search(text) is not None


def is_too_short(answer: str) -> bool:
    """One character, or nothing but ASCII punctuation; pictographs say something."""
    if len(answer) > 12:
        return False
    stripped = answer.strip()
    return len(stripped) == 1 or (stripped.isascii() and not _LETTER_OR_DIGIT.search(stripped))


def _is_suspect(text: str) -> bool:
    if "{{" in text or "<" in text or "&" in text or "[" in text:
        return True
    # Line breaks and tabs are the usual reason why a text is not printable.
    if not text.isprintable() and CONTROL_CHARACTERS.search(text):
        return True
    return not text.isascii() and _may_be_garbled(text)


def _may_be_garbled(text: str) -> bool:
    return (
        "\ufffd" in text
        or "锟" in text
        or "烫烫" in text
        or "屯屯" in text
        # How frequent UTF-8 characters (，。的你我) look when they were read as GBK.
        or "锛" in text
        or "銆" in text
        or "鐨" in text
        or "浣犲" in text
        or "鎴戜" in text
        # In UTF-8 the characters U+00C0 to U+00FF, and only these, begin with the byte C3.
        or b"\xc3" in text.encode("utf-8", "replace")
    )


def _may_refuse(text: str) -> bool:
    return (
        "AI" in text
        or "orry" in text
        or "language model" in text
        or "nable to" in text
        or "人工智能" in text
        or "语言模型" in text
        or "抱歉" in text
        or "对不起" in text
    )


def _text_remarks(text: str, index: int, about_html: bool, from_table: bool) -> Iterator[Remark]:
    if "{{" in text and (found := _PLACEHOLDER.search(text)):
        yield _remark("placeholder", text, index, found)
    garbled = None if text.isascii() else _garbled(text, index)
    if garbled:
        yield garbled
    # What was read wrongly is full of control characters, and could not be mended without some of them.
    controls = CERTAIN_CONTROL_CHARACTERS if garbled and garbled.code == "mojibake" else CONTROL_CHARACTERS
    if not text.isprintable() and (found := controls.search(text)):
        yield _remark("control_characters", text, index, found)
    if ("<" in text or "[" in text) and (found := CONTROL_TOKEN.search(text)):
        yield _remark("control_tokens", text, index, found)
    if not about_html and ("<" in text or "&" in text):
        bare = _CODE.sub("", text)
        if found := _find_html(bare):
            yield Remark("html", index, found[0][:40], bare[max(found.start() - _AROUND, 0) : found.start() + 60])
    if from_table and _FORMULA.match(text):
        yield Remark("formula_injection", index, text.strip()[:40], text[:80])


def _find_html(text: str) -> "re.Match[str] | None":
    """A line break, an entity, or a tag that is closed again."""
    opened = _OPENING.search(text)
    if opened and _CLOSING.search(text, opened.end()):
        return opened
    return _BREAK.search(text) or HTML_ENTITY.search(text)


def _remark(code: str, text: str, index: int, found: "re.Match[str]") -> Remark:
    # What was found can be as long as the text itself: thousands of lost characters in a row.
    excerpt = text[max(found.start() - _AROUND, 0) : min(found.end(), found.start() + _MOST_SHOWN) + _AROUND]
    shown = found[0] if found[0].isprintable() else repr(found[0])[1:-1]
    return Remark(code, index, shown[:_MOST_SHOWN], excerpt)


def _garbled(text: str, index: int) -> Remark | None:
    """Text that was read in a wrong encoding: to be decoded, or lost for good."""
    if not _may_be_garbled(text):
        return None
    if (mended := mend_mojibake(text)) != text:
        start = next((i for i, (a, b) in enumerate(zip(text, mended, strict=False)) if a != b), 0)
        excerpt = text[max(start - _AROUND, 0) : start + 2 * _AROUND]
        return Remark("mojibake", index, mended[start : start + 20], excerpt)
    found = _LOST.search(text)
    return _remark("lost_characters", text, index, found) if found else None


def mend_mojibake(text: str) -> str:
    """The text before a program read its UTF-8 as Latin-1, Windows-1252 or GBK; unchanged where that is unsure."""
    if not _may_be_garbled(text):
        return text
    import ftfy

    mended = ftfy.fix_encoding(text, ftfy.TextFixerConfig(restore_byte_a0=True, replace_lossy_sequences=True))
    return mended if mended != text else _mend_gbk(text)


def _mend_gbk(text: str) -> str:
    """ "浣犲ソ" is "你好" read as GBK. Taken only where every byte fits and the result is Chinese."""
    try:
        mended = text.encode("gb18030").decode("utf-8")
    except UnicodeError:
        return text
    foreign = [c for c in mended if not c.isascii()]
    is_chinese = len(foreign) > 1 and all("\u4e00" <= c <= "\u9fff" or c in _CHINESE_SIGNS for c in foreign)
    return mended if is_chinese else text


def _refusals(messages: Sequence[Message]) -> Iterator[Remark]:
    for index, message in enumerate(messages):
        if message.role == "assistant" and (found := _REFUSAL.search(message.content)):
            yield _remark("refusal", message.content, index, found)


def _echoes(messages: Sequence[Message], bare: Callable[[str], str]) -> Sequence[Remark]:
    """Answers that say the question again, compared as `bare` makes them."""
    before = bare(messages[0].content) if messages else ""
    for index in range(1, len(messages)):
        text = bare(messages[index].content)
        if text == before and messages[index].role == "assistant" and text:
            return [Remark("answer_equals_question", index, text[:40], text[:80])]
        before = text
    return ()


def _mended(text: str) -> str:
    """The text after the fixes of what is wrong in it."""
    return strip_html(strip_control_characters(text)).strip()
