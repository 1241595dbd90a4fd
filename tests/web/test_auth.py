"""Nobody gets in who is not known; forged requests, foreign hosts and dead sessions are refused (T1, T3, T4, T7)."""

import re

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.testclient import TestClient

from postil.platform.accounts.accounts import set_disabled, set_role
from postil.web.auth import PUBLIC, PUBLIC_PAGES, is_public
from postil.web.pages.refusals import is_page
from tests.web.conftest import ADDRESS, PASSWORD, NewClient, error_of


def routes(app: FastAPI) -> list[tuple[str, str, set[str]]]:
    """Every route of the app as method, path, and the scopes that it names."""
    found = []
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        assert isinstance(route, APIRoute), f"{context.path} is no route of ours, so nothing is known of its rights"
        scopes = {
            d.call.__name__.removeprefix("needs_")
            for d in context.dependant.dependencies
            if d.call is not None and d.call.__name__.startswith("needs_")
        }
        found += [(method, context.path, scopes) for method in context.methods or ()]
    return found


def test_every_route_names_a_scope_or_is_on_the_short_list(app: FastAPI) -> None:
    known = routes(app)
    assert len(known) > 20
    without = {(method, path) for method, path, scopes in known if not scopes}
    listed = {(method, path) for method, path, _ in known if is_public(method, path)}
    assert without == listed and listed >= PUBLIC | PUBLIC_PAGES
    assert len(PUBLIC) <= 6 and len(listed) <= 6 + 9


ASKS = {("POST", "/api/preview"), ("POST", "/api/datasets/{dataset_id}/rows")}
"""Questions that are too long for an address; they change nothing."""


def test_changes_need_more_than_reading(app: FastAPI) -> None:
    wrong = [
        (method, path, scopes)
        for method, path, scopes in routes(app)
        if method not in ("GET", "HEAD")
        and scopes <= {"read"}
        and not is_public(method, path)
        and (method, path) not in ASKS
    ]
    assert not wrong


def test_nobody_gets_anything(app: FastAPI, anonymous: TestClient) -> None:
    for method, path, _ in routes(app):
        if is_public(method, path):
            continue
        reply = anonymous.request(method, re.sub(r"\{[^}]+\}", "x", path), follow_redirects=False)
        if path == "/sign-out":  # who is signed out already has what they want
            assert reply.status_code == 303 and reply.headers["location"] == "/sign-in"
        elif is_page({"path": path}) and method == "GET":
            assert reply.status_code == 303 and reply.headers["location"].startswith("/sign-in")
        elif is_page({"path": path}):
            assert reply.status_code == 401 and 'name="password"' in reply.text
        else:
            assert reply.status_code == 401, (method, path, reply.status_code)
            assert reply.headers["www-authenticate"] == "Bearer"
            if not path.startswith("/v1"):
                assert error_of(reply)["code"] == "web.not_signed_in"
    assert anonymous.get("/api/nothing/of/the/kind").status_code == 401


@pytest.mark.parametrize("key", ["pk_x", "pk_" + "a" * 16 + "_" + "b" * 43, "Bearer", "ключ".encode()])
def test_a_wrong_key_is_no_key(anonymous: TestClient, key: str | bytes) -> None:
    reply = anonymous.get(
        "/api/account", headers={b"authorization": b"Bearer " + (key if isinstance(key, bytes) else key.encode())}
    )
    assert reply.status_code == 401
    assert error_of(reply)["code"] == "web.unknown_key"


def test_a_key_does_what_its_scopes_say(anna: TestClient, new_client: NewClient) -> None:
    def key_for(*scopes: str) -> TestClient:
        secret = anna.post("/api/keys", json={"name": "k", "scopes": list(scopes)}).json()["secret"]
        return new_client(headers={"authorization": f"Bearer {secret}"})

    reader, trainer, chatter = key_for("read"), key_for("train"), key_for("chat")
    assert reader.get("/api/account").json()["name"] == "anna"
    assert trainer.get("/api/account").status_code == 403
    assert reader.post("/api/uploads", json={"file_name": "a.csv"}).status_code == 403
    assert trainer.post("/api/uploads", json={"file_name": "a.csv"}).status_code == 201
    assert chatter.get("/v1/models").json()["data"][0]["id"] == "starter"
    assert reader.get("/v1/models").status_code == 403
    for client in (reader, trainer, chatter):  # a stolen key makes no keys and changes no password
        reply = client.post("/api/keys", json={"name": "more"})
        assert reply.status_code == 403
        assert error_of(reply)["code"] == "web.not_with_key"


def test_a_revoked_key_ends_at_once(anna: TestClient, new_client: NewClient) -> None:
    made = anna.post("/api/keys", json={"name": "k"}).json()
    program = new_client(headers={"authorization": f"Bearer {made['secret']}"})
    assert program.get("/api/account").status_code == 200
    assert anna.delete(f"/api/keys/{made['id']}").json()["revoked_at"] is not None
    assert program.get("/api/account").status_code == 401


FORGED = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:9999"},
]


@pytest.mark.parametrize("headers", FORGED, ids=lambda h: "-".join(h.values()))
def test_a_request_of_another_site_changes_nothing(anna: TestClient, headers: dict[str, str]) -> None:
    reply = anna.post("/api/keys", json={"name": "forged"}, headers=headers)
    assert reply.status_code == 403
    assert error_of(reply)["code"] == "web.forged"
    assert anna.get("/api/keys").json() == {"keys": []}
    assert anna.post("/api/sign-in", json={"name": "anna", "password": PASSWORD}, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers", [{"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {"origin": ADDRESS}, {}]
)
def test_our_own_pages_and_programs_may(anna: TestClient, headers: dict[str, str]) -> None:
    assert anna.post("/api/keys", json={"name": "k"}, headers=headers).status_code == 201


def test_a_form_of_another_site_is_no_json(anna: TestClient) -> None:
    reply = anna.post("/api/keys", content='{"name": "k"}', headers={"content-type": "text/plain"})
    assert reply.status_code == 422
    assert anna.get("/api/keys").json() == {"keys": []}


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:8321", "127.0.0.1@evil", "", "[::1", "a b"]
)
def test_a_foreign_host_is_refused(anna: TestClient, host: str) -> None:
    reply = anna.get("/api/account", headers={"host": host})
    assert reply.status_code == 400
    assert error_of(reply)["code"] == "web.foreign_host"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8321", "LOCALHOST", "[::1]:80"])
def test_loopback_has_several_names(anna: TestClient, host: str) -> None:
    assert anna.get("/api/account", headers={"host": host}).status_code == 200


def test_a_session_ends_with_sign_out_password_role_and_disabling(app: FastAPI, new_client: NewClient) -> None:
    service = app.state.service

    def session(name: str) -> tuple[TestClient, str]:
        client = new_client(name)
        return client, client.get("/api/account").json()["id"]

    client, _ = session("a.out")
    cookies = dict(client.cookies)
    assert client.post("/api/sign-out").status_code == 204
    assert new_client(cookies=cookies).get("/api/account").status_code == 401

    client, _ = session("a.everywhere")
    cookies = dict(client.cookies)
    assert client.post("/api/sign-out-everywhere").status_code == 204
    assert new_client(cookies=cookies).get("/api/account").status_code == 401

    client, _ = session("a.password")
    cookies = dict(client.cookies)
    change = {"old_password": PASSWORD, "new_password": "another horse battery"}
    assert client.put("/api/account/password", json=change).status_code == 200
    assert new_client(cookies=cookies).get("/api/account").status_code == 401
    assert client.get("/api/account").status_code == 200  # this browser goes on with its new session

    client, account_id = session("a.role")
    set_role(service, account_id, "admin")
    assert client.get("/api/account").status_code == 401

    client, account_id = session("a.disabled")
    key = client.post("/api/keys", json={"name": "k"}).json()["secret"]
    set_disabled(service, account_id, True)
    assert client.get("/api/account").status_code == 401
    assert new_client(headers={"authorization": f"Bearer {key}"}).get("/api/account").status_code == 401


def test_the_cookie_is_out_of_reach(new_client: NewClient, app: FastAPI) -> None:
    body = {"name": "anna", "password": PASSWORD}
    plain = new_client().post("/api/accounts", json=body).headers["set-cookie"]
    assert "HttpOnly" in plain and "SameSite=lax" in plain and "Secure" not in plain
    over_https = TestClient(app, base_url="https://localhost")
    secure = over_https.post("/api/sign-in", json=body).headers["set-cookie"]
    assert secure.startswith("__Host-postil_session=")
    assert "HttpOnly" in secure and "Secure" in secure and "Path=/" in secure and "Domain" not in secure


def test_answers_carry_safe_headers(anna: TestClient) -> None:
    for path in ("/api/account", "/healthz", "/api/nothing"):
        headers = anna.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["x-request-id"].startswith("req_")
        assert "server" not in headers


def test_a_wrong_password_deletes_nothing_and_says_so(anna: TestClient) -> None:
    reply = anna.post("/api/account/delete", json={"password": f"{PASSWORD}?"})
    assert reply.status_code == 403
    told = error_of(reply)
    assert told["code"] == "platform.sign_ins.wrong_proof" and "old password" not in str(told["message"])
    assert anna.get("/api/account").json()["name"] == "anna"
    changed = anna.put("/api/account/password", json={"old_password": f"{PASSWORD}?", "new_password": PASSWORD * 2})
    assert error_of(changed)["code"] == "platform.sign_ins.wrong_old"
