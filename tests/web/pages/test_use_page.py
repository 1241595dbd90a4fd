"""The page on which a model is put to use: keys, code, files, colleagues, and names that can be turned."""

import ast
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from postil.platform.accounts.api_keys import list_keys
from postil.platform.adapters.adapters import get_adapter
from postil.platform.adapters.aliases import list_aliases
from postil.platform.adapters.trials import start_trial
from postil.platform.service import Service
from tests.platform.adapters.test_adapters import publish, write_adapter
from tests.web.conftest import ADDRESS, NewClient
from tests.web.pages.page_fields import codes_of, fields_of
from tests.web.pages.reading import account_of, text_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "adapter"
    path.mkdir()
    write_adapter(path)
    return path


@pytest.fixture
def adapter(anna: TestClient, service: Service, folder: Path) -> str:
    """Anna's model."""
    return publish(service, account_of(anna), folder, name="shop")


def test_a_key_is_made_here_and_shown_once(anna: TestClient, service: Service, adapter: str) -> None:
    page = anna.get(f"/models/{adapter}/use").text
    assert all("pk_..." in code for code in codes_of(page)[:3])
    made = anna.post(f"/models/{adapter}/use/key", data={"name": "till"})
    assert made.status_code == 200 and made.headers["cache-control"] == "no-store"
    secret = codes_of(made.text)[0]
    assert secret.startswith("pk_") and all(secret in code for code in codes_of(made.text)[1:4])
    assert "pip install openai" in text_of(made.text)
    assert len(ast.parse(codes_of(made.text)[1]).body) == 4
    (key,) = list_keys(service, account_of(anna))
    assert (key.name, key.scopes) == ("till", ("chat",))
    assert secret not in anna.get(f"/models/{adapter}/use").text
    unnamed = anna.post(f"/models/{adapter}/use/key", data={})
    assert unnamed.status_code == 200 and list_keys(service, account_of(anna))[0].name == "My program"
    too_long = anna.post(f"/models/{adapter}/use/key", data={"name": "x" * 101})
    assert too_long.status_code == 422 and fields_of(too_long.text)["name"] == "x" * 101


def test_the_code_is_filled_in(anna: TestClient, service: Service, adapter: str) -> None:
    account = account_of(anna)
    model = get_adapter(service, account, adapter).model_name
    start_trial(service, account, adapter, "Is it 'blue' or \"green\" & <new>?")
    openai, curl, client = codes_of(anna.get(f"/models/{adapter}/use").text)[:3]
    assert len(ast.parse(openai).body) == 4 and f'base_url="{ADDRESS}/v1"' in openai
    assert max(map(len, openai.splitlines())) < 110
    for code in (openai, curl, client):
        assert model in code and ADDRESS in code and "green" in code and "<new>" in code
    compile(openai, "openai", "exec")
    compile(client, "client", "exec")
    long = "word " * 40
    start_trial(service, account, adapter, long)
    assert "word word" not in codes_of(anna.get(f"/models/{adapter}/use").text)[0]


def test_the_address_is_the_one_by_which_the_reader_came(anna: TestClient, adapter: str) -> None:
    code = codes_of(anna.get(f"/models/{adapter}/use", headers={"host": "localhost:9000"}).text)[0]
    assert "http://localhost:9000/v1" in code


def test_it_can_be_taken_home(anna: TestClient, adapter: str) -> None:
    page = anna.get(f"/models/{adapter}/use").text
    assert f'href="/api/adapters/{adapter}/download"' in page
    assert anna.get(f"/api/adapters/{adapter}/download").headers["content-type"] == "application/zip"


def test_colleagues_may_use_it_until_it_is_taken_back(anna: TestClient, berta: TestClient, adapter: str) -> None:
    path = f"/models/{adapter}/use"
    assert berta.get(path).status_code == 404
    nobody = anna.post(f"{path}/share", data={"account": "nobody <i>"})
    assert nobody.status_code == 404 and fields_of(nobody.text)["account"] == "nobody <i>"
    assert "There is no account" in text_of(nobody.text) and "<i>" not in nobody.text
    shared = anna.post(f"{path}/share", data={"account": "BERTA"}, follow_redirects=False)
    assert (shared.status_code, shared.headers["location"]) == (303, f"{path}#share")
    assert 'name="account" value="berta"' in anna.get(path).text
    seen = berta.get(path)
    assert seen.status_code == 200 and "anna shares this model with you" in text_of(seen.text)
    for form in ("share", "unshare"):
        assert berta.post(f"{path}/{form}", data={"account": "anna"}).status_code == 404
    assert berta.post(f"{path}/key", data={}).status_code == 200
    anna.post(f"{path}/unshare", data={"account": "berta"})
    assert berta.get(path).status_code == 404


def test_a_name_is_turned_turned_back_and_deleted(
    anna: TestClient, service: Service, adapter: str, folder: Path
) -> None:
    account = account_of(anna)
    newer = publish(service, account, folder, name="newer")

    def target() -> str:
        (alias,) = list_aliases(service, account)
        return alias.adapter_id

    wrong = anna.post(f"/models/{adapter}/use/alias", data={"alias": "no alias"})
    assert wrong.status_code == 422 and fields_of(wrong.text)["alias"] == "no alias" and 'id="alias" open' in wrong.text
    assert anna.post(f"/models/{adapter}/use/alias/back", data={"alias": "a@b"}).status_code == 404
    for model in (adapter, newer):
        anna.post(f"/models/{model}/use/alias", data={"alias": "shop-bot@prod"})
        assert target() == model
    assert "Turn back" in text_of(anna.get(f"/models/{newer}/use").text)
    anna.post(f"/models/{newer}/use/alias/back", data={"alias": "shop-bot@prod"})
    assert target() == adapter
    anna.post(f"/models/{adapter}/use/alias/delete", data={"alias": "shop-bot@prod"})
    assert list_aliases(service, account) == ()


def test_another_base_than_the_one_in_memory_is_told(anna: TestClient, service: Service, folder: Path) -> None:
    far = publish(service, account_of(anna), folder, base="Qwen/Qwen3-0.6B")
    assert "Qwen/Qwen3-0.6B and what was made from it do not answer here" in text_of(
        anna.get(f"/models/{far}/use").text
    )


def test_in_chinese(new_client: NewClient, service: Service, folder: Path) -> None:
    client = new_client("mei", headers={"accept-language": "zh-CN"})
    page = client.get(f"/models/{publish(service, account_of(client), folder)}/use").text
    assert "在程序里提问" in text_of(page) and "你好！" in codes_of(page)[0]
