"""Tokens of hubs: kept so that the database does not show them, and seen by the downloading process only."""

import json
from pathlib import Path

import pytest

from postil.errors import UnavailableError, UsageError
from postil.platform.bases import downloads as base_downloads
from postil.platform.service import Service
from postil.platform.store.hub_tokens import find_hub_token, list_hub_tokens, set_hub_token
from postil.platform.store.secrets import make_secret_key
from postil.platform.store.tables import Machine

CANARY = "hf_canaryCANARYcanary77"


def test_a_token_comes_back_and_is_not_readable(service: Service) -> None:
    assert find_hub_token(service, "hf") is None
    assert [(token.hub, token.kept_since) for token in list_hub_tokens(service)] == [("hf", None), ("modelscope", None)]
    before = service.now()
    set_hub_token(service, "hf", CANARY)
    assert find_hub_token(service, "hf") == CANARY
    kept_since = list_hub_tokens(service)[0].kept_since
    assert kept_since is not None and before <= kept_since <= service.now()
    assert find_hub_token(service, "modelscope") is None
    with service.database.reading() as session:
        assert CANARY not in json.dumps(session.get_one(Machine, "hub_token.hf").value)
    data_dir = service.settings.data_dir
    assert [p for p in data_dir.rglob("*") if p.is_file() and CANARY.encode() in p.read_bytes()] == []
    set_hub_token(service, "hf", None)
    assert list_hub_tokens(service)[0].kept_since is None and find_hub_token(service, "hf") is None


def test_what_is_no_token_is_refused(service: Service) -> None:
    for token in ("", "two words", "x\ny", "令牌", "x" * 501):
        with pytest.raises(UsageError, match="not a token"):
            set_hub_token(service, "hf", token)
    with pytest.raises(UsageError, match="no hub nowhere"):
        set_hub_token(service, "nowhere", "x")


def test_without_its_key_a_token_is_said_to_be_unreadable(service: Service) -> None:
    set_hub_token(service, "hf", CANARY)
    key = service.settings.data_dir / "secret.key"
    key.unlink()
    with pytest.raises(UnavailableError, match="missing"):
        find_hub_token(service, "hf")
    make_secret_key(service.settings.data_dir)
    with pytest.raises(UnavailableError, match="not the key"):
        find_hub_token(service, "hf")


def test_the_downloading_process_gets_it_by_its_pipe_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that tells what it was given, and what can be seen of it from outside."""
    child = (
        "import json, os, sys\n"
        "request = json.loads(sys.stdin.readline())\n"
        "seen = open('/proc/self/cmdline', 'rb').read() + open('/proc/self/environ', 'rb').read()\n"
        "print(json.dumps({'token': request['token'], 'is_seen': request['token'].encode() in seen}), flush=True)\n"
    )
    (tmp_path / "told.py").write_text(child, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(base_downloads, "CHILD_MODULE", "told")
    wanted = base_downloads._Wanted("base_x", "org/model", None, "hf", CANARY)
    assert CANARY not in repr(wanted)
    assert list(base_downloads._run_child(wanted)) == [{"token": CANARY, "is_seen": False}]
