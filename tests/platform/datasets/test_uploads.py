"""Uploads: streamed, capped, resumed, refused; whatever a name says, and wherever one breaks off."""

import errno
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from postil.errors import (
    CannotWriteError,
    ConflictError,
    DataError,
    MissingInputError,
    PostilError,
    QuotaError,
    UsageError,
)
from postil.platform.datasets.checks import check_dataset
from postil.platform.datasets.datasets import delete_dataset
from postil.platform.datasets.names import MAX_FILE_NAME_CHARS, MAX_NAME_CHARS, free_name, name_of_file, shown_file_name
from postil.platform.datasets.uploads import (
    abandon_upload,
    append_upload,
    begin_upload,
    clear_abandoned,
    finish_upload,
    received_bytes,
    start_upload,
)
from postil.platform.datasets.views import get_dataset, list_datasets
from postil.platform.service import Service
from postil.platform.store import storage
from tests.platform.conftest import Clock, NewService
from tests.platform.dataset_lives import new_account, pairs, upload

MEGABYTE = 1 << 20


def files_left(service: Service) -> list[str]:
    """Everything in the data folder that is somebody's."""
    root = service.settings.data_dir
    files = (p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    return [name for name in files if not name.startswith(("postil.db", "secret.key")) and not name.endswith(".lock")]


def assert_nothing_left(service: Service, account: str) -> None:
    assert list_datasets(service, account) == ()
    assert files_left(service) == []


def broken(data: bytes, error: BaseException) -> Iterator[bytes]:
    yield data
    raise error


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), RuntimeError("bug"), KeyboardInterrupt()])
def test_a_broken_upload_leaves_nothing(service: Service, error: BaseException) -> None:
    account = new_account(service)
    with pytest.raises(type(error)):
        start_upload(service, account, "faq.csv", broken(pairs(), error))
    assert_nothing_left(service, account)


def test_empty_and_too_large(new_service: NewService) -> None:
    service = new_service(max_upload_bytes=1000)
    account = new_account(service)
    with pytest.raises(DataError) as caught:
        start_upload(service, account, "faq.csv", [])
    assert caught.value.key == "platform.uploads.empty"
    taken: list[int] = []

    def endless() -> Iterator[bytes]:
        for i in range(10_000):
            taken.append(i)
            yield bytes(100)

    with pytest.raises(DataError) as caught:
        start_upload(service, account, "faq.csv", endless())
    assert caught.value.key == "platform.storage.too_large" and len(taken) == 11
    assert_nothing_left(service, account)
    assert start_upload(service, account, "faq.csv", [b"x" * 1000]).num_bytes == 1000


def test_the_accounts_room(new_service: NewService) -> None:
    service = new_service(max_account_bytes=2500)
    account, other = new_account(service), new_account(service)
    start_upload(service, account, "a.csv", [b"x" * 1000])
    start_upload(service, account, "b.csv", [b"x" * 1000])
    with pytest.raises(QuotaError) as caught:
        start_upload(service, account, "c.csv", [b"x" * 600])
    assert caught.value.key == "platform.uploads.no_room"
    start_upload(service, account, "c.csv", [b"x" * 500])
    with pytest.raises(QuotaError) as caught:
        start_upload(service, account, "d.csv", [b"x"])
    assert caught.value.key == "platform.uploads.over_quota"
    assert len(list_datasets(service, account)) == 3
    start_upload(service, other, "a.csv", [b"x" * 2000])  # its own room


def test_two_uploads_do_not_share_the_last_room(new_service: NewService) -> None:
    service = new_service(max_account_bytes=1500)
    account = new_account(service)
    both_begun = threading.Barrier(2)
    outcomes: list[str] = []

    def send(number: int) -> None:
        def chunks() -> Iterator[bytes]:
            both_begun.wait(20)
            yield b"x" * 1000

        try:
            start_upload(service, account, f"{number}.csv", chunks())
            outcomes.append("done")
        except PostilError as error:
            outcomes.append(error.key)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["done", "platform.uploads.over_quota"]
    assert len(list_datasets(service, account)) == 1


def test_in_pieces_that_go_on_where_they_broke(service: Service) -> None:
    account, data = new_account(service), pairs(200)
    begun = begin_upload(service, account, "faq.csv")
    assert (begun.state, begun.version) == ("uploading", 0)
    assert append_upload(service, account, begun.id, 0, [data[:100], data[100:300]]) == 300
    with pytest.raises(ConnectionResetError):
        append_upload(service, account, begun.id, 300, broken(data[300:700], ConnectionResetError()))
    received = received_bytes(service, account, begun.id)
    assert received == 700
    for wrong in (0, 300, 701):
        with pytest.raises(ConflictError) as caught:
            append_upload(service, account, begun.id, wrong, [b"x"])
        assert "700" in caught.value.hint
    with pytest.raises(ConflictError):
        finish_upload(service, account, begun.id, num_bytes=len(data))
    append_upload(service, account, begun.id, received, [data[received:]])
    made = finish_upload(service, account, begun.id, num_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    assert (made.state, made.sha256) == ("validating", hashlib.sha256(data).hexdigest())
    for call in (
        lambda: append_upload(service, account, begun.id, len(data), [b"x"]),
        lambda: finish_upload(service, account, begun.id),
        lambda: received_bytes(service, account, begun.id),
    ):
        with pytest.raises(ConflictError) as caught:
            call()
        assert caught.value.key == "platform.uploads.complete"
    assert b"".join(service.storage.open(f"datasets/{begun.id}/original")) == data
    assert not any(name.startswith("uploads/") for name in files_left(service))


def test_a_wrong_sum_keeps_nothing_and_another_account_finds_nothing(service: Service) -> None:
    account, other = new_account(service), new_account(service)
    begun = begin_upload(service, account, "faq.csv")
    with pytest.raises(MissingInputError):
        append_upload(service, other, begun.id, 0, [b"x"])
    with pytest.raises(MissingInputError):
        finish_upload(service, other, begun.id)
    abandon_upload(service, other, begun.id)
    append_upload(service, account, begun.id, 0, [pairs()])
    with pytest.raises(ConflictError) as caught:
        finish_upload(service, account, begun.id, sha256="0" * 64)
    assert caught.value.key == "platform.uploads.other_sum"
    assert received_bytes(service, account, begun.id) == 0 and files_left(service) == []
    with pytest.raises(DataError):
        finish_upload(service, account, begun.id)  # still nothing there
    append_upload(service, account, begun.id, 0, [pairs()])
    assert finish_upload(service, account, begun.id).state == "validating"


def test_what_is_abandoned_is_cleared_away(service: Service, clock: Clock) -> None:
    account = new_account(service)
    begun = begin_upload(service, account, "faq.csv")
    append_upload(service, account, begun.id, 0, [pairs()])
    complete = start_upload(service, account, "faq.csv", [pairs()])
    clock.go(hours=23)
    assert clear_abandoned(service) == 0
    clock.go(hours=2)
    assert clear_abandoned(service) == 1
    assert [view.id for view in list_datasets(service, account)] == [complete.id]
    assert not any(name.startswith("uploads/") for name in files_left(service))


def test_deleted_while_its_bytes_come(service: Service) -> None:
    account = new_account(service)
    begun = begin_upload(service, account, "faq.csv")
    append_upload(service, account, begun.id, 0, [pairs()])
    assert delete_dataset(service, account, begun.id) == len(pairs())
    assert_nothing_left(service, account)

    def chunks() -> Iterator[bytes]:
        yield pairs()
        delete_dataset(service, account, list_datasets(service, account)[0].id)
        yield pairs()

    with pytest.raises(MissingInputError):
        start_upload(service, account, "faq.csv", chunks())
    assert_nothing_left(service, account)
    for wrong in ("../../x", "", begun.id):
        abandon_upload(service, account, wrong)


def test_one_piece_at_a_time(service: Service) -> None:
    account = new_account(service)
    begun = begin_upload(service, account, "faq.csv")

    def chunks() -> Iterator[bytes]:
        yield b"a" * 10
        for call in (
            lambda: append_upload(service, account, begun.id, 0, [b"b" * 10]),
            lambda: finish_upload(service, account, begun.id),
        ):
            with pytest.raises(ConflictError) as caught:
                call()
            assert caught.value.key == "platform.uploads.busy"
        yield b"a" * 10

    assert append_upload(service, account, begun.id, 0, chunks()) == 20
    assert finish_upload(service, account, begun.id).num_bytes == 20


@pytest.mark.parametrize("failing", ["write", "fsync", "replace"])
def test_a_full_disk_in_mid_upload(service: Service, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Everything is as before, and the same upload works once there is room."""
    account = new_account(service)
    before = upload(service, account, pairs())
    lying = files_left(service)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if failing == "write":
            patch.setattr(storage, "hashlib", FailingHash(errno.ENOSPC))
        else:
            patch.setattr(storage.os, failing, refuse)
        with pytest.raises(CannotWriteError):
            start_upload(service, account, "big.csv", [pairs()] * 5)
    assert files_left(service) == lying
    assert list_datasets(service, account) == (before,)
    assert start_upload(service, account, "big.csv", [pairs()] * 5).state == "validating"


class FailingHash:
    """hashlib, whose digests fail as a file does that cannot grow: in the middle of what is written."""

    def __init__(self, number: int):
        self._number = number

    def sha256(self) -> "FailingHash":
        return self

    def update(self, chunk: bytes) -> None:
        raise OSError(self._number, "No space left on device")


def test_a_real_small_disk(new_service: NewService, tmp_path: Path) -> None:
    """A device that is always full."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full, which Linux has")
    service = new_service()
    account = new_account(service)
    begun = begin_upload(service, account, "faq.csv")
    part = service.settings.data_dir / "uploads" / f"{begun.id}.part"
    part.parent.mkdir(exist_ok=True)
    part.symlink_to(full)
    with pytest.raises(CannotWriteError) as caught:
        append_upload(service, account, begun.id, 0, [bytes(MEGABYTE)])
    assert caught.value.key == "platform.uploads.cannot_write"
    part.unlink()
    assert append_upload(service, account, begun.id, 0, [pairs()]) == len(pairs())


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_memory_does_not_grow_with_the_file(service: Service) -> None:
    """300 MB go by while at most one piece of them is held."""
    import tracemalloc

    account = new_account(service)
    piece = bytes(MEGABYTE)
    begun = begin_upload(service, account, "zeros.bin")
    tracemalloc.start()
    received = append_upload(service, account, begun.id, 0, (piece for _ in range(100)))
    view = finish_upload(service, account, begun.id)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert received == view.num_bytes == 100 * MEGABYTE and peak < 8 * MEGABYTE


HOSTILE_NAMES = [
    ("../../x", "x"),
    ("..\\..\\x.csv", "x.csv"),
    ("C:\\Users\\me\\faq.csv", "faq.csv"),
    ("/etc/passwd", "passwd"),
    ("..", "file"),
    (".", "file"),
    ("", "file"),
    ("   ", "file"),
    ("/", "file"),
    ("a\x00b.csv", "a\\u0000b.csv"),
    ("a\nb\r.csv", "a\\u000ab\\u000d.csv"),
    ("\x1b[31mred.csv", "\\u001b[31mred.csv"),
    ("CON", "CON"),
    ("nul.csv", "nul.csv"),
    ("photo\u202egpj.exe", "photo\\u202egpj.exe"),
    ("\u2066a\u2069.csv", "\\u2066a\\u2069.csv"),
    ("\u200fa.csv", "a.csv"),
    ("half\ud800.csv", "half\\ud800.csv"),
    ("<img src=x onerror=alert(1)>.csv", "<img src=x onerror=alert(1)>.csv"),
    ("'; DROP TABLE datasets; --.csv", "'; DROP TABLE datasets; --.csv"),
    ("$(touch x); `id` --flag.csv", "$(touch x); `id` --flag.csv"),
    ("-rf", "-rf"),
    ("%2e%2e%2fx.csv", "%2e%2e%2fx.csv"),
    ("ＡＢＣ／x.csv", "ＡＢＣ／x.csv"),
    ("客服问答（新）.xlsx", "客服问答（新）.xlsx"),
    ("{name}.csv", "{name}.csv"),
    ("a|b.csv", "a|b.csv"),
    ("a.csv/", "a.csv"),
    ("👩‍👩‍👧.csv", "👩‍👩‍👧.csv"),
]


@pytest.mark.parametrize(("raw", "shown"), HOSTILE_NAMES)
def test_names_as_they_are_shown(raw: str, shown: str) -> None:
    assert shown_file_name(raw) == shown
    assert 0 < len(name_of_file(shown)) <= 120


def test_long_names_keep_their_end() -> None:
    shown = shown_file_name("长" * 300 + ".xlsx")
    assert len(shown) <= MAX_FILE_NAME_CHARS and shown.endswith("….xlsx")
    assert len(shown_file_name("x" * 5000)) == MAX_FILE_NAME_CHARS
    assert len(shown_file_name("a." + "b" * 5000)) == MAX_FILE_NAME_CHARS


def test_hostile_names_are_text_and_nothing_else(service: Service, tmp_path: Path) -> None:
    account = new_account(service)
    for raw, shown in HOSTILE_NAMES:
        made = start_upload(service, account, raw, [pairs()])
        assert get_dataset(service, account, made.id).file_name == shown
    names = {p.name for p in tmp_path.rglob("*")}
    database = {"postil.db", "postil.db-journal", "postil.db-wal", "postil.db-shm"}
    ours = {"data", "storage", ".writing", "datasets", "original", "secret.key"} | database
    assert names <= ours | {view.id for view in list_datasets(service, account, limit=100)}
    with pytest.raises(UsageError):
        start_upload(service, account, "x.csv", [pairs()], name="a\nb")


@pytest.mark.parametrize(
    "raw", ["../../x", "a\x00b.csv", "\x1b[31m.csv", "photo\u202egpj.exe", "x" * 300 + ".csv", "\ud800"]
)
@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_files_of_hostile_names_are_checked_and_told_of(service: Service, raw: str) -> None:
    account = new_account(service)
    made = start_upload(service, account, raw, [b"\x89PNG" + bytes(100)])
    check_dataset(service, made.id)
    view = get_dataset(service, account, made.id)
    assert view.state == "unreadable" and view.error is not None and view.file_name in view.error.message
    assert upload(service, account, pairs(), raw).state == "ready"


def test_uploads_of_the_module_are_named_by_their_identifier(service: Service) -> None:
    account = new_account(service)
    begun = begin_upload(service, account, "../../evil")
    append_upload(service, account, begun.id, 0, [b"x"])
    assert files_left(service) == [f"uploads/{begun.id}.part"]


def test_a_second_file_of_one_name_gets_a_number(service: Service) -> None:
    account = new_account(service)
    names = [start_upload(service, account, "shop.csv", [b"question,answer\nq,a\n"]).name for _ in range(3)]
    assert names == ["shop", "shop (2)", "shop (3)"]
    assert start_upload(service, account, "shop.csv", [b"q,a\n1,2\n"], "shop").name == "shop", "as its owner says"
    other = new_account(service)
    assert start_upload(service, other, "shop.csv", [b"question,answer\nq,a\n"]).name == "shop"
    assert free_name("x" * MAX_NAME_CHARS, {"x" * MAX_NAME_CHARS}) == f"{'x' * (MAX_NAME_CHARS - 4)} (2)"
