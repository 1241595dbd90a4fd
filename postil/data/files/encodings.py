"""Which encoding a text file is in, decided from all of its bytes."""

import codecs
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from postil.data.files.letters import ALPHABETS, LATIN, SCRIPTS, CommonLetters
from postil.errors import DataError

CHUNK_BYTES = 1 << 20
_SAMPLE_BYTES = 1 << 18
MAX_LINE_CHARS = 1_000_000
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# The everyday name of an encoding, and the larger one that programs write under that name.
_LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949", "iso8859-1": "cp1252"}
# What Windows and Hong Kong write beyond the standard.
_VARIANTS = {"big5": ("cp950", "big5hkscs"), "euc_jp": ("euc_jis_2004",)}
_NO_ENCODINGS = ("undefined", "idna", "punycode", "unicode-escape", "raw-unicode-escape")
_SURE = ("utf", "gb18030", "big5", "cp950", "cp932", "euc_jp", "cp949")


def detect_encoding(path: Path) -> str:
    """The Python codec that decodes every byte of the file.

    A byte-order mark decides, then strict UTF-8, then UTF-16 by where its NULs are, then how common the letters are
    that each encoding would make of the bytes, then charset-normalizer.

    Raises:
        DataError: no encoding fits, the file is in one but has broken bytes, or it is not text at all.
    """
    with path.open("rb") as file:
        head = file.read(CHUNK_BYTES)
    if codec := _by_mark(head):
        _check_all(path, codec)
        return codec
    has_many_nuls = head.count(0) > max(len(head) * 0.05, 4)
    if not has_many_nuls and _first_undecodable_line(path, "utf-8") is None:
        _refuse_binary(path, head)
        return "utf-8"
    if b"\0" in head and (codec_by_nuls := _utf16_by_nuls(head)):
        _check_all(path, codec_by_nuls)
        return codec_by_nuls
    _refuse_binary(path, head)
    return _legacy_encoding(path)


def encoding_named(path: Path, name: str) -> str:
    """The codec that the user names, once it has decoded every byte of the file.

    Raises:
        DataError: there is no such encoding of text, or the file has bytes that it does not know.
    """
    try:
        codec = codecs.lookup(name.strip())
        # Refuses what Python calls codecs beside encodings of text, such as base64.
        io.TextIOWrapper(io.BytesIO(), encoding=codec.name)
        if codec.name in _NO_ENCODINGS:
            raise LookupError
    except (LookupError, ValueError) as error:
        raise DataError("data.unknown_codec", path=str(path), encoding=name) from error
    with path.open("rb") as file:
        marked = _by_mark(file.read(4))
    chosen = _LARGER.get(codec.name, codec.name)
    # "utf-8" and "utf-16-le" mean the file with its mark, too.
    if marked and marked.startswith(chosen[:6]):
        chosen = marked
    if (line := _first_undecodable_line(path, chosen)) is not None:
        raise DataError("data.other_encoding", path=str(path), encoding=name, line=line)
    return chosen


def is_guess(codec: str) -> bool:
    """True for an encoding that only statistics speak for: other ones would decode the file as well."""
    return not codec.startswith(_SURE)


def text_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """(number from 1, text without its line end) of every physical line.

    Raises:
        DataError: a line is longer than a million characters.
    """
    with path.open(encoding=encoding) as file:
        number = 0
        while line := file.readline(MAX_LINE_CHARS + 2):
            number += 1
            text = line.removesuffix("\n")
            if len(text) > MAX_LINE_CHARS:
                raise DataError("data.line_too_long", path=str(path), line=number)
            yield number, text


def _by_mark(head: bytes) -> str | None:
    return next((codec for mark, codec in _MARKS if head.startswith(mark)), None)


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
            except UnicodeError:  # codecs that tell no place
                return line
            if not piece:
                return None


def _utf16_by_nuls(head: bytes) -> str | None:
    """UTF-16 without a mark: of its two byte orders the one with line ends and separators, if that can be read."""
    texts = {c: codecs.getincrementaldecoder(c)("replace").decode(head) for c in ("utf-16-le", "utf-16-be")}
    marks = {codec: sum(text.count(mark) for mark in "\n\t ,;:{") for codec, text in texts.items()}
    codec = max(marks, key=lambda c: marks[c])
    text = texts[codec]
    readable = sum(c.isprintable() or c in "\t\r\n" for c in text)
    return codec if marks[codec] and "\ufffd" not in text and readable >= len(text) * 0.99 else None


def _refuse_binary(path: Path, head: bytes) -> None:
    allowed = b"\t\n\r\f\x1b"
    controls = sum(head.count(c) for c in range(32) if c not in allowed)
    # A few stray ones are a matter of their rows.
    if controls > max(len(head) * 0.02, 4):
        raise DataError("data.binary", path=str(path))


def _legacy_encoding(path: Path) -> str:
    data = _foreign_lines(path)
    if _is_nearly_utf8(data):
        _check_all(path, "utf-8")
    if codec := _fitting(path, data, SCRIPTS, 0.3):
        return codec
    if _has_long_runs(data):
        # Lists of rare words: the everyday characters of both Chinese encodings lie in their first half.
        for codec, charset, low, high in (("gb18030", "gb2312", 0xB0, 0xD7), ("big5", "big5", 0xA4, 0xC6)):
            if _first_undecodable_line(path, codec) is None and _half_share(data, codec, charset, low, high) > 0.8:
                return codec
        codec = _fitting(path, data, ALPHABETS, 0.7)
    else:
        codec = _fitting(path, data, LATIN, 0.6)
    return codec or _guessed_encoding(path, data)


def _fitting(path: Path, data: bytes, encodings: Mapping[str, CommonLetters], enough: float) -> str | None:
    """The encoding that makes the most common letters of the bytes, if these are enough."""
    scores = {codec: _common_share(data, codec, common) for codec, common in encodings.items()}
    best = max(scores, key=lambda codec: scores[codec])
    if scores[best] < enough:
        return None
    for codec in (best, *_VARIANTS.get(best, ())):
        if _first_undecodable_line(path, codec) is None:
            return codec
    if encodings is SCRIPTS:
        _check_all(path, best)
    return None


def _has_long_runs(data: bytes) -> bool:
    """True where words are wholly beyond ASCII; a Western text has single letters of that kind."""
    runs = re.findall(rb"[\x80-\xff]+", data[:50_000])
    return sum(map(len, runs)) >= 2 * len(runs)


def _half_share(data: bytes, codec: str, charset: str, low: int, high: int) -> float:
    """Share of the letters beyond ASCII whose first byte in `charset` lies in [low, high]."""
    letters = [c for c in data.decode(codec, errors="replace") if c.isalpha() and c > "\x7f"]
    encoded = [c.encode(charset, errors="ignore") for c in letters]
    return sum(len(e) == 2 and low <= e[0] <= high for e in encoded) / max(len(letters), 1)


def _guessed_encoding(path: Path, data: bytes) -> str:
    from charset_normalizer import from_bytes

    guess = from_bytes(data).best()
    codec = _LARGER.get(codecs.lookup(guess.encoding).name, guess.encoding) if guess else ""
    if codec and _first_undecodable_line(path, codec) is None:
        return codec
    raise DataError("data.unknown_encoding", path=str(path))


def _foreign_lines(path: Path) -> bytes:
    """A sample of those stretches of the file that are not plain ASCII, cut at line ends."""
    found: list[bytes] = []
    size = 0
    with path.open("rb") as file:
        while size < _SAMPLE_BYTES and (piece := file.read(1 << 16)):
            piece += file.readline(1 << 16)
            if not piece.isascii():
                found.append(piece)
                size += len(piece)
    return b"".join(found)


def _is_nearly_utf8(data: bytes) -> bool:
    text = data.decode("utf-8", errors="replace")
    foreign = sum(c > "\x7f" for c in text)
    return text.count("\ufffd") < foreign * 0.1


def _common_share(data: bytes, codec: str, common: CommonLetters) -> float:
    """Share of the characters beyond ASCII that are common in what `codec` is used for."""
    text = data.decode(codec, errors="replace")
    foreign = [c for c in text if c > "\x7f"]
    return sum(c in common for c in foreign) / max(len(foreign), 1)
