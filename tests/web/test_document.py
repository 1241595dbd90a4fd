"""The OpenAPI document says what the routes do: every route is in it, and generated requests find no 5xx."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from postil.platform.accounts.sign_ins import sign_in
from postil.platform.service import Service
from postil.web.auth import COOKIE
from postil.web.pages.refusals import is_page
from tests.web.belongings import Belongings, make_belongings
from tests.web.conftest import PASSWORD, NewClient
from tests.web.test_auth import routes

EXAMPLES = 3
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
LATER = {"web.no_answers", "platform.datasets.being_checked"}
"""What may be answered with 503 here: nothing answers questions, and nobody checks files."""


def test_every_route_is_documented(app: FastAPI) -> None:
    document = app.openapi()
    known = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    of_programs = [
        (m, path) for m, path, _ in routes(app) if not (is_page({"path": path}) or path.startswith("/static/"))
    ]
    assert known == {(method, path.replace(":path}", "}")) for method, path in of_programs}
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"] and operation["description"], operation["operationId"]
            assert {"4XX", "5XX"} <= set(operation["responses"]), operation["operationId"]


def test_the_document_is_for_accounts(anonymous: TestClient, new_client: NewClient) -> None:
    assert anonymous.get("/api/openapi.json").status_code == 401
    assert new_client("anna").get("/api/openapi.json").json()["openapi"].startswith("3.1")


@pytest.fixture
def belongings(new_client: NewClient, service: Service, tmp_path: Path) -> Belongings:
    """What an admin owns who is also a user."""
    return make_belongings(new_client("anna", role="admin"), service, tmp_path / "adapter")


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """No count of tries: these are many and quick."""
    monkeypatch.setattr("postil.platform.limits.Limits.allow", lambda *given: None)


def operations(app: FastAPI) -> Iterator[Any]:
    schema = schemathesis.openapi.from_dict(app.openapi())
    for result in schema.get_all_operations():
        yield result.ok()


def test_no_generated_request_finds_a_mistake_of_ours(
    app: FastAPI, served: str, service: Service, belongings: Belongings, unlimited: None
) -> None:
    own = belongings.as_parameters()
    tried = 0
    for operation in operations(app):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            tried += _try(operation, mode, served, service, own)
    assert tried > 150


def _try(operation: Any, mode: GenerationMode, served: str, service: Service, own: dict[str, str]) -> int:
    """Sends generated requests of one operation, half of them for things that are there."""
    num_sent = 0
    token = sign_in(service, "anna", PASSWORD).token

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        nonlocal num_sent
        num_sent += 1
        if num_sent % 2 and case.path_parameters:
            case.path_parameters.update({name: own[name] for name in case.path_parameters if name in own})
        try:
            reply = case.call(base_url=served, cookies={COOKIE: token}, timeout=30)
        except (requests.exceptions.InvalidHeader, UnicodeEncodeError):  # what HTTP itself cannot carry
            return
        if case.path == "/readyz":  # no supervisor runs here
            return
        if reply.status_code == 503 and reply.json()["error"]["code"] in LATER:
            return
        case.validate_response(reply, checks=CHECKS)

    try:
        send()
    except Exception as error:
        if type(error).__name__ in ("Unsatisfiable", "SkipTest"):  # nothing negative can be made of this operation
            return num_sent
        raise
    return num_sent
