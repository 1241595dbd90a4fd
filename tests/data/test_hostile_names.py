"""Names that would lead out of a folder, forge a line or steer a terminal: as files, and inside an archive."""

import csv
import json
import os
import shutil
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest

from postil.cli.screen import shell_line
from postil.data.corrected.writing import _storable
from postil.data.files.archives import shown_name
from tests.cli.conftest import Shell

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot store most of these names")

ROWS = "question,answer\nHow {0}?,So {0}.\nHow {0}?,So {0}.\nAnd {0}?,\n"
UNSAFE = ("../../x.csv", "/x.csv", "C:\\x.csv", "..\\x.csv", "a\0b.csv", "\x1b[31mred\x07.csv", "line\nbreak.csv")
STORED = {
    "CON": "CON_.csv",
    "nul.csv": "nul_.csv",
    "aux/b.csv": "aux_/b.csv",
    "x" * 300 + ".csv": "x" * 196 + ".csv",
    "长" * 300 + ".csv": "长" * 65 + ".csv",
    "-rf.csv": "-rf.csv",
    "$(touch x).csv": "$(touch x).csv",
    "[bold]x[/bold].csv": "[bold]x[/bold].csv",
    "a\u202egnp.csv": "a\u202egnp.csv",
    "a\u061cb.csv": "a\u061cb.csv",
    "a\u200fb.csv": "a\u200fb.csv",
    "a\u2066b.csv": "a\u2066b.csv",
    "a\u2028b.csv": "a\u2028b.csv",
    "a\x9b2Jb.csv": "a\x9b2Jb.csv",
}
"""Name in the archive -> name in the corrected folder."""
FILE_NAMES = (
    *("C:\\x.csv", "CON", "..\\..\\x.csv", "x" * 240 + ".csv", "-rf.csv", "--json", "$(touch y).csv", "it's.csv"),
    *("\x1b[31mred\x07.csv", "line\nbreak.csv", "a\u202egnp.csv", "a\u061cb.csv", "a\u2028b.csv", "a\x9b2Jb.csv"),
    os.fsdecode(b"\xff\xfe.csv"),
)


def steering(shown: str) -> set[str]:
    """Characters that control a terminal, turn the order of others, or are none."""
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    return {
        c
        for c in shown
        if (unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in "\n\t")
        or unicodedata.bidirectional(c) in turning
        or c in "\u061c\u200e\u200f"
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "all.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as made:
        for number, name in enumerate([*UNSAFE, *STORED]):
            member = zipfile.ZipInfo("x")
            member.filename = member.orig_filename = name  # as it is; the class would mend it
            made.writestr(member, ROWS.format(number))
    return path


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_members_that_lead_out_are_refused_and_none_garbles_the_screen(shell: Shell, archive: Path) -> None:
    code, out, err = shell("check", archive)
    assert (code, steering(out + err)) == (65, set())
    assert r"\u202egnp.csv" in out and r"\x1b[31mred" in out and "\nbreak.csv" not in out
    code, out, _ = shell("check", archive, "--json")
    assert steering(out) == set() and len(out.splitlines()) == 1
    problems = json.loads(out)["problems"]
    refused = {p["file"] for p in problems if p["code"] == "unsafe_member"}
    assert refused == {shown_name(name.replace("\\", "/")) for name in UNSAFE}
    assert {p["file"] for p in problems if p["code"] == "missing_answer"} == set(STORED)


def test_what_is_written_of_an_archive_stays_in_its_folder(shell: Shell, archive: Path, tmp_path: Path) -> None:
    code, out, err = shell("fix", archive, "-o", "in/out")
    assert (code, steering(out + err)) == (65, set())  # the refused members are left to mend
    assert everything(tmp_path) == {"in/all.zip", *(f"in/out/{name}" for name in STORED.values())}


@pytest.mark.parametrize("name", FILE_NAMES, ids=ascii)
def test_a_file_of_any_name_is_checked_and_mended(shell: Shell, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(ROWS.format(1))
    code, out, err = shell("check", f"./{name}", "--all", "list.csv")
    assert (code, steering(out + err)) == (65, set())
    assert not any(line.startswith("break.csv") for line in out.splitlines())
    with (tmp_path / "list.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows and not any(steering(cell) for row in rows for cell in row.values())
    code, out, _ = shell("check", f"./{name}", "--json")
    assert code == 65 and steering(out) == set()
    assert json.loads(out)["file"] == shown_name(name)
    assert shell("fix", f"./{name}", "-o", "out" + (Path(name).suffix or ".csv"))[0] == 0
    assert everything(tmp_path) == {name, "list.csv", "out" + (Path(name).suffix or ".csv")}


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize("name", [*FILE_NAMES, "a\tb", "a\\b'c\n", "é$HOME"], ids=ascii)
def test_a_command_to_copy_names_the_file_and_shows_no_more(name: str) -> None:
    line = shell_line(["printf", "%s", Path(name)])
    assert steering(line) == set() and "\n" not in line
    found = os.fsdecode(subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout)
    assert Path(found) == Path(name) and not found.startswith("-")


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["check", "x" * 300], 65),
        (["check", "../../x"], 66),
        (["check", "a.csv", "--all", "y" * 300 + ".csv"], 73),
        (["check", "a.csv", "--all", "none/y.csv"], 73),
        (["fix", "a.csv", "-o", "y" * 300 + ".csv"], 73),
        (["check", "a\0b"], 64),
    ],
)
def test_a_name_that_cannot_be_is_no_fault_of_ours(
    shell: Shell, tmp_path: Path, arguments: list[str], exit_code: int
) -> None:
    (tmp_path / "a.csv").write_text(ROWS.format(1))
    code, _, err = shell(*arguments)
    assert code == exit_code and "Postil" not in err
    assert everything(tmp_path) == {"a.csv"}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("常见 问题.csv", "常见 问题.csv"),
        ("line\nbreak", r"line\nbreak"),
        ("\x1b[0m", r"\x1b[0m"),
        (os.fsdecode("问题".encode("gb18030")), "问题"),
        (os.fsdecode(b"\xff\xfe.csv"), r"\udcff\udcfe.csv"),
    ],
)
def test_a_name_is_shown_on_one_line(name: str, shown: str) -> None:
    assert shown_name(name) == shown


@pytest.mark.parametrize("name", ["a" * 300, "." + "a" * 300, "a." + "b" * 300, "COM1.tar.gz", "lpt1"])
def test_a_name_is_stored_on_every_system(name: str) -> None:
    assert _storable(name).split(".")[0].lower() not in ("com1", "lpt1")
    assert _storable(name).startswith(name[:1])
