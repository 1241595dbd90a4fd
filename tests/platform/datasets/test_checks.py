"""The check as a task: taken up again after kill -9 of anything, idempotent, bounded; hostile files do not end it."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from sqlalchemy.exc import OperationalError

from postil.data.files import sandbox
from postil.errors import CannotWriteError
from postil.platform.datasets import checks as dataset_checks
from postil.platform.datasets.checks import check_dataset, tend_checks
from postil.platform.datasets.datasets import delete_dataset
from postil.platform.datasets.reports import get_report
from postil.platform.datasets.uploads import start_upload
from postil.platform.datasets.views import DatasetView, get_dataset
from postil.platform.service import Service
from postil.platform.store.tables import Dataset
from tests.platform.conftest import NewService
from tests.platform.dataset_lives import new_account, pairs, upload

TIME_LIMIT_SECONDS = 60
ONLY_SQLITE = pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def fresh_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_checks, "_WORK", dataset_checks._Work())


def tend_until(service: Service, is_done: Callable[[], bool]) -> None:
    """Runs the supervisor's loop."""
    end = time.monotonic() + TIME_LIMIT_SECONDS
    while not is_done():
        assert time.monotonic() < end
        tend_checks(service)
        time.sleep(0.02)


def views(service: Service, account: str, ids: list[str]) -> list[DatasetView]:
    return [get_dataset(service, account, dataset_id) for dataset_id in ids]


def test_everything_that_waits_is_checked_two_at_a_time(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    account = new_account(service)
    ids = [start_upload(service, account, f"{i}.csv", [pairs(5 + i)]).id for i in range(5)]
    at_work: list[int] = []
    lock, real = threading.Lock(), dataset_checks._examine

    def examine(*arguments: Any) -> Any:
        with lock:
            at_work.append(sum(thread.is_alive() for thread in dataset_checks._WORK.threads.values()))
        return real(*arguments)

    monkeypatch.setattr(dataset_checks, "_examine", examine)
    tend_until(service, lambda: all(v.state == "ready" for v in views(service, account, ids)))
    assert [v.rows for v in views(service, account, ids)] == [5, 6, 7, 8, 9]
    assert len(at_work) == 5 and max(at_work) <= dataset_checks.AT_ONCE


def test_kill_9_of_the_checking_process(service: Service) -> None:
    """A process of its own has begun the check and dies in the middle of it; another one does it anew."""
    account = new_account(service)
    made = start_upload(service, account, "faq.csv", [pairs(4000)])
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from postil.platform.settings import load_settings\nfrom postil.platform.service import open_service\n"
        "from postil.platform.datasets import checks as dataset_checks\n"
        "real = dataset_checks._examine\n"
        "def examine(*arguments):\n    print('begun', flush=True)\n    return real(*arguments)\n"
        "dataset_checks._examine = examine\n"
        "service = open_service(load_settings(Path(sys.argv[1]), {'database_url': sys.argv[2] or None}))\n"
        "dataset_checks.check_dataset(service, sys.argv[3])\n"
    )
    settings = service.settings
    command = [sys.executable, "-c", code, str(settings.data_dir), settings.database_url or "", made.id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        os.kill(process.pid, signal.SIGKILL)
    assert get_dataset(service, account, made.id).state == "validating"
    tend_until(service, lambda: get_dataset(service, account, made.id).state != "validating")
    assert get_dataset(service, account, made.id).rows == 4000


def test_kill_9_of_the_child(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    account = new_account(service)
    made = start_upload(service, account, "faq.csv", [pairs()])
    started: list[subprocess.Popen[bytes]] = []
    real_popen, real_send = subprocess.Popen, sandbox._send

    def popen(*arguments: Any, **named: Any) -> Any:
        started.append(real_popen(*arguments, **named))
        return started[-1]

    def kill_first(pipe: Any, data: bytes) -> None:
        if len(started) == 1:
            os.kill(started[0].pid, signal.SIGKILL)
        real_send(pipe, data)

    monkeypatch.setattr(sandbox.subprocess, "Popen", popen)
    monkeypatch.setattr(sandbox, "_send", kill_first)
    assert check_dataset(service, made.id)
    assert len(started) == 2 and started[0].returncode == -signal.SIGKILL
    assert get_dataset(service, account, made.id).state == "ready"


def test_a_child_that_always_dies_is_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    account = new_account(service)
    made = start_upload(service, account, "faq.csv", [pairs()])
    monkeypatch.setattr(sandbox, "CHILD_MODULE", "tests.no_such_module")
    assert check_dataset(service, made.id)
    view = get_dataset(service, account, made.id)
    assert view.state == "unreadable" and view.error is not None
    assert view.error.key == "data.reader_died" and "faq.csv" in view.error.message


def test_a_check_is_idempotent(service: Service) -> None:
    account = new_account(service)
    made = upload(service, account, pairs())
    report = get_report(service, account, made.id)
    with service.database.writing() as session:
        session.get_one(Dataset, made.id).state = "validating"  # as if its last step had been lost
    assert check_dataset(service, made.id)
    assert get_report(service, account, made.id) == report
    assert get_dataset(service, account, made.id) == made


def test_a_full_disk_is_waited_out(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    account = new_account(service)
    made = start_upload(service, account, "faq.csv", [pairs()])
    monkeypatch.setattr(dataset_checks, "RETRY_SECONDS", 0.1)
    failed: list[int] = []
    real = type(service.storage).write

    def write(self: Any, key: str, *rest: Any) -> Any:
        if len(failed) < 2 and key.endswith("tokens.json"):
            failed.append(1)
            raise CannotWriteError("platform.storage.cannot_write", path=key, reason="full")
        return real(self, key, *rest)

    monkeypatch.setattr(type(service.storage), "write", write)
    tend_until(service, lambda: get_dataset(service, account, made.id).state == "ready")
    assert len(failed) == 2


@ONLY_SQLITE
def test_a_locked_database_is_waited_out(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    account = new_account(service)
    made = start_upload(service, account, "faq.csv", [pairs()])
    monkeypatch.setattr(dataset_checks, "RETRY_SECONDS", 0.1)
    failed: list[int] = []
    real = dataset_checks._keep

    def keep(*arguments: Any) -> Any:
        if not failed:
            failed.append(1)
            raise OperationalError("UPDATE", {}, Exception("database is locked"))
        return real(*arguments)

    monkeypatch.setattr(dataset_checks, "_keep", keep)
    tend_until(service, lambda: get_dataset(service, account, made.id).state == "ready")
    assert failed


def test_a_bug_of_ours_ends_the_check_and_is_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    account = new_account(service)
    made = start_upload(service, account, "faq.csv", [pairs()])

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(dataset_checks, "_examine", fail)
    tend_until(service, lambda: get_dataset(service, account, made.id).state == "unreadable")
    view = get_dataset(service, account, made.id)
    assert view.error is not None and "ZeroDivisionError" in view.error.message


def test_a_deletion_that_was_cut_off_is_finished(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    account = new_account(service)
    made = upload(service, account, pairs())

    def die(*_: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("postil.platform.datasets.datasets.finish_deletion", die)
        with pytest.raises(KeyboardInterrupt):
            delete_dataset(service, account, made.id)
    assert service.storage.exists(f"datasets/{made.id}")

    def is_gone() -> bool:
        with service.database.reading() as session:
            return session.get(Dataset, made.id) is None

    tend_until(service, is_gone)
    assert not service.storage.exists(f"datasets/{made.id}")


# --- Hostile files ----------------------------------------------------------------------------------------------------


def far_cell() -> bytes:
    book = openpyxl.Workbook()
    book.active["A1"], book.active["XFD1048576"] = "question", "far"
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def packed(name: str, pieces: Iterator[bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as member:
        for piece in pieces:
            member.write(piece)
    return data.getvalue()


def many_entries() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for i in range(6000):
            archive.writestr(f"{i}.csv", "")
    return data.getvalue()


def climbing() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("../../../../evil.csv", "question,answer\na?,b\n")
        archive.writestr("good.csv", "question,answer\nWhat?,That.\nWho?,She.\n")
    return data.getvalue()


def entities() -> bytes:
    book = openpyxl.Workbook()
    data, out = io.BytesIO(), io.BytesIO()
    book.save(data)
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))
    bomb = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]><worksheet>&l9;</worksheet>'
    with zipfile.ZipFile(data) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, bomb if name.endswith("sheet1.xml") else old.read(name))
    return out.getvalue()


@ONLY_SQLITE
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("far.xlsx", far_cell),
        ("far.xls", far_cell),
        ("bomb.zip", lambda: packed("faq.csv", (bytes(1 << 20) for _ in range(300)))),
        ("many.zip", many_entries),
        ("laughs.xlsx", entities),
        ("deep.json", lambda: b"[" * 200_000 + b"]" * 200_000),
        ("line.csv", lambda: b"question,answer\n" + b"a" * (3 << 20) + b",b\n"),
        ("nul.csv", lambda: b"question,answer\na\x00b?,c\nd?,e\n"),
        ("noise.bin", lambda: bytes(range(256)) * 500),
    ],
)
def test_bombs_end_in_a_plain_answer(service: Service, name: str, make: Callable[[], bytes]) -> None:
    """T9 through the upload: within the limits, and the service goes on."""
    account = new_account(service)
    view = upload(service, account, make(), name)
    assert view.state in ("unreadable", "needs_attention", "ready")
    if view.state == "unreadable":
        assert view.error is not None and view.error.message and view.error.hint
    else:
        assert view.summary is not None and view.summary["records_in"] < 10
    assert upload(service, account, pairs()).state == "ready"


@ONLY_SQLITE
def test_a_zip_that_climbs_is_read_where_it_may_be(service: Service, tmp_path: Path) -> None:
    account = new_account(service)
    view = upload(service, account, climbing(), "all.zip")
    assert not list(tmp_path.rglob("evil.csv"))
    assert view.summary is not None and view.rows >= 2


@ONLY_SQLITE
def test_time_and_memory_are_bounded(new_service: NewService) -> None:
    service = new_service(check_seconds=1)
    account = new_account(service)
    rows = b"".join(b'{"question":"number %d?","answer":"it is %d"}\n' % (i, i * 7) for i in range(150_000))
    started = time.monotonic()
    view = upload(service, account, rows, "big.jsonl")
    assert view.state == "unreadable" and view.error is not None and view.error.key == "data.reader_too_slow"
    assert time.monotonic() - started < 30
    small = new_service(check_memory_bytes=150 << 20)
    view = upload(small, account, rows, "big.jsonl")
    assert view.state == "unreadable" and view.error is not None and view.error.key == "data.reader_out_of_memory"


@ONLY_SQLITE
def test_escapes_and_marks_stay_text(service: Service) -> None:
    """T21: what a row says comes back as it is, never as a sentence's own words."""
    account = new_account(service)
    data = b'question,answer\n"[bold]{x}\x1b[31m %s?",\n"fine {place}?",yes\n'
    view = upload(service, account, data, "{name}[red].csv")
    report = get_report(service, account, view.id)
    told = [(p.problem.code, p.problem.message, p.problem.hint, str(p.problem.place)) for p in report.problems]
    assert {"missing_answer"} <= {code for code, *_ in told}
    assert all(place.startswith("{name}[red].csv") for *_, place in told)


@ONLY_SQLITE
def test_reports_are_told_in_the_readers_language(service: Service) -> None:
    from postil.language import use_language

    account = new_account(service)
    view = upload(service, account, b"question,answer\nWhat?,\nWho?,She.\n")
    said = {}
    for language in ("en", "zh"):
        use_language(language)
        said[language] = get_report(service, account, view.id, code="missing_answer").problems[0].problem.message
    use_language(None)
    assert said["en"] != said["zh"] and not said["zh"].isascii()
