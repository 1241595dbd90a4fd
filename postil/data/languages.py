"""Which language a text is in, by its script."""

from collections import Counter
from typing import Literal

Language = Literal["zh", "ja", "ko", "en", "other"]


def language_of(text: str) -> Language:
    """The script that most letters of a text are of; a Chinese character weighs as much as five letters of a word.

    Japanese is told from Chinese by its kana; "en" is Latin letters with hardly an accent, so it may be another
    language that does without them.
    """
    counts: Counter[str] = Counter()
    for letter in text[:5000]:
        counts[_script_of(letter)] += 1
    kana, han, hangul = counts["kana"], counts["han"], counts["hangul"]
    east, west = 5 * (kana + han + hangul), counts["latin"] + counts["accented"]
    if east + west + counts["letter"] == 0:
        return "other"
    if counts["letter"] > max(east, west):
        return "other"
    if east >= west:
        if hangul > kana + han:
            return "ko"
        return "ja" if kana >= 0.1 * (kana + han) else "zh"
    return "en" if counts["accented"] < 0.02 * west else "other"


def _script_of(letter: str) -> str:
    code = ord(letter)
    if code < 0x80:
        return "latin" if letter.isalpha() else ""
    if 0x4E00 <= code <= 0x9FFF or 0x3400 <= code <= 0x4DBF or 0xF900 <= code <= 0xFAFF or code >= 0x20000:
        return "han"
    if 0x3041 <= code <= 0x30FA or 0xFF66 <= code <= 0xFF9D:
        return "kana"
    if 0xAC00 <= code <= 0xD7AF or 0x1100 <= code <= 0x11FF:
        return "hangul"
    if 0x00C0 <= code <= 0x024F:
        return "accented"
    return "letter" if letter.isalpha() else ""
