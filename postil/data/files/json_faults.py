"""What is wrong in a text that is nearly JSON, told by a reader that forgives everything."""

import re
from dataclasses import dataclass, field
from typing import Literal

MAX_DEPTH = 100
"""Levels of lists and objects inside one another. Real rows have fewer than ten."""

FaultCode = Literal[
    "json_single_quotes",
    "json_comma_too_many",
    "json_missing_comma",
    "json_unquoted_key",
    "json_not_a_number",
    "json_python_word",
    "json_lone_surrogate",
    "json_too_deep",
    "json_comment",
    "json_two_objects",
    "json_stray_bom",
    "json_line_break",
    "json_bad_escape",
    "json_inner_quotes",
    "json_wide_marks",
    "json_unfinished",
    "broken_json",
]

TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+)
      | (?P<text>"[^"\\]*(?:\\.[^"\\]*)*")
      | (?P<open>[\[{｛［]) | (?P<close>[\]}｝］]) | (?P<comma>[,，]) | (?P<colon>[:：])
      | (?P<single>'[^'\\\n]*(?:\\.[^'\\\n]*)*')
      | (?P<curly>[“”„][^“”\n]*[“”])
      | (?P<comment>//[^\n]*|/\*.*?\*/|\#[^\n]*)
      | (?P<number>[-+]?(?:Infinity|\.?\d[\w.+\-]*))
      | (?P<word>[^\W\d][\w$\-]*)
      | (?P<bom>\ufeff)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
"""Everything that a text which should be JSON is made of, right or wrong; the group that matched names it."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
_NOT_A_NUMBER = ("NaN", "Infinity", "-Infinity", "+Infinity", "nan", "inf", "Inf")
_PYTHON_WORDS = ("None", "True", "False", "undefined")
_WIDE = "｛［｝］，："
_CLOSED_BY = {"{": "}", "[": "]", "｛": "｝", "［": "］"}


@dataclass(slots=True)
class FaultScan:
    """What was found in one value.

    Args:
        faults: code -> the first position where it occurs.
        end: just behind the value; None where it never ends.
    """

    faults: dict[FaultCode, int] = field(default_factory=dict)
    end: int | None = None

    def add(self, code: FaultCode, position: int) -> None:
        """Notes a fault. After a quotation mark inside a text everything else is only its echo."""
        if "json_inner_quotes" not in self.faults:
            self.faults.setdefault(code, position)


def find_faults(text: str, start: int = 0, stop: int | None = None, *, is_alone: bool = True) -> FaultScan:
    """Reads one value from `start` on.

    Args:
        is_alone: nothing may follow the value until `stop`.
    """
    scan = FaultScan()
    stack: list[str] = []
    last = ""  # the kind of the token before: "value", "comma", "colon", "open" or "" at the start
    last_end, last_was_text = start, False
    for token in TOKEN.finditer(text, start, len(text) if stop is None else stop):
        kind, at = token.lastgroup or "other", token.start()
        if kind in ("blank", "comment", "bom"):
            if kind != "blank":
                scan.add("json_comment" if kind == "comment" else "json_stray_bom", at)
            continue
        if last == "value" and kind not in ("comma", "colon", "close"):
            if not stack:
                scan.add("json_two_objects", at)
                return scan
            is_inside = last_was_text and (kind in ("word", "other") or at == last_end)
            scan.add("json_inner_quotes" if is_inside else "json_missing_comma", last_end - 1 if is_inside else at)
        _judge_token(scan, token, stack, last)
        if "json_too_deep" in scan.faults:
            return scan
        if kind == "open":
            stack.append(_CLOSED_BY[token[0]])
        elif kind == "close" and stack:
            stack.pop()
        if kind == "other":
            break
        last = kind if kind in ("comma", "colon", "open") else "value"
        last_end, last_was_text = token.end(), kind == "text"
        if last == "value" and not stack:
            scan.end = token.end()
            if not is_alone:
                return scan
    if stack:
        scan.end = None
        scan.add("json_unfinished", last_end)
    return scan


def _judge_token(scan: FaultScan, token: re.Match[str], stack: list[str], last: str) -> None:
    kind, word, at = token.lastgroup, token[0], token.start()
    if word in _WIDE or kind == "curly":
        scan.add("json_wide_marks", at)
    match kind:
        case "text":
            _judge_text(scan, word, at)
        case "single":
            scan.add("json_single_quotes", at)
        case "number" | "word":
            _judge_word(scan, word, at, is_key=bool(stack) and stack[-1] in "}｝" and last in ("open", "comma"))
        case "open" if len(stack) >= MAX_DEPTH:
            scan.add("json_too_deep", at)
        case "close":
            if last == "comma":
                scan.add("json_comma_too_many", at)
            if not stack or stack[-1] != word:
                scan.add("broken_json", at)
        case "comma" if last in ("comma", "open"):
            scan.add("json_comma_too_many", at)
        case "other":
            scan.add("json_unfinished" if word == '"' else "broken_json", at)


def _judge_word(scan: FaultScan, word: str, at: int, is_key: bool) -> None:
    if is_key:
        scan.add("json_unquoted_key", at)
    elif word in _NOT_A_NUMBER:
        scan.add("json_not_a_number", at)
    elif word in _PYTHON_WORDS:
        scan.add("json_python_word", at)
    elif word not in ("true", "false", "null") and not _NUMBER.fullmatch(word):
        scan.add("broken_json", at)


def _judge_text(scan: FaultScan, text: str, at: int) -> None:
    if found := re.search(r"[\x00-\x1f]", text):
        scan.add("json_line_break", at + found.start())
    high = -1  # where a first half of a surrogate pair ended
    for escape in _ESCAPE.finditer(text):
        unit = int(escape[1], 16) if escape[1] else 0
        if escape[2] and escape[2] not in '"\\/bfnrt':
            scan.add("json_bad_escape", at + escape.start())
        if (0xDC00 <= unit <= 0xDFFF) != (high == escape.start()):
            scan.add("json_lone_surrogate", at + escape.start())
        high = escape.end() if 0xD800 <= unit <= 0xDBFF else -1
    if high >= 0 and "json_lone_surrogate" not in scan.faults:
        scan.add("json_lone_surrogate", at + high - 6)
