"""The list of models, which is home."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from postil.platform.adapters.sharing import share_adapter
from postil.platform.service import Service
from tests.platform.adapters import test_adapters as made
from tests.platform.rows import add_dataset
from tests.platform.trained import add_job
from tests.web.conftest import NewClient
from tests.web.pages.reading import account_of, text_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "adapter"
    path.mkdir()
    made.write_adapter(path)
    return path


def publish(service: Service, account: str, folder: Path, **entries: object) -> str:
    """A model whose training has ended."""
    return made.publish(service, account, folder, state="succeeded", **entries)


def test_home_teaches_whoever_has_nothing_yet(anna: TestClient) -> None:
    page = anna.get("/", follow_redirects=True)
    assert page.url.path == "/models"
    assert page.text.count('class="button big" href="/new"') == 1
    words = text_of(page.text)
    assert "Your first model, from a table of questions and answers" in words and "New model" in words
    assert "Find a model" not in words


def test_a_model_is_shown_with_what_it_comes_from(anna: TestClient, service: Service, folder: Path) -> None:
    account = account_of(anna)
    data = add_dataset(service, account)
    adapter = publish(service, account, folder, name="shop <b>", dataset_id=data)
    publish(service, account, folder, name="older data")
    add_job(service, account, name="on its way", state="running", progress={"percent": 41.6})
    page = anna.get("/models").text
    words = text_of(page)
    assert "shop &lt;b&gt;" in page and "<b>" not in page
    assert f'href="/models/{adapter}"' in page and f'<a href="/data/{data}">faq</a>' in page
    assert f'href="/models/{adapter}/try"' in page and f'href="/models/{adapter}/use"' in page
    assert "Better" in words and "starter" in words and "Deleted" in words
    assert "on its way" in words and "42% done" in words
    assert page.count('class="button big" href="/new"') == 1


def test_it_can_be_searched(anna: TestClient, new_client: NewClient, service: Service, folder: Path) -> None:
    account, berta = account_of(anna), new_client("berta")
    for name in ("Shop 客服", "Hotel"):
        publish(service, account, folder, name=name)
    publish(service, account, folder, name="Far", base="Qwen/Qwen3-0.6B")
    share_adapter(service, account_of(berta), publish(service, account_of(berta), folder, name="Lent"), "anna")

    def shown(**asked: str) -> set[str]:
        words = text_of(anna.get("/models", params=asked).text)
        return {name for name in ("Shop 客服", "Hotel", "Far", "Lent") if name in words}

    assert shown() == {"Shop 客服", "Hotel", "Far", "Lent"}
    assert shown(words="sho") == shown(words="客服") == {"Shop 客服"}
    assert shown(base="Qwen/Qwen3-0.6B") == {"Far"}
    assert shown(whose="shared") == {"Lent"} and shown(whose="own") == {"Shop 客服", "Hotel", "Far"}
    assert shown(result="worse") == set() and len(shown(result="better")) == 4
    assert shown(words="%") == set(), "what is typed is no pattern"
    nothing = anna.get("/models", params={"words": "no such"}).text
    assert "No model is like this." in nothing and 'value="no such"' in nothing
    assert "From berta" in text_of(anna.get("/models", params={"whose": "shared"}).text)


def test_older_ones_are_on_the_next_page(anna: TestClient, service: Service, folder: Path) -> None:
    account = account_of(anna)
    for number in range(26):
        publish(service, account, folder, name=f"model-{number:02}")
    first = anna.get("/models", params={"words": "model"}).text
    address = first.split('<a href="/models?')[1].split('"')[0].replace("&amp;", "&")
    second = anna.get(f"/models?{address}").text
    names = [[n for n in range(26) if f"model-{n:02}" in page] for page in (first, second)]
    assert len(names[0]) == 24 and len(names[1]) == 2 and sorted(names[0] + names[1]) == list(range(26))
    assert 'value="model"' in second


def test_in_chinese(new_client: NewClient, service: Service, folder: Path) -> None:
    client = new_client("mei", headers={"accept-language": "zh-CN"})
    assert "用问答表做出第一个模型" in text_of(client.get("/models").text)
    publish(service, account_of(client), folder)
    words = text_of(client.get("/models").text)
    assert "更好" in words and "新建模型" in words and "试一试" in words
