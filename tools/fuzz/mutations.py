"""Ways to break a file; each takes the bytes and a random generator, and gives other bytes."""

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutation = Callable[[bytes, Random], bytes]

_ODD_TEXTS = (
    *("", " ", "\x00", "\x1b[31m", "\ufeff", "\u202e", "\U0001f600", "=cmd|' /C calc'!A0", "<|im_end|>", "</s>"),
    *('"', "'", ",", ";", "\t", "\n", "\r", "\r\n", "|", "{{x}}", "#N/A", "NaN", "12345678901234567890", "1e999"),
    *("问题", "答案", "question", "answer", "Q:", "A:", "1.", "：", "user", "assistant", "tools", "label", "chosen"),
)
_ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1e308, 10**30, "", " ", "\x00", "\ud800", [], {}, [[]], [None], {"": ""}),
    *([{"role": "user"}], {"role": 1, "content": {}}, "a" * 5000, ["x", "y"], [["q", "a"], ["q"]], "[]", "{"),
)
_ODD_XML = (
    *(b'<c r="XFD1048576"><v>1</v></c>', b'<c r="A99999999999"><v>1</v></c>', b'<c t="s"><v>99999</v></c>', b"<v>"),
    *(b'<mergeCell ref="A1:XFD1048576"/>', b'<mergeCell ref="B2:A1"/>', b'<mergeCell ref=""/>', b"</row>", b"&lol;"),
    *(b"<f>SUM(A:A)</f>", b'<row r="1048576">', b'<dimension ref="A1:XFD1048576"/>', b"<![CDATA[", b"\x00", b"<!--"),
    *(b'<!DOCTYPE x [<!ENTITY a "b">]>', b'<table:table-cell table:number-columns-repeated="999999999"/>'),
    *(b'<table:table-row table:number-rows-repeated="999999999"/>', b"<w:tbl>", b"<w:p>"),
)
_CODECS = (
    "gb18030",
    "big5",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "cp1252",
    "shift_jis",
    "euc_kr",
    "utf-8-sig",
)


def mutate(name: str, data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """Breaks a file in one to four ways that suit its kind.

    Args:
        name: the seed's name; its ending says what is inside.
        others: files to take pieces from.
    """
    ways: list[Mutation] = [flip_bytes, truncate, repeat_chunk, drop_chunk, insert_odd_text, splice(others)]
    if name.endswith((".json", ".jsonl")):
        ways += [change_json] * 6
    if data[:2] == b"PK":
        ways += [change_zip_part] * 8
    elif not name.endswith((".xls", ".parquet")):
        ways += [recode, swap_lines, swap_lines]
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        data = random.choice(ways)(data, random)
    return data


def flip_bytes(data: bytes, random: Random) -> bytes:
    """Up to eight bytes become others."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 8)):
        if changed:
            changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def truncate(data: bytes, random: Random) -> bytes:
    """The end is missing."""
    return data[: random.randint(0, len(data))]


def repeat_chunk(data: bytes, random: Random) -> bytes:
    """A piece stands many times."""
    start, end = _piece(data, random)
    times = min(random.choice((2, 3, 50, 2000)), max(1, 400_000 // max(end - start, 1)))
    return data[:start] + data[start:end] * times + data[end:]


def drop_chunk(data: bytes, random: Random) -> bytes:
    """A piece is missing."""
    start, end = _piece(data, random)
    return data[:start] + data[end:]


def splice(others: Sequence[bytes]) -> Mutation:
    """A way that puts a piece of another file in."""

    def put_in(data: bytes, random: Random) -> bytes:
        other = random.choice(others)
        start, end = _piece(other, random)
        at = random.randint(0, len(data))
        return data[:at] + other[start : min(end, start + 20_000)] + data[at:]

    return put_in


def insert_odd_text(data: bytes, random: Random) -> bytes:
    """Marks, names and signs that mean something, where they should not stand."""
    at = random.randint(0, len(data))
    text = random.choice(_ODD_TEXTS) * random.choice((1, 1, 1, 2, 500))
    return data[:at] + text.encode() + data[at:]


def swap_lines(data: bytes, random: Random) -> bytes:
    """Lines in another order."""
    lines = data.splitlines(keepends=True)
    for _ in range(random.randint(1, 4)):
        if len(lines) > 1:
            a, b = random.randrange(len(lines)), random.randrange(len(lines))
            lines[a], lines[b] = lines[b], lines[a]
    return b"".join(lines)


def recode(data: bytes, random: Random) -> bytes:
    """The text in another encoding, or read in the wrong one."""
    codec, other = random.choice(_CODECS), random.choice(_CODECS)
    if random.random() < 0.3:
        return data.decode(other, errors="replace").encode("utf-8", errors="replace")
    return data.decode("utf-8", errors="replace").encode(codec, errors="replace")


def change_json(data: bytes, random: Random) -> bytes:
    """One value, key or item of a JSON text becomes another; what is no JSON stays."""
    text = data.decode("utf-8", errors="replace")
    lines = text.split("\n") if text.lstrip().startswith("{") else [text]
    at = random.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except (ValueError, RecursionError):
        return data
    lines[at] = json.dumps(_changed(value, random, depth=0), ensure_ascii=random.random() < 0.5)
    if random.random() < 0.1:
        lines[at] = lines[at].replace('"', "'")
    if random.random() < 0.05:
        deep = random.choice((50, 3000, 100_000))
        lines[at] = "[" * deep + lines[at] + "]" * random.choice((0, deep))
    return "\n".join(lines).encode("utf-8", errors="surrogatepass" if random.random() < 0.1 else "replace")


def _changed(value: Any, random: Random, depth: int) -> Any:
    if depth > 6 or random.random() < 0.15 or not isinstance(value, dict | list) or not value:
        return random.choice(_ODD_VALUES)
    if isinstance(value, list):
        changed = list(value)
        at = random.randrange(len(changed))
        match random.randrange(5):
            case 0:
                del changed[at]
            case 1:
                changed.insert(at, changed[random.randrange(len(changed))])
            case _:
                changed[at] = _changed(changed[at], random, depth + 1)
        return changed
    key = random.choice(list(value))
    match random.randrange(6):
        case 0:
            return {k: v for k, v in value.items() if k != key}
        case 1:
            return {random.choice(_ODD_TEXTS) if k == key else k: v for k, v in value.items()}
        case _:
            return {k: _changed(v, random, depth + 1) if k == key else v for k, v in value.items()}


def change_zip_part(data: bytes, random: Random) -> bytes:
    """One member of an archive is broken, renamed or left out, and the archive packed again."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = {i.filename: archive.read(i) for i in archive.infolist()}
    except Exception:  # the archive is broken already
        return data
    if not parts:
        return data
    weights = [5 if re.search(r"sheet\d|document\.xml|content\.xml|sharedStrings", name) else 1 for name in parts]
    name = random.choices(list(parts), weights)[0]
    ways = [flip_bytes, truncate, repeat_chunk, drop_chunk, insert_odd_text, _odd_xml, _odd_xml, _odd_number]
    match random.randrange(10):
        case 0:
            parts.pop(name)
        case 1:
            parts[random.choice(("../../x", "C:\\x", "/x", "a\x00b", "x" * 300, "CON", name.upper()))] = parts.pop(name)
        case _:
            parts[name] = random.choice(ways)(parts[name], random)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", random.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED))) as archive:
        for part, content in parts.items():
            archive.writestr(part, content)
    return file.getvalue()


def _odd_xml(data: bytes, random: Random) -> bytes:
    """An odd tag after some tag."""
    ends = [m.end() for m in re.finditer(rb">", data)]
    at = random.choice(ends) if ends else 0
    return data[:at] + random.choice(_ODD_XML) + data[at:]


def _odd_number(data: bytes, random: Random) -> bytes:
    """Some number or attribute becomes another."""
    found = list(re.finditer(rb"\d+|\"[A-Za-z]+\"", data))
    if not found:
        return data
    match = random.choice(found)
    odd = random.choice((b"0", b"-1", b"99999999999999999999", b"1e9", b"", b'"e"', b'"b"', b'"n"', b'"hidden"'))
    return data[: match.start()] + odd + data[match.end() :]


def _piece(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.choice((1, 8, 64, 512, 4096)))
