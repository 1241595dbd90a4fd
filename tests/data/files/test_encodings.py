from pathlib import Path

import pytest

from postil.data.files import encodings
from postil.data.files.encodings import detect_encoding, encoding_named, is_guess, text_lines
from postil.errors import DataError

CHINESE = "问题,答案\n" + "怎么退货？,您好，请在订单页面申请退货，客服会在一个工作日内处理。\n" * 20
TRADITIONAL = "問題,答案\n" + "請問如何退貨？,您好，請在訂單頁面申請退貨，客服會在一個工作天內處理。\n" * 20

SHORT = {
    "chinese": "问题,答案\n退货,七天\n",
    "chinese list": "品种\n榴莲\n荔枝\n枇杷\n杨梅\n樱桃\n",
    "traditional": "問題,答案\n請問如何退貨？,七天內\n",
    "traditional list": "品種\n榴槤\n荔枝\n枇杷\n楊梅\n櫻桃\n",
    "japanese": "質問,回答\n駐車場はありますか,はい、無料駐車場完備\n送料はいくらですか？,全国一律500円です。\n",
    "korean": "질문,답변\n배송은 얼마나 걸리나요?,주문 후 2~3일 이내에 배송됩니다.\n",
    "russian": "вопрос,ответ\nКак вернуть товар?,Верните товар в течение 14 дней с чеком.\n",
    "french": "question,answer\nUn café crème ?,Déjà servi\n",
    "german": "Frage,Antwort\nWie groß ist das Zimmer?,Größe: 20 m², Frühstück für 5 €.\n",
    "spanish": "¿Cómo devuelvo un artículo?,Envíelo dentro de 14 días. Mañana también.\n",
    "polish": "pytanie,odpowiedź\nJak zwrócić zamówienie?,Wyślij paczkę w ciągu 14 dni. Dziękujemy za zgłoszenie.\n",
    "turkish": "Ürünü nasıl iade ederim?,14 gün içinde kargoya verin, teşekkür ederiz. Doğru adresi yazınız.\n",
    "greek": "Πώς επιστρέφω ένα προϊόν;,Στείλτε το σε 14 ημέρες.\n",
    "hebrew": "איך מחזירים מוצר?,שלחו אותו בתוך 14 ימים\n",
    "thai": "ส่งสินค้ากี่วัน,ภายใน 3 วันทำการ\n",
    "quotes": "question,answer\nWhat’s up?,“It’s” fine – really…\n",
    "one word in English": "A款 how big,B款 20cm\nsize,大\n",
}


@pytest.mark.parametrize(
    ("text", "codec", "expected"),
    [
        ("plain ascii\n", "ascii", "utf-8"),
        (CHINESE, "utf-8", "utf-8"),
        (CHINESE, "utf-8-sig", "utf-8-sig"),
        (CHINESE, "utf-16", "utf-16"),
        (CHINESE, "utf-32", "utf-32"),
        ("question,answer\nhow,so\n", "utf-16-le", "utf-16-le"),
        ("question,answer\nhow,so\n", "utf-16-be", "utf-16-be"),
        (CHINESE, "utf-16-le", "utf-16-le"),
        (CHINESE, "gb18030", "gb18030"),
        (CHINESE, "gbk", "gb18030"),
        (TRADITIONAL, "big5", "big5"),
        (TRADITIONAL, "gb18030", "gb18030"),
        ("question,answer\nUn café crème ?,Déjà servi\n" * 5, "latin-1", "cp1252"),
        (SHORT["chinese"], "gb18030", "gb18030"),
        (SHORT["chinese list"], "gb18030", "gb18030"),
        (SHORT["traditional"], "big5", "big5"),
        (SHORT["traditional list"], "big5", "big5"),
        (TRADITIONAL + "‧碁銹裏墻恒粧嫺\n", "cp950", "cp950"),
        (SHORT["japanese"], "shift_jis", "cp932"),
        (SHORT["japanese"], "cp932", "cp932"),
        (SHORT["japanese"], "euc_jp", "euc_jp"),
        (SHORT["korean"], "euc_kr", "cp949"),
        (SHORT["korean"], "cp949", "cp949"),
        (SHORT["russian"], "cp1251", "cp1251"),
        (SHORT["russian"], "koi8-r", "koi8-r"),
        (SHORT["russian"], "cp866", "cp866"),
        (SHORT["french"], "cp1252", "cp1252"),
        (SHORT["german"], "cp1252", "cp1252"),
        (SHORT["spanish"], "cp1252", "cp1252"),
        (SHORT["polish"], "cp1250", "cp1250"),
        (SHORT["turkish"], "cp1254", "cp1254"),
        (SHORT["greek"], "cp1253", "cp1253"),
        (SHORT["hebrew"], "cp1255", "cp1255"),
        (SHORT["thai"], "cp874", "cp874"),
        (SHORT["quotes"], "cp1252", "cp1252"),
        (SHORT["one word in English"], "gb18030", "gb18030"),
    ],
)
def test_text_comes_back_as_it_was_written(tmp_path: Path, text: str, codec: str, expected: str) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(text.encode(codec))
    found = detect_encoding(path)
    assert found == expected
    assert path.read_bytes().decode(found) == text


def test_what_only_statistics_speak_for_is_a_guess() -> None:
    assert not any(map(is_guess, ("utf-8-sig", "gb18030", "big5", "cp932", "cp949")))
    assert all(map(is_guess, ("cp1252", "cp1251", "koi8-r")))


def test_letters_that_come_late_decide_as_well(tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(b"plain,row\n" * 200_000 + CHINESE.encode("gb18030"))
    assert detect_encoding(path) == "gb18030"


@pytest.mark.parametrize("codec", ["utf-8", "gb18030", "cp932"])
def test_broken_bytes_are_located_not_guessed_away(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "file.csv"
    text = SHORT["japanese"] * 9 if codec == "cp932" else CHINESE
    lines = text.encode(codec).split(b"\n")
    lines[7] = (b"ab\x81 " if codec == "cp932" else b"ab\xff\xff") + lines[7]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(DataError) as caught:
        detect_encoding(path)
    assert (caught.value.key, caught.value.values["line"]) == ("data.broken_bytes", 8)
    assert codec.upper() in caught.value.message


def test_a_character_across_two_pieces_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.data.files.encodings.CHUNK_BYTES", 5)
    path = tmp_path / "file.txt"
    path.write_text("a问b题c答d案", encoding="utf-8")
    assert detect_encoding(path) == "utf-8"


@pytest.mark.parametrize(
    "text", ["question,answer\nq1,a\x001\nq2,a2\n", "问题,答案\n怎么\x00退货,七天\n"], ids=["ascii", "chinese"]
)
@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_a_stray_nul_does_not_make_a_text_binary(tmp_path: Path, text: str, codec: str) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(text.encode(codec))
    assert path.read_bytes().decode(detect_encoding(path)) == text


@pytest.mark.parametrize(
    "data",
    [bytes(range(256)) * 4, b"\x00\x01\x02\x03" * 50, b"\x7fELF\x02\x01\x01" + bytes(200)],
    ids=["all bytes", "numbers", "program"],
)
def test_binary_files_are_no_text(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        detect_encoding(path)
    assert caught.value.key == "data.binary"


@pytest.mark.parametrize(
    ("named", "written", "used"),
    [
        ("gbk", "gb18030", "gb18030"),
        ("GB2312", "gb18030", "gb18030"),
        ("UTF-8", "utf-8", "utf-8"),
        ("utf8", "utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le", "utf-16-le"),
        (" big5 ", "gb18030", None),
    ],
)
def test_the_user_knows_better(tmp_path: Path, named: str, written: str, used: str | None) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(CHINESE.encode(written))
    if used is None:
        with pytest.raises(DataError) as caught:
            encoding_named(path, named)
        assert caught.value.key == "data.other_encoding" and caught.value.values["line"] == 2
    else:
        assert encoding_named(path, named) == used
        assert path.read_bytes().decode(used) == CHINESE


@pytest.mark.parametrize("name", ["klingon", "hex", "rot13", "base64", "undefined", "", "utf-8\x00"])
def test_names_of_no_encoding_say_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.csv").write_text("x")
    with pytest.raises(DataError) as caught:
        encoding_named(tmp_path / "a.csv", name)
    assert caught.value.key == "data.unknown_codec"


def test_lines_are_physical_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("one\r\n\r\ntwo\u2028more\rthree".encode())
    assert list(text_lines(path, "utf-8")) == [(1, "one"), (2, ""), (3, "two\u2028more"), (4, "three")]
    monkeypatch.setattr(encodings, "MAX_LINE_CHARS", 5)
    path.write_text("12345\n123456\n")
    lines = text_lines(path, "utf-8")
    assert next(lines) == (1, "12345")
    with pytest.raises(DataError) as caught:
        next(lines)
    assert caught.value.values["line"] == 2
