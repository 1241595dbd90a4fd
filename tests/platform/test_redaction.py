"""What is logged loses its secrets, and nothing else (T20)."""

import io
import json
import logging

import pytest

from postil.platform.accounts.api_keys import make_key
from postil.platform.accounts.one_time_links import make_reset_link
from postil.platform.accounts.sign_ins import sign_in
from postil.platform.redaction import GONE, Redaction, redact
from postil.platform.service import Service
from postil.web.logs import JsonLines
from tests.platform.conftest import PASSWORD


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("key pk_k3v9m2x7q8w4e5ra_SECRETsecret42 used", f"key pk_k3v9m2x7q8w4e5ra_{GONE} used"),
        ("Authorization: Bearer SECRETsecret.42", f"Authorization: {GONE}"),
        ("sent bearer SECRETsecret42 to the hub", f"sent bearer {GONE} to the hub"),
        ("token hf_SECRETsecret42 refused", f"token hf_{GONE} refused"),
        ("ms-SECRETsecret-42-SECRET refused", f"ms-{GONE} refused"),
        ('{"name": "ann", "password": "SECRETsecret42"}', f'{{"name": "ann", "password": "{GONE}"}}'),
        ("new_password=SECRETsecret42&name=ann", f"new_password={GONE}&name=ann"),
        ("HF_TOKEN='SECRETsecret42'", f"HF_TOKEN='{GONE}'"),
        ("Cookie: postil_session=SECRETsecret42; other=SECRET", f"Cookie: {GONE}"),
        ("postgresql://postil:SECRETsecret42@db/postil", f"postgresql://postil:{GONE}@db/postil"),
        ("GET /links/SECRETsecret42SECRETsecret42 200", f"GET /links/{GONE} 200"),
        ("api-key: SECRETsecret42", f"api-key: {GONE}"),
    ],
)
def test_secrets_go_and_the_rest_stays(text: str, kept: str) -> None:
    assert redact(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "job job_k3v9m2x7q8w4e5ra trained 1200 tokens: loss 0.3",
        "tokens=1200 sessions: 4, passwords are kept as hashes",
        "GET /api/keys 200 in 12 ms",
        "价格：每 1000 个 token 0.03 元",
        "postgresql+psycopg://postil@/postgres?host=/tmp/x",
        "base Qwen/Qwen3-1.7B from https://hub.example/api/models",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("formatter", [logging.Formatter("%(message)s"), JsonLines()], ids=["plain", "json"])
def test_the_filter_reaches_messages_arguments_fields_and_traces(
    service: Service, formatter: logging.Formatter
) -> None:
    """With real secrets of the service, logged in every way that a library might."""
    from postil.platform.accounts.accounts import create_account

    account = create_account(service, "ann", PASSWORD)
    _, key = make_key(service, account.id, "k", ["read"])
    token, link = sign_in(service, "ann", PASSWORD).token, make_reset_link(service, account.id)
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    handler.addFilter(Redaction())
    log = logging.Logger("test")
    log.addHandler(handler)

    log.info("a key: %s", key)
    log.info("headers %s", {"authorization": f"Bearer {key}", "cookie": f"postil_session={token}"})
    log.info("a link", extra={"path": f"/links/{link}"})
    log.info("body %s", json.dumps({"name": "ann", "password": PASSWORD}))
    try:
        raise RuntimeError(f"cannot connect to postgresql://postil:{PASSWORD.replace(' ', '-')}@db/postil with {key}")
    except RuntimeError:
        log.exception("failed")
    said = written.getvalue()
    assert said.count("\n") >= 5 and "RuntimeError" in said and "ann" in said
    secrets = [key.rpartition("_")[2], token, link, PASSWORD.replace(" ", "-")]
    assert [secret for secret in secrets if secret in said] == []
