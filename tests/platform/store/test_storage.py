"""The storage: whole objects or nothing, whatever fails (F3); a folder and an object store keep the same promises."""

import contextlib
import errno
import hashlib
import io
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pytest

from postil.errors import CannotWriteError, DataError, MissingInputError
from postil.operating_system import os_reason
from postil.platform.settings import load_settings
from postil.platform.store.object_storage import ObjectStorage
from postil.platform.store.storage import LocalStorage, Storage, open_storage

OLD, NEW = b"old " * 1000, b"new " * 5000


@pytest.fixture(params=["local", "object store"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Storage]:
    """Both kinds; the object store is fsspec's, in memory."""
    if request.param == "local":
        yield LocalStorage(tmp_path / "storage")
        return
    files = fsspec.filesystem("memory", skip_instance_cache=True)
    yield ObjectStorage(files, "/bucket")
    with contextlib.suppress(FileNotFoundError):
        files.rm("/bucket", recursive=True)


def content(storage: Storage, key: str) -> bytes:
    """A whole object."""
    return b"".join(storage.open(key))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with files in it."""
    folder = tmp_path / "made"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"one")
    (folder / "inner" / "b.bin").write_bytes(b"two" * 1000)
    return folder


def test_an_object_comes_back_as_it_went_in(storage: Storage) -> None:
    pieces = [b"a" * 100, b"", b"b" * 2_000_000]
    stored = storage.write("datasets/ds_1/original", pieces)
    whole = b"".join(pieces)
    assert (stored.num_bytes, stored.sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert content(storage, stored.key) == whole
    with storage.local_path(stored.key) as path:
        assert path.read_bytes() == whole
    storage.write(stored.key, [NEW])
    assert content(storage, stored.key) == NEW
    assert storage.num_bytes("datasets") == len(NEW)


def test_a_folder_comes_back_as_it_went_in(storage: Storage, made: Path, tmp_path: Path) -> None:
    stored = storage.write_folder("adapters/ad_1", made)
    assert stored.num_bytes == storage.num_bytes("adapters/ad_1") == 3003
    lines = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in tree(made).items())
    assert stored.sha256 == hashlib.sha256("".join(sorted(lines.splitlines(True))).encode()).hexdigest()
    with storage.local_path("adapters/ad_1") as path:
        assert tree(path) == tree(made)
    assert content(storage, "adapters/ad_1/inner/b.bin") == b"two" * 1000
    (made / "a.txt").unlink()
    storage.write_folder("adapters/ad_1", made)
    with storage.local_path("adapters/ad_1") as path:
        assert tree(path) == tree(made)


def test_what_is_deleted_is_gone_and_frees_its_bytes(storage: Storage, made: Path) -> None:
    storage.write("datasets/ds_1/original", [OLD])
    storage.write("datasets/ds_1/versions/1", [NEW])
    storage.write("datasets/ds_12/original", [OLD])
    storage.write_folder("adapters/ad_1", made)
    assert storage.exists("datasets/ds_1/original") and storage.exists("adapters/ad_1")
    assert storage.children("datasets") == ["datasets/ds_1", "datasets/ds_12"]
    assert storage.children("adapters") == ["adapters/ad_1"] and storage.children("nothing") == []
    assert storage.delete("datasets/ds_1") == len(OLD) + len(NEW)
    assert storage.delete("datasets/ds_1") == 0
    assert storage.delete("adapters/ad_1") == 3003
    assert not storage.exists("adapters/ad_1") and not storage.exists("datasets/ds_1/original")
    assert content(storage, "datasets/ds_12/original") == OLD


def test_what_is_not_there_is_said(storage: Storage) -> None:
    with pytest.raises(MissingInputError, match="datasets/nothing"):
        storage.open("datasets/nothing")
    with pytest.raises(MissingInputError), storage.local_path("datasets/nothing"):
        pass
    assert not storage.exists("datasets/nothing")
    assert storage.num_bytes("datasets/nothing") == storage.delete("datasets/nothing") == 0


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "a/.hidden",
        ".writing/x",
        "a\x00b",
        "a b",
        "a\\b",
        "C:/x",
        "a/",
        "é",
        "-x",
    ],
)
def test_keys_that_are_not_ours_reach_nothing(storage: Storage, key: str, made: Path) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: storage.write(key, [b"x"]),
        lambda: storage.write_folder(key, made),
        lambda: storage.open(key),
        lambda: storage.local_path(key).__enter__(),
        lambda: storage.exists(key),
        lambda: storage.num_bytes(key),
        lambda: storage.delete(key),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="not a key"):
            call()


def test_too_much_is_refused_while_it_comes(storage: Storage) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 1000

    storage.write("a", [OLD])
    with pytest.raises(DataError, match=r"larger than 0\.01 MB"):
        storage.write("a", endless(), max_bytes=10_000)
    assert taken == 11
    assert content(storage, "a") == OLD
    storage.write("a", [b"x" * 10_000], max_bytes=10_000)


def test_a_sender_that_breaks_off_leaves_nothing(storage: Storage, tmp_path: Path) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 100
        raise ConnectionResetError("gone")

    with pytest.raises((ConnectionResetError, CannotWriteError)):
        storage.write("a", broken())
    assert not storage.exists("a")
    assert tree(tmp_path) == {}


def test_a_link_in_a_folder_is_refused(storage: Storage, made: Path) -> None:
    (made / "link").symlink_to("/etc/passwd")
    with pytest.raises(CannotWriteError, match="link"):
        storage.write_folder("adapters/ad_1", made)
    assert not storage.exists("adapters/ad_1")


def test_leftovers_of_killed_writers_go_and_young_ones_stay(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.write("a", [OLD])
    for name, age in (("old", 100_000), ("young", 0)):
        path = tmp_path / ".writing" / name
        path.write_bytes(b"x" * 10)
        os.utime(path, (time.time() - age,) * 2)
    assert storage.sweep(time.time() - 1000) == 10
    assert sorted(tree(tmp_path)) == [".writing/young", "a"]


def test_settings_choose_the_storage(tmp_path: Path) -> None:
    assert open_storage(load_settings(tmp_path)) == LocalStorage(tmp_path / "storage")
    far = open_storage(load_settings(tmp_path, {"storage_url": "memory://bucket/postil/"}))
    far.write("a", [OLD])
    assert content(far, "a") == OLD
    assert not (tmp_path / "storage").exists()
    far.delete("a")


# F3 -----------------------------------------------------------------------------------------------------------------


@dataclass
class Faults:
    """A disk whose n-th operation fails; the ones after it work again, so that a clean-up is not hindered twice."""

    fail_at: int
    reason: int
    seen: int = 0
    failed: list[str] = field(default_factory=list)

    def count(self, name: str) -> None:
        """One operation."""
        self.seen += 1
        if self.seen == self.fail_at:
            self.failed.append(name)
            raise OSError(self.reason, os.strerror(self.reason))


class FaultyFile:
    """A file that asks before each write."""

    def __init__(self, file: io.BufferedWriter, faults: Faults):
        self.file, self.faults = file, faults

    def __enter__(self) -> "FaultyFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        """A part of it may reach the disk before the failure."""
        try:
            self.faults.count("write")
        except OSError:
            self.file.write(data[: len(data) // 2])
            raise
        return self.file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@contextlib.contextmanager
def faulty_disk(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every write, fsync, rename, mkdir and unlink is counted."""
    with monkeypatch.context() as patch:
        for name in ("fsync", "replace", "rename", "mkdir"):
            real = getattr(os, name)

            def wrapped(*arguments: Any, _real: Any = real, _name: str = name, **named: Any) -> Any:
                if _name != "mkdir" or not os.path.isdir(arguments[0]):  # else it only looks
                    faults.count(_name)
                return _real(*arguments, **named)

            patch.setattr(os, name, wrapped)
        real_open = pathlib.Path.open

        def opened(self: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
            file = real_open(self, mode, *arguments, **named)
            if "x" not in mode:
                return file
            try:
                faults.count("open")
            except OSError:
                file.close()
                raise
            return FaultyFile(file, faults)

        patch.setattr(pathlib.Path, "open", opened)
        yield


def run_with_faults(
    action: Callable[[], object],
    check: Callable[[bool], None],
    reason: int,
    monkeypatch: pytest.MonkeyPatch,
) -> list[str]:
    """Lets the first operation fail, then the second, until the action needs no more; names those that failed.

    Args:
        check: looks at what is there now; told whether the action succeeded.
    """
    failed: list[str] = []
    told: list[str] = []
    for fail_at in range(1, 200):
        faults = Faults(fail_at, reason)
        succeeded = False
        with faulty_disk(faults, monkeypatch):
            try:
                action()
                succeeded = True
            except CannotWriteError as error:
                told.append(error.message)
        assert succeeded == (not faults.failed), "a failure was swallowed"
        check(succeeded)
        if succeeded:
            assert all(os_reason(OSError(reason, "")) in message for message in told) and len(told) == len(failed)
            return failed
        failed += faults.failed
    raise AssertionError("it never ends")


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_write_that_fails_anywhere_leaves_the_old_object(
    reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path / "storage")
    storage.write("datasets/ds_1/original", [OLD])

    def check(succeeded: bool) -> None:
        # after the rename the new one is there, and only the sync of its folder has failed
        assert content(storage, "datasets/ds_1/original") in ((NEW,) if succeeded else (OLD, NEW))
        assert list((tmp_path / "storage" / ".writing").iterdir()) == []
        storage.write("datasets/ds_1/original", [OLD])

    failed = run_with_faults(
        lambda: storage.write("datasets/ds_1/original", [NEW[:7000], NEW[7000:]]), check, reason, monkeypatch
    )
    assert {"open", "write", "fsync", "replace"} <= set(failed) and failed.count("write") == 2


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO])
def test_a_new_object_that_fails_anywhere_is_not_there_by_half(
    reason: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path / "storage")

    def check(succeeded: bool) -> None:
        if storage.exists("a/b/c"):
            assert content(storage, "a/b/c") == NEW
        else:
            assert not succeeded
        assert list((tmp_path / "storage" / ".writing").glob("*")) == []
        storage.delete("a")

    failed = run_with_faults(lambda: storage.write("a/b/c", [NEW]), check, reason, monkeypatch)
    assert {"mkdir", "write", "fsync", "replace"} <= set(failed)


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EIO])
def test_a_folder_that_fails_anywhere_leaves_the_old_folder(
    reason: int, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path / "storage")
    old = tmp_path / "old"
    old.mkdir()
    (old / "only.txt").write_bytes(b"old")
    storage.write_folder("adapters/ad_1", old)

    def check(succeeded: bool) -> None:
        with storage.local_path("adapters/ad_1") as path:
            found = tree(path)
        assert found == tree(made) if succeeded else found in (tree(made), tree(old))
        assert list((tmp_path / "storage" / ".writing").iterdir()) == []
        storage.write_folder("adapters/ad_1", old)

    failed = run_with_faults(lambda: storage.write_folder("adapters/ad_1", made), check, reason, monkeypatch)
    assert failed.count("rename") == 2 and failed.count("write") == 2 and failed.count("fsync") >= 4


@pytest.mark.parametrize("reason", [errno.EIO])
def test_a_deletion_that_fails_leaves_all_or_nothing(
    reason: int, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path / "storage")
    storage.write_folder("adapters/ad_1", made)

    def check(succeeded: bool) -> None:
        if storage.exists("adapters/ad_1"):
            with storage.local_path("adapters/ad_1") as path:
                assert tree(path) == tree(made)
            assert not succeeded
        else:
            storage.write_folder("adapters/ad_1", made)

    failed = run_with_faults(lambda: storage.delete("adapters/ad_1"), check, reason, monkeypatch)
    assert "rename" in failed


def test_a_real_full_disk_is_told_and_the_object_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full refuses every byte, as a full disk does."""
    storage = LocalStorage(tmp_path)
    storage.write("a", [OLD])
    monkeypatch.setattr(LocalStorage, "_beside", lambda self: _full(tmp_path))
    with pytest.raises(CannotWriteError, match="space"):
        storage.write("a", [NEW * 1000])
    monkeypatch.undo()
    assert content(storage, "a") == OLD
    storage.write("a", [NEW])


class _FullPath(type(Path())):  # type: ignore[misc]
    """A name whose file is opened as /dev/full."""

    def open(self, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        """The device in place of a new file."""
        return open("/dev/full", "wb") if mode == "xb" else super().open(mode, *arguments, **named)


def _full(folder: Path) -> Path:
    return _FullPath(folder / ".writing" / "full")
