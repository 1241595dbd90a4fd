"""Where files lie: originals, adapters, reports. A folder of this machine, or a store that fsspec reaches.

A key is ours, such as "datasets/ds_k3v9m2x7q8w4e5ra/original": identifiers and fixed words, never what a user typed.
An object is written under a temporary name, synced and moved into place: a reader sees all of it or nothing.
"""

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from postil.errors import CannotWriteError, DataError, MissingInputError, UnavailableError
from postil.operating_system import os_reason
from postil.platform.settings import ServiceSettings

CHUNK_BYTES = 1 << 20
# Objects on their way in and out; no key begins with a dot.
_WRITING = ".writing"
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*(/[A-Za-z0-9_][A-Za-z0-9_.@-]*)*")


@dataclass(frozen=True)
class Stored:
    """What was written.

    Args:
        sha256: of the bytes; for a folder, of the sorted lines "<sha256>  <path>" of its files.
    """

    key: str
    num_bytes: int
    sha256: str


class Storage(Protocol):
    """Objects by key."""

    def write(self, key: str, chunks: Iterable[bytes], max_bytes: int | None = None) -> Stored:
        """Writes an object, in place of an older one of this key.

        Raises:
            DataError: it is larger than `max_bytes`; nothing of it is kept.
            CannotWriteError: the disk is full or read-only; an older object is still there.
        """

    def write_folder(self, key: str, folder: Path) -> Stored:
        """Copies a folder's files, in place of an older folder of this key; errors as `write`."""

    def open(self, key: str) -> Iterator[bytes]:
        """The bytes of an object, in pieces.

        Raises:
            MissingInputError: there is none; said before the first piece is asked for.
        """

    def local_path(self, key: str) -> AbstractContextManager[Path]:
        """An object or a folder as a path of this machine, to read only, while the context is open.

        Raises:
            MissingInputError: there is none.
        """

    def exists(self, key: str) -> bool:
        """True for an object, a folder, and what is below it."""

    def children(self, prefix: str) -> list[str]:
        """The keys, of objects and folders, that lie directly below a prefix; sorted."""

    def num_bytes(self, prefix: str) -> int:
        """Bytes of an object, or of everything below a prefix; 0 where there is nothing."""

    def delete(self, key: str) -> int:
        """Deletes an object, or everything below a prefix; returns the bytes freed, 0 where there was nothing."""


def open_storage(settings: ServiceSettings) -> Storage:
    """The storage that the settings name.

    Raises:
        UnavailableError: it needs a package that is not installed.
    """
    if settings.storage_url is None:
        return LocalStorage(settings.data_dir / "storage")
    try:
        from postil.platform.store.object_storage import open_object_storage
    except ImportError:
        raise UnavailableError("platform.storage.no_package", url=settings.storage_url) from None
    return open_object_storage(settings.storage_url)


def check_key(key: str) -> str:
    """The key.

    Raises:
        ValueError: it is none of ours (a bug: no key is ever made of what a user typed).
    """
    if not _KEY.fullmatch(key) or ".." in key:
        raise ValueError(f"not a key of the storage: {key!r}")
    return key


@dataclass(frozen=True)
class LocalStorage:
    """Objects are files below `root`."""

    root: Path

    def write(self, key: str, chunks: Iterable[bytes], max_bytes: int | None = None) -> Stored:
        """As `Storage.write`."""
        place = self.root / check_key(key)
        beside = self._beside()
        try:
            num_bytes, sha256 = self._receive(beside, chunks, max_bytes)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(beside, place)
            _sync_parents(place, self.root)
        except OSError as error:
            raise CannotWriteError("platform.storage.cannot_write", path=place, reason=os_reason(error)) from error
        finally:
            beside.unlink(missing_ok=True)
        return Stored(key, num_bytes, sha256)

    def _beside(self) -> Path:
        return self.root / _WRITING / secrets.token_hex(8)

    def _receive(self, beside: Path, chunks: Iterable[bytes], max_bytes: int | None) -> tuple[int, str]:
        beside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest, num_bytes = hashlib.sha256(), 0
        with beside.open("xb") as file:
            for chunk in chunks:
                num_bytes += len(chunk)
                if max_bytes is not None and num_bytes > max_bytes:
                    raise DataError("platform.storage.too_large", limit=in_megabytes(max_bytes))
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        return num_bytes, digest.hexdigest()

    def write_folder(self, key: str, folder: Path) -> Stored:
        """As `Storage.write_folder`."""
        place = self.root / check_key(key)
        beside, old = self._beside(), self._beside()
        try:
            num_bytes, sha256 = _copy_folder(folder, beside)
            place.parent.mkdir(parents=True, exist_ok=True)
            _exchange(beside, place, old)
            _sync_parents(place, self.root)
        except OSError as error:
            raise CannotWriteError("platform.storage.cannot_write", path=place, reason=os_reason(error)) from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
        return Stored(key, num_bytes, sha256)

    def open(self, key: str) -> Iterator[bytes]:
        """As `Storage.open`."""
        try:
            file = (self.root / check_key(key)).open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise MissingInputError("platform.storage.missing", name=key) from None

        def pieces() -> Iterator[bytes]:
            with file:
                while piece := file.read(CHUNK_BYTES):
                    yield piece

        return pieces()

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        """As `Storage.local_path`; the object itself."""
        place = self.root / check_key(key)
        if not place.exists():
            raise MissingInputError("platform.storage.missing", name=key)
        yield place

    def exists(self, key: str) -> bool:
        """As `Storage.exists`."""
        return (self.root / check_key(key)).exists()

    def children(self, prefix: str) -> list[str]:
        """As `Storage.children`."""
        folder = self.root / check_key(prefix)
        return sorted(f"{prefix}/{path.name}" for path in folder.iterdir()) if folder.is_dir() else []

    def num_bytes(self, prefix: str) -> int:
        """As `Storage.num_bytes`."""
        return _size(self.root / check_key(prefix))

    def delete(self, key: str) -> int:
        """As `Storage.delete`. It is gone at once, by a rename; what takes time comes after."""
        place, away = self.root / check_key(key), self._beside()
        freed = _size(place)
        try:
            away.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.rename(place, away)
            _sync_parents(place, self.root)
            shutil.rmtree(away) if away.is_dir() else away.unlink()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise CannotWriteError("platform.storage.cannot_delete", path=place, reason=os_reason(error)) from error
        return freed

    def sweep(self, before: float) -> int:
        """Deletes what calls that were killed have left behind.

        Args:
            before: seconds since 1970; younger ones may still be written.

        Returns:
            Bytes freed.
        """
        freed = 0
        for path in (self.root / _WRITING).glob("*"):
            try:
                if path.lstat().st_mtime < before:
                    freed += _size(path)
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            except FileNotFoundError:  # its call has ended meanwhile
                continue
        return freed


def lines_of(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of an object that has been opened, without their ends; what follows the last end is none."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines


def in_megabytes(num_bytes: int) -> str:
    """A limit in words, as the shell and the pages say sizes."""
    megabytes = num_bytes / 1e6
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.3g} MB"


def folder_digest(files: Iterable[tuple[str, str]]) -> str:
    """One sha256 for a folder, from each file's path in it and sha256."""
    lines = sorted(f"{sha256}  {path}\n" for path, sha256 in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def files_of(folder: Path) -> list[Path]:
    """The plain files below a folder, sorted; a link would lead out of it and is refused.

    Raises:
        CannotWriteError: there is a link or a special file in it.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise CannotWriteError("platform.storage.not_plain", path=path)
        if path.is_file():
            found.append(path)
    return found


def _copy_folder(source: Path, target: Path) -> tuple[int, str]:
    target.mkdir(parents=True)
    digests, num_bytes = [], 0
    for path in files_of(source):
        name = path.relative_to(source)
        (target / name.parent).mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with path.open("rb") as old, (target / name).open("xb") as new:
            while piece := old.read(CHUNK_BYTES):
                digest.update(piece)
                new.write(piece)
                num_bytes += len(piece)
            new.flush()
            os.fsync(new.fileno())
        digests.append((name.as_posix(), digest.hexdigest()))
    for path in (target, *(p for p in target.rglob("*") if p.is_dir())):
        _sync_folder(path)
    return num_bytes, folder_digest(digests)


def _exchange(new: Path, place: Path, old: Path) -> None:
    """Moves a folder into place; where that fails, the older one is back."""
    if not place.exists():
        os.rename(new, place)
        return
    os.rename(place, old)
    try:
        os.rename(new, place)
    except OSError:
        os.rename(old, place)
        raise


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.lstat().st_size for p in path.rglob("*") if p.is_file() or p.is_symlink())


def _sync_folder(path: Path) -> None:
    if os.name == "nt":  # Windows has no descriptors of folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_parents(place: Path, root: Path) -> None:
    """Syncs the folders from an object up to the root: any of them may be new."""
    for folder in place.parents:
        _sync_folder(folder)
        if folder == root:
            return
