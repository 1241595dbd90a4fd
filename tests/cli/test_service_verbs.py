"""admin, keys, backup, migrate, and what doctor says of the service; no secret in what they print (T20)."""

import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from postil.platform.accounts.api_keys import find_key
from postil.platform.accounts.one_time_links import use_link
from postil.platform.accounts.sign_ins import sign_in
from postil.platform.service import Service, open_service
from postil.platform.settings import load_settings
from postil.platform.store.hub_tokens import find_hub_token
from postil.platform.store.migrating import HEAD
from postil.platform.store.sqlite import driver as sqlite
from tests.cli.conftest import Shell, last_json
from tests.platform.conftest import cheap_passwords  # noqa: F401  # a fixture
from tests.web.running import run_service

CANARY = "canary in the coal mine 7"
HUB_CANARY = "hf_canaryCANARYcanary99"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Where the service's data folder will be."""
    return tmp_path / "data"


def service_of(data: Path) -> Service:
    """The service, opened as its own processes do."""
    return open_service(load_settings(data))


def say_password(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """What stands on standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode()), isatty=lambda: False))


@pytest.fixture
def ann(shell: Shell, data: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An admin."""
    say_password(monkeypatch, f"{CANARY}\r\nanother line")
    code, out, err = shell("admin", "create", "ann@example.com", "--password-stdin", "--data", data)
    assert (code, out.strip(), err) == (0, "ann@example.com is an admin now.", "")
    return "ann@example.com"


def test_an_admin_is_made_before_the_first_start(shell: Shell, ann: str, data: Path) -> None:
    assert sign_in(service_of(data), ann, CANARY).account.is_admin
    assert oct((data / "secret.key").stat().st_mode)[-3:] == "600"


def test_what_is_wrong_with_an_admin_is_said(
    shell: Shell, ann: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, password, code, words in [
        ("ann@example.com", CANARY, 73, "is taken"),
        ("bob", "short", 64, "too short"),
        ("bob", "", 64, "too short"),
        ("bob smith!", CANARY, 64, "user name"),
    ]:
        say_password(monkeypatch, password + "\n")
        result = shell("admin", "create", name, "--password-stdin", "--data", data)
        assert result[0] == code and words in result[2]
    code, _, err = shell("admin", "create", "bob", "--data", data)
    assert code == 64 and "--password-stdin" in err
    code, _, err = shell("admin", "reset", "bob", "--data", data)
    assert code == 66 and "no account named bob" in err


def test_a_password_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    """On a real terminal."""
    keyboard, screen = pty.openpty()
    command = [sys.executable, "-m", "postil", "admin", "create", "ann", "--data", str(tmp_path / "data")]
    child = subprocess.Popen(
        command,
        stdin=screen,
        stdout=screen,
        stderr=screen,
        start_new_session=True,
        env=os.environ | {"POSTIL_LANG": "en"},
    )
    os.close(screen)
    shown = b""
    for wanted in (b"characters): ", b"again: "):
        while wanted not in shown:
            shown += os.read(keyboard, 1000)
        time.sleep(0.1)  # getpass turns the echo off after it has asked
        os.write(keyboard, CANARY.encode() + b"\n")
    while True:
        try:
            shown += os.read(keyboard, 1000)
        except OSError:  # the terminal is closed
            break
    assert child.wait(30) == 0
    os.close(keyboard)
    assert b"ann is an admin now." in shown and CANARY.encode() not in shown


def test_a_reset_link_sets_a_password(shell: Shell, ann: str, data: Path) -> None:
    code, out, _ = shell("admin", "reset", "ANN@example.com", "--data", data)
    link = out.splitlines()[-1]
    assert code == 0 and link.startswith("http://127.0.0.1:8321/links/")
    assert "does not run now" in out.replace("\n", " ")
    service = service_of(data)
    use_link(service, link.rpartition("/")[2], "another canary 42")
    assert sign_in(service, ann, "another canary 42").account.name == ann
    code, out, _ = shell("admin", "reset", ann, "--data", data, "--json")
    assert last_json(out)["link"].endswith(last_json(out)["token"])


def test_a_reset_link_names_the_port_of_the_service_that_runs(shell: Shell, ann: str, data: Path) -> None:
    def link() -> str:
        code, out, _ = shell("admin", "reset", ann, "--data", data)
        assert code == 0 and ("does not run now" in out.replace("\n", " ")) is ("8321" in out)
        return out.splitlines()[-1]

    with run_service(data, answers=False) as running:
        assert running.address != "http://127.0.0.1:8321"
        assert link().startswith(f"{running.address}/links/")
        running.process.kill()  # it has no time to say that it is gone
        running.process.wait(60)
    assert (data / "web.json").exists()
    assert link().startswith("http://127.0.0.1:8321/links/")


def test_a_hub_token_is_kept_and_forgotten_and_never_shown(
    shell: Shell, ann: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    say_password(monkeypatch, f"{HUB_CANARY}\r\n")
    said = [shell("admin", "hub-token", "hf", "--token-stdin", "--data", data)]
    assert find_hub_token(service_of(data), "hf") == HUB_CANARY
    said += [shell("admin", "hub-token", "hf", "--data", data)]
    assert [code for code, _, _ in said] == [0, 0] and said[0] == said[1] and "is kept since" in said[0][1]
    code, out, _ = shell("admin", "hub-token", "hf", "--json", "--data", data)
    assert code == 0 and last_json(out)["kept_since"]
    assert HUB_CANARY not in out + said[0][1]
    code, out, _ = shell("admin", "hub-token", "hf", "--forget", "--data", data)
    assert code == 0 and "No token of hf is kept" in out
    assert find_hub_token(service_of(data), "hf") is None


def test_a_hub_token_that_cannot_be_is_refused(
    shell: Shell, ann: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for text, arguments, words in [
        ("", ("hf", "--token-stdin"), "not a token"),
        ("two words", ("hf", "--token-stdin"), "not a token"),
        (HUB_CANARY, ("nowhere", "--token-stdin"), "hf, modelscope"),
        (HUB_CANARY, ("hf", "--token-stdin", "--forget"), "do not go together"),
        ("", ("nowhere",), "hf, modelscope"),
    ]:
        say_password(monkeypatch, text)
        code, out, err = shell("admin", "hub-token", *arguments, "--data", data)
        assert code == 64 and words in err and HUB_CANARY not in out + err
    assert find_hub_token(service_of(data), "hf") is None
    code, out, _ = shell("admin", "--help")
    assert code == 0 and "hub-token" in out


def test_a_key_is_printed_alone_listed_and_revoked(shell: Shell, ann: str, data: Path) -> None:
    code, out, err = shell("keys", "create", "--account", ann, "--scopes", "chat, read", "--data", data)
    text = out.strip()
    assert code == 0 and out == f"{text}\n" and err == ""
    holder = find_key(service_of(data), text)
    assert holder is not None and holder.account.name == ann and holder.scopes == {"read", "chat"}

    code, out, _ = shell("keys", "list", "--account", ann, "--data", data)
    assert code == 0 and text[:19] in out and "valid" in out and text not in out
    code, out, _ = shell("keys", "revoke", text, "--account", ann, "--data", data)
    assert code == 0 and text not in out
    assert find_key(service_of(data), text) is None
    listed = last_json(shell("keys", "list", "--account", ann, "--data", data, "--json")[1])["keys"]
    assert [(key["key_id"], key["state"]) for key in listed] == [(holder.key_id, "revoked")]


def test_keys_that_cannot_be_are_refused(shell: Shell, ann: str, data: Path) -> None:
    for arguments, code, words in [
        (("create", "--account", ann, "--scopes", "everything"), 64, "everything"),
        (("create", "--account", ann, "--scopes", ""), 64, "read, train, chat"),
        (("create", "--account", ann, "--days", "0"), 64, "1 to 3650"),
        (("create", "--account", "bob"), 66, "bob"),
        (("create",), 64, "--account"),
        (("revoke", "key_nothing", "--account", ann), 66, "key_nothing"),
    ]:
        result = shell("keys", *arguments, "--data", data)
        assert result[0] == code and words in result[2]
    code, out, _ = shell("keys", "create", "--account", ann, "--days", "30", "--data", data, "--json")
    assert code == 0 and last_json(out)["expires_at"]
    code, out, _ = shell("keys", "list", "--account", ann, "--data", data)
    assert code == 0 and "shell" in out


def test_a_backup_is_a_whole_database(shell: Shell, ann: str, data: Path, tmp_path: Path) -> None:
    code, out, _ = shell("backup", "--to", tmp_path / "copies", "--data", data, "--json")
    copy = Path(last_json(out)["path"])
    assert code == 0 and copy.parent == tmp_path / "copies" and copy.stat().st_size == last_json(out)["bytes"]
    with sqlite.connect(copy) as connection:
        assert connection.execute("SELECT name FROM accounts").fetchall() == [(ann,)]
    (tmp_path / "file").touch()
    code, _, err = shell("backup", "--to", tmp_path / "file", "--data", data)
    assert code == 73 and "--to" in err


def test_migrate_says_what_it_did(shell: Shell, data: Path) -> None:
    code, out, _ = shell("migrate", "--data", data)
    assert code == 0 and "new database" in out and HEAD in out
    code, out, _ = shell("migrate", "--data", data)
    assert code == 0 and "Nothing to do" in out
    with sqlite.connect(data / "postil.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    code, _, err = shell("migrate", "--data", data)
    assert code == 73 and "newer Postil" in err


def test_doctor_looks_at_the_service(shell: Shell, ann: str, data: Path) -> None:
    def parts() -> dict[str, str]:
        found = last_json(shell("doctor", "--data", data, "--json")[1])["findings"]
        return {finding["name"]: finding["state"] for finding in found}

    service_parts = {"database", "storage", "secrets", "confinement", "admin", "supervisor", "backups"}
    found = parts()
    assert service_parts <= found.keys()
    assert [found[name] for name in ("database", "secrets", "admin", "backups")] == ["ok", "ok", "ok", "note"]
    shell("backup", "--data", data)
    (data / "secret.key").chmod(0o644)
    found = parts()
    assert (found["backups"], found["secrets"]) == ("ok", "wrong")
    code, out, _ = shell("doctor", "--data", data)
    assert code == 69 and "chmod go-rwx" in out
    (data / "secret.key").chmod(0o600)
    content = (data / "postil.db").read_bytes()
    (data / "postil.db").write_bytes(b"nothing of a database" * 500)
    assert parts()["database"] == "wrong"
    (data / "postil.db").write_bytes(content)


def test_doctor_on_a_machine_without_a_service_says_nothing_of_one(shell: Shell, data: Path) -> None:
    found = last_json(shell("doctor", "--data", data, "--json")[1])["findings"]
    assert "database" not in {finding["name"] for finding in found}
    assert not data.exists()


def test_no_secret_is_printed_or_kept_readable(
    shell: Shell, ann: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The canaries are a password, a key, a link, and the password of a database's address."""
    _, key, _ = shell("keys", "create", "--account", ann, "--data", data)
    _, link, _ = shell("admin", "reset", ann, "--data", data)
    canaries = [CANARY, key.strip().rpartition("_")[2], link.splitlines()[-1].rpartition("/")[2], "swordfish"]
    said = []
    for arguments in [
        ("keys", "list", "--account", ann),
        ("backup",),
        ("migrate",),
        ("doctor",),
        ("doctor", "--json"),
    ]:
        said += shell(*arguments, "--data", data)[1:]
    monkeypatch.setenv("POSTIL_DATABASE_URL", "postgresql+psycopg://postil:swordfish@127.0.0.1:1/postil")
    monkeypatch.setenv("POSTIL_DEBUG", "1")
    for arguments in [("doctor",), ("doctor", "--json"), ("migrate",), ("keys", "list", "--account", ann)]:
        said += shell(*arguments, "--data", data)[1:]
    everything = "\n".join(said)
    assert "127.0.0.1" in everything
    assert [canary for canary in canaries if canary in everything] == []
    kept = b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())
    assert [canary for canary in canaries if canary.encode() in kept] == []


def test_the_password_stands_on_no_command_line(shell: Shell) -> None:
    code, out, _ = shell("admin", "create", "--help")
    assert code == 0 and "--password-stdin" in out
    code, _, err = shell("admin", "create", "ann", "--password", CANARY)
    assert code == 64 and CANARY not in err
