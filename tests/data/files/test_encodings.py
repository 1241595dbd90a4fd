from pathlib import Path

import pytest

from postil.data.files.encodings import detect_encoding
from postil.errors import DataError

CHINESE = "问题,答案\n" + "怎么退货？,您好，请在订单页面申请退货，客服会在一个工作日内处理。\n" * 20
TRADITIONAL = "問題,答案\n" + "請問如何退貨？,您好，請在訂單頁面申請退貨，客服會在一個工作天內處理。\n" * 20


@pytest.mark.parametrize(
    ("text", "codec", "expected"),
    [
        ("plain ascii\n", "ascii", "utf-8"),
        (CHINESE, "utf-8", "utf-8"),
        (CHINESE, "utf-8-sig", "utf-8-sig"),
        (CHINESE, "utf-16", "utf-16"),
        ("question,answer\nhow,so\n", "utf-16-le", "utf-16-le"),
        ("question,answer\nhow,so\n", "utf-16-be", "utf-16-be"),
        (CHINESE, "utf-16-le", "utf-16-le"),
        (CHINESE, "gb18030", "gb18030"),
        (CHINESE, "gbk", "gb18030"),
        (TRADITIONAL, "big5", "big5"),
        ("question,answer\nUn café crème ?,Déjà servi\n" * 5, "latin-1", "cp1252"),
    ],
)
def test_text_comes_back_as_it_was_written(tmp_path: Path, text: str, codec: str, expected: str) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(text.encode(codec))
    found = detect_encoding(path)
    assert found == expected
    assert path.read_text(encoding=found) == text


def test_one_broken_byte_in_utf8_is_located_not_guessed_away(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    data = bytearray(CHINESE.encode())
    lines = bytes(data).split(b"\n")
    lines[7] = lines[7][:4] + b"\xff" + lines[7][5:]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(DataError) as caught:
        detect_encoding(path)
    assert caught.value.key == "data.broken_bytes"
    assert caught.value.values["line"] == 8


def test_a_character_across_two_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.data.files.encodings.CHUNK_BYTES", 5)
    path = tmp_path / "file.txt"
    path.write_text("a问b题c答d案", encoding="utf-8")
    assert detect_encoding(path) == "utf-8"


@pytest.mark.parametrize(
    "data", [bytes(range(256)) * 20, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\0\1", b"ab\0cd\0\0ef" * 30]
)
def test_binary_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.jsonl"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        detect_encoding(path)
    assert caught.value.key == "data.binary"
