"""A second account replays every route with the first one's identifiers: nothing is there, nothing changes (T2)."""

import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select
from starlette.testclient import TestClient

from postil.platform.service import Service
from postil.platform.store.tables import Table
from postil.web.auth import is_public
from tests.web.belongings import ALIAS, Belongings, make_belongings
from tests.web.conftest import NewClient
from tests.web.test_auth import routes

PLACE = {"row": 2}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("PATCH", "/api/datasets/{dataset_id}"): {"json": {"name": "mine"}},
    ("POST", "/api/datasets/{dataset_id}/rows"): {"json": {"places": [PLACE]}},
    ("POST", "/api/datasets/{dataset_id}/fixes"): {"json": {"version": 1, "automatic": True}},
    ("POST", "/api/datasets/{dataset_id}/cells"): {
        "json": {"version": 1, "place": PLACE, "column": "answer", "text": "x"}
    },
    ("POST", "/api/datasets/{dataset_id}/left-out"): {"json": {"version": 1, "places": [PLACE]}},
    ("PUT", "/api/datasets/{dataset_id}/options"): {"json": {"version": 1, "single_turn": True}},
    ("POST", "/api/datasets/{dataset_id}/undo"): {"json": {"version": 1}},
    ("PUT", "/api/uploads/{dataset_id}"): {"params": {"offset": 0}, "content": b"a,b\n"},
    ("POST", "/api/uploads/{dataset_id}/finish"): {"json": {}},
    ("PATCH", "/api/adapters/{adapter_id}"): {"json": {"name": "mine"}},
    ("POST", "/api/adapters/{adapter_id}/shares"): {"json": {"account": "berta"}},
    ("PUT", "/api/aliases/{name}"): {"json": {"adapter_id": "{adapter_id}"}},
    ("POST", "/api/preview"): {"json": {"dataset_id": "{dataset_id}"}},
    ("POST", "/api/jobs"): {"json": {"dataset_id": "{dataset_id}"}},
    ("POST", "/v1/chat/completions"): {
        "json": {"model": "{adapter_id}", "messages": [{"role": "user", "content": "hello"}]}
    },
}
HARMLESS = {("POST", "/api/adapters/{adapter_id}/leave"), ("DELETE", "/api/uploads/{dataset_id}")}
"""Take away what is one's own; where nothing is, that is no mistake, and nothing is told."""
OF_EVERYBODY = {("GET", "/api/bases/{name:path}")}


def snapshot(service: Service) -> dict[str, Any]:
    """Every row of every table, and every file of the storage."""
    with service.database.reading() as session:
        rows = {t.name: sorted(map(repr, session.execute(select(t)))) for t in Table.metadata.sorted_tables}
    root = service.settings.data_dir / "storage"
    files = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    return {**rows, "files": files}


def swapped(value: Any, parameters: dict[str, str]) -> Any:
    """A body with the identifiers put in."""
    if isinstance(value, dict):
        return {key: swapped(one, parameters) for key, one in value.items()}
    return value.format(**parameters) if isinstance(value, str) and value.startswith("{") else value


@pytest.fixture
def belongings(anna: TestClient, service: Service, tmp_path: Path) -> Belongings:
    """What Anna owns."""
    return make_belongings(anna, service, tmp_path / "adapter")


def test_nothing_of_anna_is_there_for_berta(
    app: FastAPI, service: Service, belongings: Belongings, berta: TestClient
) -> None:
    parameters = belongings.as_parameters()
    before, tried = snapshot(service), 0
    for method, path, scopes in routes(app):
        names = re.findall(r"\{(\w+)(?::path)?\}", path)
        key = method, path
        if is_public(method, path) or key in OF_EVERYBODY or not (names or key in BODIES):
            continue
        upload = path.startswith("/api/uploads/")
        given = parameters | {"dataset_id": belongings.upload_id} if upload else parameters
        address = path.replace(":path", "").format(**given)
        sent = swapped(BODIES.get(key, {}), given)
        reply = berta.request(method, address, **sent)
        expected = {204} if key in HARMLESS else {403} if scopes == {"admin"} else {404}
        assert reply.status_code in expected, (method, address, reply.status_code, reply.text)
        assert "anna" not in reply.text and "faq" not in reply.text
        tried += 1
    assert tried > 30
    assert snapshot(service) == before


def test_lists_hold_what_is_ones_own(belongings: Belongings, berta: TestClient) -> None:
    for path, name in [
        ("/api/datasets", "datasets"),
        ("/api/jobs", "jobs"),
        ("/api/adapters", "adapters"),
        ("/api/aliases", "aliases"),
        ("/api/keys", "keys"),
        ("/api/ledger", "lines"),
    ]:
        assert berta.get(path).json()[name] == [], path
    assert [m["id"] for m in berta.get("/v1/models").json()["data"]] == ["starter"]
    for path in ("/api/datasets", "/api/jobs", "/api/adapters"):  # nor does a page begin after somebody else's
        after = {"/api/datasets": belongings.dataset_id, "/api/jobs": belongings.job_id}.get(
            path, belongings.adapter_id
        )
        assert berta.get(path, params={"after": after}).status_code == 404
    assert berta.get("/api/ledger", params={"job": belongings.job_id}).json() == {"lines": []}


def test_an_alias_of_another_account_is_another_alias(belongings: Belongings, berta: TestClient) -> None:
    reply = berta.put(f"/api/aliases/{ALIAS}", json={"adapter_id": belongings.adapter_id})
    assert reply.status_code == 404


def test_what_is_shared_is_used_and_not_changed(
    belongings: Belongings, anna: TestClient, berta: TestClient, service: Service
) -> None:
    adapter = f"/api/adapters/{belongings.adapter_id}"
    shared = anna.post(f"{adapter}/shares", json={"account": "berta"})
    assert shared.json()["shared_with"] == ["berta"]
    seen = berta.get(adapter).json()
    assert not seen["is_own"] and seen["job_id"] is None and seen["shared_with"] == []
    assert "dataset_id" not in seen["lineage"] or seen["lineage"]["dataset_id"] is None
    assert seen["model_name"] in [m["id"] for m in berta.get("/v1/models").json()["data"]]
    before = snapshot(service)
    assert berta.patch(adapter, json={"name": "mine"}).status_code == 404
    assert berta.delete(adapter).status_code == 404
    assert berta.post(f"{adapter}/shares", json={"account": "berta"}).status_code == 404
    assert berta.delete(f"{adapter}/shares/berta").status_code == 404
    assert berta.get(f"/api/datasets/{belongings.dataset_id}").status_code == 404
    assert snapshot(service) == before
    assert anna.delete(f"{adapter}/shares/berta").status_code == 200
    assert berta.get(adapter).status_code == 404


def test_users_are_no_admins(app: FastAPI, anna: TestClient) -> None:
    admin = [(method, path) for method, path, scopes in routes(app) if scopes == {"admin"}]
    assert len(admin) > 8
    for method, path in admin:
        reply = anna.request(method, re.sub(r"\{[^}]+\}", "x", path), json={})
        assert reply.status_code == 403, (method, path)


def test_an_admin_sees_no_data(belongings: Belongings, new_client: NewClient) -> None:
    admin = new_client("root.of.it", role="admin")
    assert belongings.job_id in [q["id"] for q in admin.get("/api/admin/queue").json()["jobs"]]
    assert "faq" not in admin.get("/api/admin/queue").text
    assert admin.get(f"/api/datasets/{belongings.dataset_id}").status_code == 404
    assert admin.get(f"/api/jobs/{belongings.job_id}").status_code == 404
    assert admin.post(f"/api/admin/queue/{belongings.job_id}/cancel").status_code == 204
