"""Lines of chat logs: where somebody begins to speak, and days, times and titles between."""

import re
from dataclasses import dataclass

from postil.data.shapes.speaker_names import folded_name, is_exactly_known, is_name, side_of
from postil.data.shapes.text_lines import BLANKS, CJK_DIGITS, FOLDS, Line

_DAY = (
    r"(?:\d{4}[-/.年][ ]?\d{1,2}[-/.月][ ]?\d{1,2}日?|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}|\d{1,2}月\d{1,2}日"
    r"|\d{1,2}[-/]\d{1,2})"
    r"(?:[ ]?(?:星期|周|週)[一二三四五六日天]|[ ]?\([日月火水木金土一二三四五六]\))?"
)
_CLOCK = r"(?:上午|下午|晚上|凌晨|中午|早上)?[ ]?\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,6})?)?(?:[ ]?[ap]\.?m\.?)?"
_STAMP = rf"(?:[\[(<][ ]*)?(?:{_DAY}[ ]*[,T]?[ ]*)?{_CLOCK}(?:[ ]*[\])>])?"
_NAME = r"[^\s:,。.!?;|\"“”(){}\[\]<>【】/\\#*=-][^:,。!?;|\"“”\[\]<>【】/\\*={}]{0,23}?"
_NUMBER = r"(?:\([\w.@+-]+\)|<[\w.@+-]+>)?"
_OPEN, _CLOSE = r"(?:\*{2}|__)?[【\[<]?(?:\*{2})?[ ]?", r"[ ]?(?:\*{2}|__)?[】\]>]?"
_SPEECH = re.compile(
    rf"[>•\- ]*(?P<stamp>{_STAMP}[ ]*[-–—,|]?[ ]*)?{_OPEN}(?P<name>{_NAME}){_CLOSE}(?:[ ]*(?P<later>{_STAMP}))?"
    r"(?:\*{2})?[ ]*(?:(?(stamp)[:|]|:)|[ ]said:)(?!//|\\)[ ]*(?:\*{2}|__)?",
    re.I,
)
_HEADER = re.compile(
    rf"(?:{_STAMP}[ ]*[-–—,|]?[ ]*(?:【[^】]{{1,10}}】(?=\S))?[【\[<]?(?P<after>{_NAME}{_NUMBER})[】\]>]?"
    rf"|(?P<before>{_NAME}{_NUMBER})[ ]*[-–—,|]?[ ]*{_STAMP})[ ]*:?[ ]*$",
    re.I,
)
_PART = r"[^\s:,。.!?;|\"“”(){}\[\]<>【】/\\#*=-][^\s:,。!?;|()\"“”\[\]<>【】/\\*={}]{0,23}"
_ACCOUNT = re.compile(
    rf"(?P<stamp>{_STAMP}[ ]*[-–—,|]?[ ]*)?(?P<name>(?P<shop>{_PART}):{_PART})"
    rf"(?:(?:[ ]+|(?=[\[(]))(?P<later>{_STAMP}))?[ ]*(?P<end>:(?!//|\\)|$)[ ]*",
    re.I,
)
_BETWEEN_NAMES = re.compile(r"\w:[^\W\d]|[^\W\d]:\d")  # a cheap sign of an account
_CALLED_SHOP = re.compile(r"(?:店|铺|舖|商城|超市|旗舰|专营|自营|官方|shop|store|mall|official)\w{0,3}$", re.I)
_DAY_AND_SECOND = re.compile(rf"[\[(]?[ ]*{_DAY}[ ]*[,T]?[ ]*\d{{1,2}}:\d{{2}}:\d{{2}}")
_ALONE = re.compile(rf"(?P<deco>[#>*_ ]*)[【\[<]?(?P<name>{_NAME})[】\]>]?[ *_]*:?[ *_]*$", re.I)
_BRACKETED = re.compile(rf"[【\[<](?P<name>{_NAME})[】\]>][ ]*(?=\S)")
_STAMPED = re.compile(rf"[\[(<]?[ ]*{_DAY}[ ]*[,T]?[ ]*{_CLOCK}[ ]*[\])>]?[ ]*[-–—]?[ ]*(?=\S)", re.I)
_WEEKDAY = (
    r"(?:[今昨前]天|昨日|今日|(?:星期|周|週|礼拜)[一二三四五六日天]"
    r"|(?:yester|to|mon|tues|wednes|thurs|fri|satur|sun)day)"
)
_DAY_LINE = re.compile(rf"[-=—─*#\[(<>【\s]*{_DAY}(?:[ ,T]*{_CLOCK})?[-=—─*#\])>】\s]*$", re.I)
_MOMENT_LINE = re.compile(rf"[-=—─\[(\s]*(?:{_WEEKDAY}[ ,]*)?{_CLOCK}[-=—─\])\s]*$", re.I)
_CHAT_WORD = (
    r"(?:会话|會話|会話|对话|對話|聊天记录|聊天|场景|案例|示例|样例|工单"
    r"|chat|conversation|dialog(?:ue)?|session|case|example|scenario|ticket)"
)
_CHAT_TITLE = re.compile(
    rf"[#=\-—─*\[【(<\s]*(?:{_CHAT_WORD}\s*(?:id|编号|号|no\.?|#)?\s*[-:#._]?\s*"
    rf"(?:[\da-f-]*\d[\w-]*|[{CJK_DIGITS}]{{1,4}})"
    rf"|第\s*(?:\d{{1,5}}|[{CJK_DIGITS}]{{1,4}})\s*(?:[个次]?\s*{_CHAT_WORD}|[段组通]{_CHAT_WORD}?))"
    r"(?!\w)\s*(?:[\])】>:,.、=*—─-].{0,80})?$"
    # What QQ writes above the messages that it saves.
    r"|消息(?:分组|对象)\s*:.{0,80}$|消息记录\s*\(.{0,80}$",
    re.I,
)
_LONGEST_ALONE = 40


@dataclass(frozen=True, slots=True)
class Speech:
    """The beginning of a message.

    Args:
        name: folded, so that "User" and "user" speak as one.
        shown: the name as written.
        text: what stands on the same line.
    """

    index: int
    name: str
    shown: str
    text: str
    has_time: bool


def find_speech(index: int, line: Line) -> Speech | None:
    """The beginning of a message in the line, which is the text's `index`th; None where nobody begins to speak."""
    found = _speech_in(index, line)
    return None if found is None or is_moment(line) or is_day(line) or is_chat_title(line) else found


def _speech_in(index: int, line: Line) -> Speech | None:
    head = line.head
    has_colon = ":" in head  # of a name, or of a time
    if has_colon and "\t" in line.text and (tabbed := _find_tabbed(line)) is not None:
        shown, said = tabbed
        return Speech(index, folded_name(shown), shown, said, True)
    if has_colon and (account := _find_account(head)) is not None:
        name, has_time = folded_name(account["name"]), bool(account["stamp"] or account["later"])
        return Speech(index, name, account["name"], line.after(account.end()), has_time)
    if has_colon and (header := _HEADER.match(head)) is not None:
        shown = header["after"] or header["before"]
        return Speech(index, folded_name(shown), shown, "", True)
    if has_colon and (speech := _SPEECH.match(head)) is not None:
        name, has_time = folded_name(speech["name"]), bool(speech["stamp"] or speech["later"])
        if is_name(name):
            return Speech(index, name, speech["name"], line.after(speech.end()), has_time)
    for pattern in (_ALONE, _BRACKETED) if len(head) <= _LONGEST_ALONE or head[0] in "【[<" else ():
        if (alone := pattern.match(head)) is not None and is_exactly_known(name := folded_name(alone["name"])):
            return Speech(index, name, alone["name"], line.after(alone.end()), False)
    return None


def _find_tabbed(line: Line) -> tuple[str, str] | None:
    """(name, what is said) of a line that holds a time, a name and a message with tabs between."""
    cells = line.text.split("\t", 2)
    if len(cells) < 3 or not is_moment(Line(line.number, cells[0], cells[0].strip(BLANKS)[:40].translate(FOLDS))):
        return None
    name, said = cells[1].strip(BLANKS), cells[2].strip(BLANKS)
    return (name, said) if name and len(name) <= 40 and is_name(folded_name(name)) else None


def _find_account(head: str) -> "re.Match[str] | None":
    """Two names with a colon between them that are one: a shop's account, and who sits at it.

    Before a whole date, seconds and all, anything may be the account's name; else it must be called a shop, and a
    colon or a time must follow.
    """
    found = _ACCOUNT.match(head) if _BETWEEN_NAMES.search(head) else None
    if found is None or not is_name(folded_name(found["shop"])):
        return None
    shop, later = found["shop"], found["later"]
    if _CALLED_SHOP.search(shop) is not None:
        return found if later or found["end"] else None
    is_dated = later is not None and _DAY_AND_SECOND.match(later) is not None
    return found if is_dated and side_of(folded_name(shop)) is None else None


# --- Lines between messages ------------------------------------------------------------------------------------------


def is_day(line: Line) -> bool:
    """True for a line that holds nothing but a date, perhaps with a time: "—— 2024-05-01 ——"."""
    return _DAY_LINE.match(line.head) is not None


def is_moment(line: Line) -> bool:
    """True for a line that holds nothing but a time, perhaps of a weekday: "昨天 10:02"."""
    return ":" in line.head and _MOMENT_LINE.match(line.head) is not None


def is_stamped(line: Line) -> bool:
    """True for a line that begins with a day and a time and goes on: "12/03/2024, 10:31 - Anna: Hi"."""
    return ":" in line.head and _STAMPED.match(line.head) is not None


def is_undecorated(line: Line) -> bool:
    """True for a date or a time as somebody may write it in a message: without lines and brackets around it."""
    return line.head[:1].isalnum() and (is_day(line) or is_moment(line))


def is_chat_title(line: Line) -> bool:
    """True for a line above a chat that names it: "会话 3", "消息对象:小美"."""
    return _CHAT_TITLE.match(line.head) is not None
