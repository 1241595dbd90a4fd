"""Tokens of hubs over HTTP: an admin with a session enters and forgets them, and nobody reads one back."""

import pytest
from starlette.testclient import TestClient

import postil
from postil.errors import NotAllowedError
from postil.platform.service import Service
from postil.platform.store.hub_tokens import find_hub_token
from tests.web.conftest import PASSWORD, NewClient, error_of

CANARY = "hf_canaryCANARYcanary88"
PATH = "/api/admin/hub-token"


@pytest.fixture
def root(new_client: NewClient) -> TestClient:
    """An admin."""
    return new_client("root.of.it", role="admin")


def test_a_token_is_kept_seen_to_be_there_and_forgotten(root: TestClient, service: Service) -> None:
    nothing = {"tokens": [{"hub": "hf", "kept_since": None}, {"hub": "modelscope", "kept_since": None}]}
    assert root.get(PATH).json() == nothing
    kept = root.put(PATH, json={"hub": "modelscope", "token": CANARY})
    assert kept.status_code == 200 and find_hub_token(service, "modelscope") == CANARY
    seen = root.get(PATH)
    assert seen.json() == kept.json()
    assert [one["kept_since"] is not None for one in seen.json()["tokens"]] == [False, True]
    assert CANARY not in kept.text + seen.text
    assert root.delete(PATH, params={"hub": "modelscope"}).json() == nothing
    assert root.delete(PATH, params={"hub": "modelscope"}).status_code == 200
    assert find_hub_token(service, "modelscope") is None


def test_what_is_no_token_is_refused_without_being_repeated(root: TestClient, service: Service) -> None:
    for body in (
        {"hub": "nowhere", "token": CANARY},
        {"hub": "hf", "token": f"{CANARY} {CANARY}"},
        {"hub": "hf", "token": CANARY * 30},
        {"hub": "hf", "token": ""},
        {"hub": "hf", "token": CANARY, "more": CANARY},
        {"hub": CANARY},
    ):
        reply = root.put(PATH, json=body)
        assert reply.status_code == 422 and error_of(reply)["hint"]
        assert CANARY not in reply.text
    assert root.delete(PATH).status_code == 422
    assert find_hub_token(service, "hf") is None


def test_the_client_does_it_with_a_session_and_not_with_a_key(root: TestClient, served: str, service: Service) -> None:
    secret = root.post("/api/keys", json={"name": "k"}).json()["secret"]
    with postil.Client(served, secret) as client:
        with pytest.raises(NotAllowedError):
            client.hub_tokens()
        assert client.sign_in("root.of.it", PASSWORD).role == "admin"
        assert [one.hub for one in client.set_hub_token("hf", CANARY) if one.kept_since] == ["hf"]
        assert find_hub_token(service, "hf") == CANARY
        assert client.forget_hub_token("hf") == client.hub_tokens()
    assert find_hub_token(service, "hf") is None
