import io
import struct
import zipfile
from pathlib import Path

import pytest

from postil.data.files.archives import PrivateFolder, archive_kind, is_safe_name, open_archive, unpack
from postil.errors import DataError
from postil.problems import Problem
from tests.data.files.office import write_docx, write_ods, write_xlsb, write_xlsx_parts, write_zip

OFFICE = "<Types/>"


def test_office_files_are_known_by_what_they_hold(tmp_path: Path) -> None:
    name = tmp_path / "any.zip"
    assert archive_kind(write_xlsx_parts(name, "<worksheet/>")) == "xlsx"
    assert archive_kind(write_xlsb(name, [["a"]])) == "xlsb"
    assert archive_kind(write_ods(name, {"S": [["a"]]})) == "ods"
    assert archive_kind(write_docx(name, "")) == "docx"
    assert archive_kind(write_zip(name, {"xl/notes.txt": "no office file has no list of types"})) == "zip"


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"[Content_Types].xml": OFFICE, "ppt/presentation.xml": "x"}, "PowerPoint"),
        ({"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "x"}, "opendocument.text"),
    ],
)
def test_other_documents_are_named(tmp_path: Path, members: dict[str, str], kind: str) -> None:
    with pytest.raises(DataError, match=kind) as caught:
        archive_kind(write_zip(tmp_path / "a.docx", members))
    assert caught.value.key == "data.unsupported_kind"


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_archive(path)
    return caught.value.key


def test_bombs_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(write_zip(tmp_path / "ratio.zip", {"a.csv": bytes(10 << 20)})) == "data.archive_too_big"
    assert refused(write_zip(tmp_path / "many.zip", {str(i): "" for i in range(5001)})) == "data.archive_too_big"
    path = write_zip(tmp_path / "sum.zip", {"a": b"abc" * 100, "b": b"def" * 100})
    open_archive(path).close()
    monkeypatch.setattr("postil.data.files.archives.MAX_UNPACKED_BYTES", 500)
    assert refused(path) == "data.archive_too_big"


def test_a_list_of_members_larger_than_any_should_be_is_not_even_read(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a": "x"})
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rfind(b"PK\x05\x06") + 12, 1 << 30)
    path.write_bytes(data)
    assert refused(path) == "data.archive_too_big"


@pytest.mark.parametrize("cut", [4, 30, 60, -10])
def test_truncated_archives_are_damaged(tmp_path: Path, cut: int) -> None:
    whole = write_zip(tmp_path / "a.zip", {"a.csv": "question,answer\n" * 9})
    whole.write_bytes(whole.read_bytes()[:cut])
    assert refused(whole) == "data.broken_archive"


@pytest.mark.parametrize(
    "name",
    [
        "../a.csv",
        "a/../../b.csv",
        "/etc/a.csv",
        "C:/a.csv",
        "C:a.csv",
        "",
        " ",
        "a\x00.csv",
        "a\nb.csv",
        "x" * 501,
        "..",
    ],
)
def test_names_that_lead_out_are_unsafe(name: str) -> None:
    assert not is_safe_name(name)


@pytest.mark.parametrize("name", ["a.csv", "sub/a.csv", "常见问题？.txt", "..a.csv", "a..b/c.csv", "怎么办 10:30.txt"])
def test_names_that_people_give_are_safe(name: str) -> None:
    assert is_safe_name(name)


def test_members_come_out_under_numbers_and_keep_their_names(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"b/b.csv": "two", "a.txt": "one", "empty/": "", "__MACOSX/._a.txt": "junk"})
    folder = PrivateFolder()
    members = unpack(path, folder.path)
    assert [(name, found.read_text()) for name, found in members if isinstance(found, Path)] == [
        ("a.txt", "one"),
        ("b/b.csv", "two"),
    ]
    assert sorted(p.name for p in folder.path.iterdir()) == ["0000.csv", "0001.txt"]
    where = folder.path
    del folder
    assert not where.exists()


def test_members_that_climb_out_are_refused_and_the_others_are_read(tmp_path: Path) -> None:
    inner = tmp_path / "deep" / "a.zip"
    inner.parent.mkdir()
    write_zip(inner, {"../../evil.csv": "x", "/evil.csv": "x", "..\\evil.csv": "x", "good.csv": "x"})
    folder = PrivateFolder()
    members = dict(unpack(inner, folder.path))
    problems = {name: p.code for name, p in members.items() if isinstance(p, Problem)}
    assert problems == dict.fromkeys(("../../evil.csv", "/evil.csv", "../evil.csv"), "unsafe_member")
    assert isinstance(members["good.csv"], Path)
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a.zip"]


def unpacked(path: Path) -> list[tuple[str, str]]:
    """(name, code of the problem or "")."""
    folder = PrivateFolder()
    return [(name, getattr(found, "code", "")) for name, found in unpack(path, folder.path)]


def test_links_and_second_files_of_a_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    link = zipfile.ZipInfo("link.csv")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.csv", "first")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a.csv", "second")
    assert unpacked(path) == [
        ("a.csv", ""),
        ("a.csv", "unsafe_member"),
        ("link.csv", "unsafe_member"),
    ]


def test_damaged_and_protected_members_are_problems(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("damaged.csv", "good.csv", "locked.csv"):
            archive.writestr(name, f"content of {name}")
    data = bytearray(path.read_bytes())
    at = data.find(b"content of damaged")
    data[at : at + 7] = b"CONTENT"
    data[data.rfind(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    assert unpacked(path) == [("damaged.csv", "broken_member"), ("good.csv", ""), ("locked.csv", "encrypted_member")]


def test_names_in_the_makers_encoding_are_read(tmp_path: Path) -> None:
    """Chinese Windows writes names in GBK and says nothing of it."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("XXXXXXXX.csv", "x")
    path = tmp_path / "a.zip"
    path.write_bytes(made.getvalue().replace(b"XXXXXXXX", "常见问题".encode("gbk")))
    assert unpacked(path) == [("常见问题.csv", "")]
