"""What can be done to one text: pure functions, and the patterns that they change.

Each one is idempotent, so that a text that was mended is not found wanting again.
"""

import html
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

Rewrite = Callable[[str], str]

# Line tabulation, form feed and NEL end a line somewhere; the rest shows nothing anywhere.
_LINE_ENDS = re.compile(r"[\x0b\x0c\x85]")
# Of the others, bytes 80 to 9F, text that was read in a wrong encoding is made in part.
CERTAIN_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffe\uffff\ud800-\udfff]")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff\ud800-\udfff]")
_BLANKS = " \t\r\n\u00a0\u3000\u200b\ufeff"

_TAG_NAMES = (
    "a|abbr|address|article|aside|b|big|blockquote|body|br|button|caption|center|code|col|colgroup|dd|del|details|div"
    "|dl|dt|em|figcaption|figure|font|footer|form|h[1-6]|head|header|hr|html|i|iframe|img|input|ins|label|li|link|main"
    "|mark|meta|nav|ol|option|p|picture|pre|s|script|section|select|small|span|strike|strong|style|sub|summary|sup"
    "|table|tbody|td|textarea|tfoot|th|thead|title|tr|tt|u|ul|video"
)
# Only names that HTML knows: "a < b > c" and "List<String>" stay. "<s>" is left to the control tokens.
HTML_TAG = re.compile(
    rf"(?!</?s>)</?(?:{_TAG_NAMES})(?:[\s/][^<>]*)?>|<!--(?:(?!<!--|-->).)*-->", re.IGNORECASE | re.DOTALL
)
HTML_ENTITY = re.compile(
    r"&(?:nbsp|e[nm]sp|amp|lt|gt|quot|apos|[lr][sd]quo|hellip|[mn]dash|#\d{2,6}|#x[\da-f]{2,5});", re.IGNORECASE
)
# Patterns stop where the next of their kind begins: each text is looked through once, however it is built.
_UNSHOWN = re.compile(r"<(script|style)\b[^<>]*>[^<]*(?:<(?!/?\1\b)[^<]*)*</\1\s*>", re.IGNORECASE)
_CODE = re.compile(r"(```.*?(?:```|\Z)|`[^`\n]+`)", re.DOTALL)
_MOST_ESCAPES = 4
_LINE_TAG = re.compile(r"<(?:br|hr)\s*/?>|</(?:p|div|li|tr|h[1-6]|blockquote|pre|dt|dd)\s*>", re.IGNORECASE)

# The marks that chat templates use between messages: whole models' families, not one model's list.
CONTROL_TOKEN = re.compile(
    r"<\|[^<>|\s]{1,40}\|>|<｜[^<>｜]{1,40}｜>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|\[/?(?:g|s)?MASK\]"
    r"|<(?:bos|eos|pad|unk)>|\[/?AVAILABLE_TOOLS\]"
)

_PLACEHOLDERS = {
    "mobile": ("[phone]", "[电话]"),
    "phone": ("[phone]", "[电话]"),
    "id_card": ("[id number]", "[证件号]"),
    "email": ("[e-mail]", "[邮箱]"),
    "bank_card": ("[card number]", "[卡号]"),
}
_HAN = re.compile(r"[\u4e00-\u9fff]")


def trim(text: str) -> str:
    """Without white space and invisible spaces at both ends."""
    return text.strip().strip(_BLANKS).strip()


def strip_control_characters(text: str) -> str:
    """Without characters that show nothing; those that end a line somewhere become line breaks.

    Garbled text keeps those by which it can be decoded.
    """
    if CONTROL_CHARACTERS.search(text) is None:
        return text
    if decode_mojibake(text) != text:
        return CERTAIN_CONTROL_CHARACTERS.sub("", re.sub(r"[\x0b\x0c]", "\n", text))
    return CONTROL_CHARACTERS.sub("", _LINE_ENDS.sub("\n", text))


def decode_mojibake(text: str) -> str:
    """UTF-8 that was once read as Latin-1, cp1252 or GBK, read as what it is."""
    from postil.data.checks.text_checks import mend_mojibake

    return mend_mojibake(text)


def strip_html(text: str) -> str:
    """Text without tags, scripts and comments; tags that end a line become line breaks, entities their characters.

    What stands in backticks is code and stays.
    """
    pieces = [piece if i % 2 else _without_tags(piece) for i, piece in enumerate(_CODE.split(text))]
    stripped = "".join(pieces)
    return text if stripped == text else re.sub(r"\n{3,}", "\n\n", stripped).strip()


def _without_tags(text: str) -> str:
    """Done again while it changes something: scraped text is often escaped twice."""
    for _ in range(_MOST_ESCAPES):
        if not (HTML_TAG.search(text) or HTML_ENTITY.search(text)):
            break
        bare = HTML_TAG.sub("", _LINE_TAG.sub("\n", _UNSHOWN.sub("", text)))
        plain = HTML_ENTITY.sub(lambda found: html.unescape(found[0]).replace("\u00a0", " "), bare)
        text = re.sub(r"(?<![ \t])[ \t]+\n", "\n", plain)
    return text


def mask_personal_data(text: str, keep: Collection[str] = ()) -> str:
    """Numbers and addresses of persons replaced by what they are, in the text's own language.

    Args:
        keep: what is not personal, such as the company's own number.
    """
    from postil.data.checks.personal_data import find_personal_data

    masked, end_of_last = [], 0
    for start, end, kind in sorted(find_personal_data(text)):
        if start < end_of_last or text[start:end] in keep:
            continue
        names = _PLACEHOLDERS.get(kind, (f"[{kind}]", f"[{kind}]"))
        masked += [text[end_of_last:start], names[bool(_HAN.search(text))]]
        end_of_last = end
    return "".join((*masked, text[end_of_last:]))


def break_control_tokens(text: str, tokens: Sequence[str] = ()) -> str:
    """A space after the first character of every control token: "< |im_end|>" is plain text for every tokenizer.

    Args:
        tokens: those of the template at hand; the common ones are always broken.
    """
    for token in sorted(tokens, key=len, reverse=True):
        if len(token) > 1:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return CONTROL_TOKEN.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


def rewrite_for(action: str, values: Mapping[str, Any]) -> Rewrite | None:
    """The function of one text for an action, with what the fix says besides; None where it is no text action."""
    match action:
        case "mask_personal_data":
            keep = frozenset(values.get("keep", ()))
            return lambda text: mask_personal_data(text, keep)
        case "break_control_tokens":
            tokens = tuple(values.get("tokens", ()))
            return lambda text: break_control_tokens(text, tokens)
        case _:
            return _PLAIN.get(action)


_PLAIN: dict[str, Rewrite] = {
    "trim": trim,
    "strip_control_characters": strip_control_characters,
    "decode_mojibake": decode_mojibake,
    "strip_html": strip_html,
}
