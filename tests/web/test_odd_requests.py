"""Malformed, oversized, repeated, foreign and out-of-order requests: the right status, one shape, nothing done."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import postil.errors
from postil.errors import PostilError, Stopped
from postil.platform.service import Service
from postil.web import errors
from tests.web.belongings import CSV, make_belongings, upload
from tests.web.conftest import NewClient, error_of

JSON = {"content-type": "application/json"}
KEYS = "/api/keys"


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'"name"', 422),
        (b'{"name": 5}', 422),
        (b'{"name": "k", "scopes": "read"}', 422),
        (b'{"name": "k", "scopes": ["root"]}', 422),
        (b'{"name": "k", "scopes": []}', 422),
        (b'{"name": "k", "more": 1}', 422),
        (b'{"name": "", "scopes": ["read"]}', 422),
        (b'{"name": "' + b"k" * 101 + b'"}', 422),
        (b'{"name": "k", "expires_at": "2001-01-01T00:00:00Z"}', 422),
        (b'{"name": "k", "expires_at": "soon"}', 422),
        (b'{"name": "k", "expires_at": NaN}', 422),
        (b'{"name": "\xff\xfe"}', 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * 50_000, 400),
        (b"x" * (1 << 20), 400),
        (b"x" * ((1 << 20) + 1), 413),
    ],
    ids=lambda value: str(value[:24]) if isinstance(value, bytes) else str(value),
)
def test_a_body_that_is_wrong_is_told_so(anna: TestClient, content: bytes, status: int) -> None:
    reply = anna.post(KEYS, content=content, headers=JSON)
    assert reply.status_code == status
    assert error_of(reply)["hint"]
    assert anna.get(KEYS).json() == {"keys": []}


def test_every_mistake_is_named_at_once_and_no_value_is_repeated(anonymous: TestClient) -> None:
    body = {"name": "", "password": 5, "language": "fr", "secret": "pk_hunter2"}
    error = error_of(anonymous.post("/api/accounts", json=body))
    fields = {p["field"] for p in error["problems"]}  # type: ignore[attr-defined]
    assert fields == {"body.name", "body.password", "body.language", "body.secret"}
    assert "hunter2" not in json.dumps(error)


@pytest.mark.parametrize("language", ["zh-CN,zh;q=0.9,en;q=0.1", "fr, zh", "en;q=0.2, zh;q=0.8"])
def test_errors_speak_the_readers_language(anonymous: TestClient, language: str) -> None:
    error = error_of(anonymous.get("/api/account", headers={"accept-language": language}))
    assert error["message"] == "没有登录。"
    assert error_of(anonymous.get("/api/account", headers={"accept-language": "de"}))["message"].startswith("Nobody")


def test_what_can_be_chosen_is_listed_without_words_of_one_language(anna: TestClient) -> None:
    problem = error_of(anna.get("/api/jobs?state=dead", headers={"accept-language": "zh"}))["problems"][0]
    assert problem["code"] == "literal_error"
    assert "'queued', '" in problem["message"] and " or " not in problem["message"]


def test_an_account_has_a_language_of_its_own(anna: TestClient) -> None:
    assert anna.patch("/api/account", json={"language": "zh"}).json()["language"] == "zh"
    error = error_of(anna.get("/api/datasets/ds_nothing", headers={"accept-language": "en"}))
    assert any("\u4e00" <= letter <= "\u9fff" for letter in str(error["message"]))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/none", 404),
        ("GET", "/api/keys/", 404),
        ("PUT", "/api/keys", 405),
        ("DELETE", "/healthz", 405),
        ("POST", "/api/openapi.json", 405),
        ("TRACE", "/api/keys", 405),
        ("BREW", "/api/keys", 405),
        ("GET", "/api/jobs?limit=0", 422),
        ("GET", "/api/jobs?limit=201", 422),
        ("GET", "/api/jobs?limit=x", 422),
        ("GET", "/api/jobs?state=dead", 422),
        ("GET", "/api/balance?month=2026-13", 422),
        ("GET", "/api/jobs/job_0000000000000000/events?after=-1", 422),
        ("POST", "/api/datasets", 422),
    ],
)
def test_addresses_and_methods_that_are_not_there(anna: TestClient, method: str, path: str, status: int) -> None:
    reply = anna.request(method, path)
    assert reply.status_code == status
    assert error_of(reply)["message"]


@pytest.mark.parametrize("path", ["//api/keys", "/api/../etc/passwd", "/docs", "/openapi.json"])
def test_addresses_that_are_nobodys_are_told_to_people(anna: TestClient, path: str) -> None:
    reply = anna.get(path)
    assert reply.status_code == 404 and reply.headers["content-type"].startswith("text/html")
    assert "<h1>" in reply.text and "Traceback" not in reply.text and "root:" not in reply.text


def test_answers_of_v1_have_the_other_shape(anna: TestClient) -> None:
    for reply, status in [
        (anna.get("/v1/models/none"), 404),
        (anna.post("/v1/chat/completions", json={"model": "none"}), 422),
        (anna.post("/v1/chat/completions", content="{", headers=JSON), 400),
        (anna.post("/v1/chat/completions", json={"model": "none", "messages": [{"role": "user"}]}), 404),
        (anna.post("/v1/chat/completions", json={"model": "starter", "messages": [{"role": "user"}]}), 503),
        (anna.post("/v1/chat/completions", content=b"x" * ((8 << 20) + 1), headers=JSON), 413),
    ]:
        assert reply.status_code == status, reply.text
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
    assert anna.get("/v1/models/none").json()["error"]["code"] == "model_not_found"


def test_what_is_done_twice(anna: TestClient, service: Service, tmp_path: Path) -> None:
    own = make_belongings(anna, service, tmp_path / "adapter")
    job = f"/api/jobs/{own.job_id}"
    assert anna.post(f"{job}/pause").json()["state"] == "paused"
    assert anna.post(f"{job}/pause").json()["state"] == "paused"
    assert anna.post(f"{job}/resume").json()["state"] == "queued"
    assert error_of(anna.delete(job))["code"] == "platform.jobs.not_ended"
    assert anna.delete(f"/api/datasets/{own.dataset_id}").status_code == 409  # the job needs it
    assert anna.post(f"{job}/cancel").json()["state"] == "cancelled"
    assert anna.post(f"{job}/cancel").json()["state"] == "cancelled"
    assert anna.post(f"{job}/resume").status_code == 409
    assert anna.delete(job).status_code == 200
    assert anna.delete(job).status_code == 404
    adapter = f"/api/adapters/{own.adapter_id}"
    assert anna.delete(adapter).status_code == 409  # an alias points at it
    assert anna.delete(adapter, params={"force": True}).json()["freed_bytes"] > 0
    assert anna.delete(adapter).status_code == 404
    assert anna.delete(f"/api/keys/{own.key_id}").json() == anna.delete(f"/api/keys/{own.key_id}").json()
    assert anna.delete(f"/api/datasets/{own.dataset_id}").status_code == 200
    assert anna.delete(f"/api/datasets/{own.dataset_id}").status_code == 404
    assert anna.get("/api/ledger/check").status_code == 200


def test_a_lost_answer_makes_no_second_job(anna: TestClient, service: Service) -> None:
    dataset_id = upload(anna, service)
    body = {"dataset_id": dataset_id, "client_token": "the same"}
    first, second = (anna.post("/api/jobs", json=body).json()["id"] for _ in range(2))
    assert first == second
    assert anna.post("/api/jobs", json=body | {"seed": 1}).status_code == 409
    assert len(anna.get("/api/jobs").json()["jobs"]) == 1


def test_before_its_time(anna: TestClient, service: Service) -> None:
    uploaded = anna.post("/api/datasets", params={"file_name": "a.csv"}, content=b"question,answer\na,b\n", headers=CSV)
    dataset = f"/api/datasets/{uploaded.json()['id']}"
    assert uploaded.json()["state"] == "validating"
    early = [
        anna.get(f"{dataset}/report"),
        anna.get(f"{dataset}/file"),
        anna.post("/api/jobs", json={"dataset_id": uploaded.json()["id"]}),
        anna.post(f"{dataset}/fixes", json={"version": 1, "automatic": True}),
    ]
    for reply in early:
        assert reply.status_code == 503, reply.text
        assert error_of(reply)["code"] == "platform.datasets.being_checked"
        assert int(reply.headers["retry-after"]) >= 1
    half = anna.post("/api/uploads", json={"file_name": "b.csv"}).json()["id"]
    for verb, body in [("fixes", {"automatic": True}), ("undo", {})]:
        assert anna.post(f"/api/datasets/{half}/{verb}", json={"version": 1, **body}).status_code == 409
    assert anna.post("/api/jobs", json={"dataset_id": half}).status_code in (404, 409)


def test_an_upload_in_pieces_goes_on_where_it_broke(anna: TestClient, service: Service) -> None:
    where = f"/api/uploads/{anna.post('/api/uploads', json={'file_name': 'a.csv'}).json()['id']}"
    content = b"question,answer\n" + b"".join(b"q%d,a%d\n" % (n, n) for n in range(200))
    first = anna.put(where, params={"offset": 0}, content=content[:500])
    assert first.json()["received_bytes"] == 500
    assert anna.put(where, params={"offset": 0}, content=content).status_code == 409
    assert anna.put(where, params={"offset": 900}, content=content[900:]).status_code == 409
    assert anna.get(where).json()["received_bytes"] == 500
    assert anna.post(f"{where}/finish", json={"num_bytes": len(content)}).status_code == 409
    anna.put(where, params={"offset": 500}, content=content[500:])
    done = anna.post(f"{where}/finish", json={"num_bytes": len(content)}).json()
    assert (done["state"], done["num_bytes"]) == ("validating", len(content))
    assert anna.post(f"{where}/finish", json={}).status_code == 409
    assert anna.get(where).status_code == 409


def test_an_upload_has_limits(new_client: NewClient, anna: TestClient, app: FastAPI, service: Service) -> None:
    def post(content: Any, **headers: str) -> Any:
        return anna.post("/api/datasets", params={"file_name": "a.csv"}, content=content, headers=CSV | headers)

    assert error_of(post(b""))["code"] == "platform.uploads.empty"
    claimed = post(b"q,a\n", **{"content-length": str(service.settings.max_upload_bytes + 1)})
    assert claimed.status_code == 413
    assert anna.get("/api/datasets").json()["datasets"] == []
    root = service.settings.data_dir / "storage"
    assert not [path for path in root.rglob("*") if path.is_file()]


def test_a_stream_that_is_longer_than_it_may_be_is_cut_off(app: FastAPI, anna: TestClient, service: Service) -> None:
    small = service.settings.model_copy(update={"max_upload_bytes": 100_000})
    object.__setattr__(service, "settings", small)

    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            yield b"question,answer\n" * 100

    reply = anna.post("/api/datasets", params={"file_name": "a.csv"}, content=pieces(), headers=CSV)
    assert reply.status_code == 413
    assert "platform.storage.too_large" in reply.text
    assert anna.get("/api/datasets").json()["datasets"] == []


def test_a_mistake_of_ours_shows_no_trace(app: FastAPI, anna: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise RuntimeError("secret detail of the inside")

    monkeypatch.setattr("postil.web.rest.keys.list_keys", fail)
    reply = anna.get(KEYS)
    assert reply.status_code == 500
    assert error_of(reply)["code"] == "web.bug"
    assert "inside" not in reply.text
    assert reply.headers["content-security-policy"]


def test_a_full_disk_is_told_so(anna: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("postil.web.rest.keys.list_keys", fail)
    reply = anna.get(KEYS)
    assert (reply.status_code, error_of(reply)["code"]) == (507, "web.disk_full")


def test_every_kind_of_error_has_a_status() -> None:
    of_the_shell = {Stopped}
    kinds = {kind for kind in vars(postil.errors).values() if isinstance(kind, type) and issubclass(kind, PostilError)}
    statuses = {kind: errors.describe_error(kind("web.gone")).status for kind in kinds - of_the_shell}
    assert len(statuses) == 11
    assert [kind for kind, status in statuses.items() if status == 500] == [PostilError]
    assert set(statuses.values()) == {429, 503, 422, 403, 404, 409, 402, 507, 500}
    assert errors.describe_error(ValueError()).status == 500


def test_a_job_that_has_not_changed_is_not_sent_again(anna: TestClient, service: Service) -> None:
    job = anna.post("/api/jobs", json={"dataset_id": upload(anna, service)}).json()["id"]
    first = anna.get(f"/api/jobs/{job}")
    mark = first.headers["etag"]
    again = anna.get(f"/api/jobs/{job}", headers={"if-none-match": f'W/"other", {mark}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", mark)
    anna.post(f"/api/jobs/{job}/pause")
    changed = anna.get(f"/api/jobs/{job}", headers={"if-none-match": mark})
    assert (changed.status_code, changed.json()["state"]) == (200, "paused")
    assert changed.headers["etag"] != mark


def test_a_crowd_is_turned_away_at_once(app: FastAPI, anna: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postil.web.lanes.MOST_WAITING", 0)
    reply = anna.get("/api/account")
    assert (reply.status_code, error_of(reply)["code"]) == (503, "web.crowded")
    assert int(reply.headers["retry-after"]) == 2
    assert anna.get("/healthz").status_code == 200
