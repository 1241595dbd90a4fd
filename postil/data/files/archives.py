"""Zip archives: what kind of file one is inside, and its members unpacked within limits."""

import io
import lzma
import os
import re
import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal

from postil.data.files.sandbox import run_in_child
from postil.errors import DataError
from postil.problems import Place, Problem

ArchiveKind = Literal["xlsx", "xlsb", "ods", "docx", "zip"]
MAX_ENTRIES = 5000
MAX_UNPACKED_BYTES = 1 << 30
MAX_RATIO = 200
MAX_NAME_CHARS = 500
_MAX_DIRECTORY_BYTES = 8 << 20
_PIECE_BYTES = 1 << 20
_ENCRYPTED = 1
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_NAME_IS_UTF8 = 0x800
# What the standard library lets escape for damaged, protected and exotic archives.
_ZIP_ERRORS = (
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,
    EOFError,
    ValueError,
    RuntimeError,
    OSError,
)
_ODS = b"application/vnd.oasis.opendocument.spreadsheet"


class PrivateFolder:
    """A temporary folder that is removed with the last reference to this object."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="postil-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def archive_kind(path: Path) -> ArchiveKind:
    """What a zip file is, by what it holds; the limits hold from here on.

    Raises:
        DataError: it is damaged, would unpack to more than the limits allow, or is a document that cannot be read.
    """
    with open_archive(path) as archive:
        names = archive.namelist()
        if "mimetype" in names:
            found = _first_bytes(archive, "mimetype")
            if found.startswith(_ODS):
                return "ods"
            raise DataError("data.unsupported_kind", path=str(path), kind=found.decode("ascii", "replace")[:80])
    if "[Content_Types].xml" in names:
        folders = {name.partition("/")[0] for name in names}
        if "xl" in folders:
            return "xlsb" if any(re.fullmatch(r"xl/workbook\d*\.bin", name) for name in names) else "xlsx"
        if "word" in folders:
            return "docx"
        raise DataError("data.unsupported_kind", path=str(path), kind="PowerPoint" if "ppt" in folders else "OOXML")
    return "zip"


def member_names(path: Path) -> list[str]:
    """Names of all members, as the archive writes them."""
    with open_archive(path) as archive:
        return archive.namelist()


def open_archive(path: Path) -> zipfile.ZipFile:
    """Opens a zip file that keeps within the limits; the caller closes it.

    Raises:
        DataError: it does not, or is damaged.
    """
    if _directory_bytes(path) > _MAX_DIRECTORY_BYTES:
        raise DataError("data.archive_too_big", path=str(path))
    try:
        archive = zipfile.ZipFile(path)
    except _ZIP_ERRORS as error:
        raise DataError("data.broken_archive", path=str(path)) from error
    entries = archive.infolist()
    unpacked = sum(entry.file_size for entry in entries)
    packed = max(sum(entry.compress_size for entry in entries), 1)
    if len(entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED_BYTES or unpacked / packed > MAX_RATIO:
        archive.close()
        raise DataError("data.archive_too_big", path=str(path))
    return archive


def read_member(path: Path, name: str, limit: int) -> bytes:
    """One member's bytes; b"" where there is none of that name.

    Raises:
        DataError: it is damaged, protected, or larger than `limit`.
    """
    with open_archive(path) as archive:
        if name not in archive.namelist():
            return b""
        if archive.getinfo(name).flag_bits & _ENCRYPTED:
            raise DataError("data.password_protected", path=str(path))
        if archive.getinfo(name).file_size > limit:
            raise DataError("data.archive_too_big", path=str(path))
        try:
            return archive.read(name)
        except _ZIP_ERRORS as error:
            raise DataError("data.broken_archive", path=str(path)) from error


def unpack(path: Path, folder: Path) -> list[tuple[str, Path | Problem]]:
    """Unpacks every member into `folder`, under a number: a foreign name is never a path here.

    The zip is read in a child; what it sends is counted once more.

    Returns:
        (name in the archive, file or why there is none), by name.

    Raises:
        DataError: the archive as a whole is damaged or too big, or the child died.
    """
    members: list[tuple[str, Path | Problem]] = []
    with ExitStack() as stack:
        file: BinaryIO | None = None
        written = 0
        for frame in run_in_child("unpack", {"path": str(path)}):
            match frame:
                case {"member": str(name)} if is_safe_name(name) and len(members) < MAX_ENTRIES:
                    stack.close()
                    target = folder / f"{len(members):04d}{PurePosixPath(name).suffix[:10]}"
                    file = stack.enter_context(target.open("xb"))
                    members.append((name, target))
                case {"data": bytes(data)} if file and written + len(data) <= MAX_UNPACKED_BYTES:
                    written += file.write(data)
                case {"refused": str(name), "code": str(code)} if len(members) < MAX_ENTRIES:
                    shown = shown_name(name[:MAX_NAME_CHARS])
                    members.append((shown, _refused(code, shown)))
                case _:
                    raise DataError("data.reader_died", path=str(path), reason="unknown answer")
    return sorted(members, key=lambda member: member[0])


def _refused(code: str, name: str) -> Problem:
    match code:
        case "unsafe":
            return Problem("unsafe_member", "error", Place(name), excerpt=name[:80])
        case "encrypted":
            return Problem("encrypted_member", "error", Place(name))
        case _:
            return Problem("broken_member", "error", Place(name))


def stream_members(path: Path) -> Iterator[dict[str, Any]]:
    """The child's part: each member's name and then its bytes, or why it is refused."""
    with open_archive(path) as archive:
        taken: set[str] = set()
        for entry in archive.infolist():
            name = member_name(entry)
            if name.endswith("/") or is_junk(PurePosixPath(name)):
                continue
            if not is_safe_name(name) or _is_link(entry) or name in taken:
                yield {"refused": name, "code": "unsafe"}
            elif entry.flag_bits & _ENCRYPTED:
                yield {"refused": name, "code": "encrypted"}
            else:
                taken.add(name)
                yield from _member_frames(archive, entry, name)


def _member_frames(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Iterator[dict[str, Any]]:
    try:
        # The check sum is judged at the end only, so the whole is read once before any of it is sent.
        with archive.open(entry) as member:
            while member.read(_PIECE_BYTES):
                pass
    except _ZIP_ERRORS:
        yield {"refused": name, "code": "broken"}
        return
    yield {"member": name}
    with archive.open(entry) as member:
        while piece := member.read(_PIECE_BYTES):
            yield {"data": piece}


def member_name(entry: zipfile.ZipInfo) -> str:
    """The name as its maker wrote it: without the UTF-8 mark it is in the maker's own encoding, mostly Chinese.

    Old Windows programs part folders with backslashes.
    """
    name = entry.orig_filename
    if not entry.flag_bits & _NAME_IS_UTF8:
        name = _decoded_name(name.encode("cp437", errors="replace"), name)
    return name.replace("\\", "/")


def shown_name(name: str) -> str:
    """A file's name as text on one line: on Linux one that was unpacked from a Chinese archive may be no UTF-8."""
    readable = name if name.isascii() else _decoded_name(os.fsencode(name), ascii(name)[1:-1])
    return _CONTROLS.sub(lambda found: repr(found[0])[1:-1], readable)


def _decoded_name(data: bytes, otherwise: str) -> str:
    return next((n for codec in ("utf-8", "gb18030") if (n := _decoded(data, codec)) is not None), otherwise)


def _decoded(data: bytes, codec: str) -> str | None:
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return None


def is_junk(name: PurePosixPath) -> bool:
    """True for what systems and office programs leave beside a user's files."""
    return any(
        part in (".DS_Store", "__MACOSX", "Thumbs.db", "desktop.ini") or part.startswith(("~$", "._", ".~lock."))
        for part in name.parts
    )


def is_safe_name(name: str) -> bool:
    """False for a member that would lead out of its folder, or whose name nobody could read."""
    is_absolute = name.startswith("/") or re.match(r"[A-Za-z]:", name) is not None
    is_readable = bool(name.strip()) and len(name) <= MAX_NAME_CHARS and not _CONTROLS.search(name)
    return is_readable and not is_absolute and ".." not in name.split("/")


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return (entry.external_attr >> 16) & 0o170000 == 0o120000


def _first_bytes(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        with archive.open(name) as member:
            return member.read(100)
    except _ZIP_ERRORS:
        return b""


def _directory_bytes(path: Path) -> int:
    """Size of the list of members as the file's end states it; 0 where there is no such end."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - (1 << 16) - 22, 0))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    return int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
