"""Which encoding a text file is in, decided from all of its bytes."""

import codecs
from pathlib import Path

from postil.errors import DataError

CHUNK_BYTES = 1 << 20
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def detect_encoding(path: Path) -> str:
    """The Python codec that decodes every byte of the file.

    A byte-order mark decides, then strict UTF-8, then UTF-16 by where its NULs are, then the Chinese encodings by how
    common their characters are, then charset-normalizer.

    Raises:
        DataError: no encoding fits, the file is nearly UTF-8 but has broken bytes, or it is not text at all.
    """
    with path.open("rb") as file:
        head = file.read(CHUNK_BYTES)
    for mark, codec in _MARKS:
        if head.startswith(mark):
            _check_all(path, codec)
            return codec
    if b"\0" not in head:
        if _first_undecodable_line(path, "utf-8") is None:
            if _has_many_controls(head):
                raise DataError("data.binary", path=str(path))
            return "utf-8"
        return _legacy_encoding(path)
    if codec_by_nuls := _utf16_by_nuls(head):
        _check_all(path, codec_by_nuls)
        return codec_by_nuls
    raise DataError("data.binary", path=str(path))


def is_guess(codec: str) -> bool:
    """True for an encoding that only statistics speak for: other ones would decode the file as well."""
    return not codec.startswith(("utf", "gb18030", "big5"))


def _check_all(path: Path, codec: str) -> None:
    line = _first_undecodable_line(path, codec)
    if line is not None:
        raise DataError("data.broken_bytes", path=str(path), encoding=codec.removesuffix("-sig").upper(), line=line)


def _first_undecodable_line(path: Path, codec: str) -> int | None:
    """Reads the file in pieces; the line of its first byte sequence that `codec` cannot decode, counted from 1."""
    decoder = codecs.getincrementaldecoder(codec)("strict")
    line = 1
    with path.open("rb") as file:
        while True:
            piece = file.read(CHUNK_BYTES)
            try:
                line += decoder.decode(piece, final=not piece).count("\n")
            except UnicodeDecodeError as error:
                return line + bytes(error.object[: error.start]).count(b"\n")
            if not piece:
                return None


def _utf16_by_nuls(head: bytes) -> str | None:
    """UTF-16 without a mark: of its two byte orders the one with line ends and separators, if that can be read."""
    texts = {c: codecs.getincrementaldecoder(c)("replace").decode(head) for c in ("utf-16-le", "utf-16-be")}
    codec = max(texts, key=lambda c: sum(texts[c].count(mark) for mark in "\n\t ,;:{"))
    text = texts[codec]
    readable = sum(c.isprintable() or c in "\t\r\n" for c in text)
    return codec if text and "\ufffd" not in text and readable >= len(text) * 0.99 else None


def _has_many_controls(data: bytes) -> bool:
    allowed = b"\t\n\r\f\x1b"
    controls = sum(data.count(bytes([c])) for c in range(32) if c not in allowed)
    return controls > len(data) * 0.02


def _legacy_encoding(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(CHUNK_BYTES)
    if _has_many_controls(data):
        raise DataError("data.binary", path=str(path))
    if _is_nearly_utf8(data):
        raise DataError(
            "data.broken_bytes", path=str(path), encoding="UTF-8", line=_first_undecodable_line(path, "utf-8") or 1
        )
    # Level 1 of GB2312 and of Big5 hold the everyday characters: text read with the wrong one of the two falls outside.
    scores = {
        "gb18030": _common_share(data, "gb18030", "gb2312", 0xB0, 0xD7),
        "big5": _common_share(data, "big5", "big5", 0xA4, 0xC6),
    }
    best = max(scores, key=lambda codec: scores[codec])
    if scores[best] >= 0.8 and _first_undecodable_line(path, best) is None:
        return best
    from charset_normalizer import from_bytes

    guess = from_bytes(data).best()
    codec = guess.encoding if guess else ""
    if codec in ("gbk", "gb2312", "gb18030"):
        codec = "gb18030"
    elif _is_mostly_latin(data):
        codec = "cp1252"
    if codec and _first_undecodable_line(path, codec) is None:
        return codec
    raise DataError("data.unknown_encoding", path=str(path))


def _is_mostly_latin(data: bytes) -> bool:
    """Plain letters with a few others in between: a Western language, whatever statistics say of a short text."""
    sample = data[:50_000]
    plain = sum(sample.count(letter) for letter in (b"a", b"e", b"i", b"n", b"o", b"r", b"s", b"t"))
    foreign = sum(byte > 0x7F for byte in sample)
    return plain > foreign * 2


def _is_nearly_utf8(data: bytes) -> bool:
    text = data.decode("utf-8", errors="replace")[:50_000]
    foreign = sum(c > "\x7f" for c in text)
    return foreign > 0 and text.count("\ufffd") < foreign * 0.1


def _common_share(data: bytes, codec: str, charset: str, low: int, high: int) -> float:
    """Share of the non-ASCII letters whose first byte in `charset` lies in [low, high]; 0 where `codec` fails."""
    try:
        # Not final: the piece may end inside a character.
        text = codecs.getincrementaldecoder(codec)("strict").decode(data)
    except UnicodeDecodeError:
        return 0.0
    letters = [c for c in text[:50_000] if c.isalpha() and c > "\x7f"]
    encoded = [c.encode(charset, errors="ignore") for c in letters]
    return sum(len(e) == 2 and low <= e[0] <= high for e in encoded) / max(len(letters), 1)
