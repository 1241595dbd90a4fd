"""The private routes: adapters that come and go while answers are written, and who may say so."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

import postil
from postil.config import AdapterConfig, ModelConfig
from postil.models.decoding import Sampling
from postil.serving.access import Access
from postil.serving.server import EngineSettings, make_engine
from postil.testing.tiny import make_tiny_model
from tests.adapters import make_adapter
from tests.serving.conftest import TOKEN, Served, serving, wait_until

QUESTION = "How do I return shoes?"
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def small(folders: dict[str, Path]) -> Iterator[Served]:
    """A server of its own, that keeps two adapters in memory."""
    settings = EngineSettings(max_running=8, max_queued=8, max_loaded_adapters=2)
    engine = make_engine(ModelConfig(base="starter", device="cpu"), settings)
    with serving(engine, Access(control_token=TOKEN)) as address:
        yield Served(engine, address, folders)
    engine.close()


def put(served: Served, adapter_id: str, **body: Any) -> httpx2.Response:
    return httpx2.put(f"{served.address}/control/adapters/{adapter_id}", json=body, headers=HEADERS, timeout=60)


def delete(served: Served, adapter_id: str) -> httpx2.Response:
    return httpx2.delete(f"{served.address}/control/adapters/{adapter_id}", headers=HEADERS, timeout=60)


def state(served: Served) -> dict[str, Any]:
    found: dict[str, Any] = httpx2.get(f"{served.address}/control/state", headers=HEADERS).json()
    return found


def ask(served: Served, model: str, **more: Any) -> Any:
    settings = {"temperature": 0, "max_tokens": 16} | more
    messages: Any = [{"role": "user", "content": QUESTION}]
    return served.client().chat.completions.create(model=model, messages=messages, **settings)


def answer(served: Served, model: str) -> str:
    return str(ask(served, model).choices[0].message.content)


def alone(folder: Path) -> str:
    return postil.load(folder, device="cpu").answer(QUESTION, sampling=Sampling(max_new_tokens=16))


def test_attached_asked_listed_and_taken_away(small: Served) -> None:
    reply = put(small, "a1", directory=str(small.folders["shop"]), name="ft:starter:org/x:shop:1")
    assert reply.status_code == 200
    info = reply.json()
    assert (info["id"], info["name"], info["rank"], info["is_loaded"]) == ("a1", "ft:starter:org/x:shop:1", 4, True)
    assert info["num_bytes"] == (small.folders["shop"] / "adapter_model.safetensors").stat().st_size
    expected = alone(small.folders["shop"])
    assert answer(small, "a1") == expected == answer(small, "ft:starter:org/x:shop:1")
    client = small.client()
    assert [m.id for m in client.models.list()] == ["starter", "ft:starter:org/x:shop:1"]
    assert client.models.retrieve("ft:starter:org/x:shop:1").id == client.models.retrieve("a1").id
    assert state(small)["adapters"][0] | {"is_loaded": True} == info
    assert delete(small, "a1").json() == {"id": "a1", "deleted": True}
    assert delete(small, "a1").status_code == 404
    with pytest.raises(openai.NotFoundError) as caught:
        answer(small, "a1")
    assert caught.value.code == "model_not_found"


def test_more_adapters_than_fit_into_memory(small: Served) -> None:
    """Three take turns on two places; each answers as when it is loaded by itself."""
    for name, folder in small.folders.items():
        assert put(small, name, directory=str(folder)).status_code == 200
    for name in ("shop", "dora", "terse", "shop", "terse"):
        assert answer(small, name) == alone(small.folders[name])
    loaded = [a["id"] for a in state(small)["adapters"] if a["is_loaded"]]
    assert sorted(loaded) == ["shop", "terse"]
    for name in small.folders:
        delete(small, name)


def test_the_same_id_again_takes_its_place(small: Served) -> None:
    put(small, "x", directory=str(small.folders["shop"]))
    before = answer(small, "x")
    assert put(small, "x", directory=str(small.folders["terse"])).status_code == 200
    assert answer(small, "x") == alone(small.folders["terse"]) != before
    assert len(state(small)["adapters"]) == 1
    delete(small, "x")


def test_taken_away_while_it_answers(small: Served) -> None:
    """What is being written goes on to its end, word for word; what comes later finds nothing."""
    put(small, "a", directory=str(small.folders["shop"]))
    whole = ask(small, "a", max_tokens=60).choices[0].message.content
    stream = ask(small, "a", max_tokens=60, stream=True)
    first = next(stream)
    assert delete(small, "a").status_code == 200
    with pytest.raises(openai.NotFoundError):
        answer(small, "a")
    rest = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in (first, *rest)) == whole
    assert rest[-1].choices[0].finish_reason == "length"
    wait_until(lambda: not small.engine._loaded.keys)  # and its memory is given back


def test_taken_away_while_it_waits(small: Served) -> None:
    put(small, "a", directory=str(small.folders["shop"]))
    streams = [ask(small, "starter", stream=True, max_tokens=1500, temperature=1.9, n=8)]
    caught: list[Exception] = []

    def wait_in_vain() -> None:
        try:
            answer(small, "a")
        except openai.NotFoundError as error:
            caught.append(error)

    waiting = threading.Thread(target=wait_in_vain)
    waiting.start()
    wait_until(lambda: state(small)["num_queued"] == 1)
    delete(small, "a")
    streams[0].close()
    waiting.join(20)
    assert len(caught) == 1


def test_its_folder_vanishes(small: Served, tmp_path: Path) -> None:
    """An adapter that is in memory goes on; one that must be read again is not found, and the server lives."""
    folder = make_adapter(tmp_path / "gone", "starter", size=0.02)
    put(small, "gone", directory=str(folder))
    expected = answer(small, "gone")
    for file in folder.iterdir():
        file.unlink()
    assert answer(small, "gone") == expected
    for name in ("shop", "terse"):
        put(small, name, directory=str(small.folders[name]))
    with pytest.raises(openai.NotFoundError):
        answer(small, "gone")
    assert answer(small, "shop") == alone(small.folders["shop"])
    for name in ("gone", "shop", "terse"):
        delete(small, name)


def test_folders_that_must_not_be_loaded(small: Served, tmp_path: Path) -> None:
    other = make_tiny_model(tmp_path / "other", "qwen3")
    foreign = make_adapter(tmp_path / "foreign", str(other))
    plain = make_adapter(tmp_path / "plain", str(other))
    (plain / "postil.json").unlink()  # a plain PEFT folder: only its shapes tell
    huge = make_adapter(tmp_path / "huge", "starter", config=AdapterConfig(rank=2))
    config = huge / "adapter_config.json"
    config.write_text(config.read_text().replace('"r": 2', '"r": 2000000'))
    for folder, code in ((foreign, "manifest.other_base"), (plain, "adapter."), (huge, "adapter.bad_entry")):
        reply = put(small, "bad", directory=str(folder))
        assert reply.status_code == 400 and reply.json()["error"]["code"].startswith(code)
    assert put(small, "bad", directory=str(tmp_path / "nothing")).status_code == 404
    assert state(small)["adapters"] == []
    assert answer(small, "starter")


def test_a_plain_peft_folder_answers(small: Served, tmp_path: Path) -> None:
    """Without a manifest: the base's chat format, no system message, and whatever base the config names is ignored."""
    folder = make_adapter(tmp_path / "plain", "starter", size=0.02)
    expected = alone(folder)
    (folder / "postil.json").unlink()
    config = folder / "adapter_config.json"
    config.write_text(
        config.read_text().replace('"base_model_name_or_path": "starter"', '"base_model_name_or_path": "/etc"')
    )
    put(small, "plain", directory=str(folder))
    assert answer(small, "plain") == expected
    delete(small, "plain")


@pytest.mark.parametrize(
    ("adapter_id", "body", "status"),
    [
        ("a", {}, 400),
        ("a", {"directory": "relative/folder"}, 400),
        ("a", {"directory": "/a\0b"}, 400),
        ("a", {"directory": 1}, 400),
        ("a", {"directory": "/x", "name": ""}, 400),
        ("a", {"directory": "/x", "name": "a\nb"}, 400),
        ("a", {"directory": "/x", "name": "starter"}, 409),
        ("starter", {"directory": "/x"}, 409),
        ("-a", {"directory": "/x"}, 400),
        ("a" * 200, {"directory": "/x"}, 400),
        ("..%2f..%2fetc", {"directory": "/x"}, 404),
    ],
)
def test_bad_orders_are_refused(small: Served, adapter_id: str, body: dict[str, Any], status: int) -> None:
    assert put(small, adapter_id, **body).status_code == status
    assert state(small)["adapters"] == []


def test_a_name_says_one_thing(small: Served) -> None:
    put(small, "a", directory=str(small.folders["shop"]), name="one")
    for adapter_id, name in (("b", "one"), ("b", "a"), ("one", "two")):
        reply = put(small, adapter_id, directory=str(small.folders["shop"]), name=name)
        assert reply.status_code == 409 and reply.headers["x-should-retry"] == "false"
    delete(small, "a")


def test_attaching_while_others_are_answered(small: Served, tmp_path: Path) -> None:
    """A long stream of one adapter is not changed by the comings and goings of others."""
    put(small, "a", directory=str(small.folders["shop"]))
    whole = ask(small, "a", max_tokens=80).choices[0].message.content
    stream = ask(small, "a", max_tokens=80, stream=True)
    for i in range(6):
        put(small, "b", directory=str(small.folders["dora" if i % 2 else "terse"]))
        delete(small, "b")
    assert "".join(c.choices[0].delta.content or "" for c in stream) == whole
    delete(small, "a")


def test_every_route_but_health_wants_the_token(small: Served) -> None:
    calls = [
        ("GET", "/v1/models"),
        ("GET", "/models/starter"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/chat/completions"),
        ("PUT", "/control/adapters/a"),
        ("DELETE", "/control/adapters/a"),
        ("GET", "/control/state"),
        ("GET", "/nothing"),
    ]
    for method, path in calls:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": "Basic x"}):
            reply = httpx2.request(method, small.address + path, headers=headers)
            assert reply.status_code == 401, (method, path)
            assert reply.json()["error"]["type"] == "authentication_error"
    assert httpx2.get(f"{small.address}/healthz").json() == {"status": "ok"}


def test_foreign_names_and_pages_are_turned_away(small: Served) -> None:
    """A page on another site, be its name bent to this machine (DNS rebinding), gets nothing, key or not."""
    foreign = [({"host": "evil.example"}, 400), ({"host": "evil.example:8000"}, 400)]
    for headers, status in [*foreign, ({"sec-fetch-site": "cross-site"}, 403)]:
        for path in ("/healthz", "/v1/models"):
            assert httpx2.get(small.address + path, headers=HEADERS | headers).status_code == status
    port = small.address.rpartition(":")[2]
    assert httpx2.get(f"{small.address}/v1/models", headers=HEADERS | {"host": f"localhost:{port}"}).status_code == 200


def test_keys_of_our_own(small: Served) -> None:
    """Without a control token there is no /control; with keys only those pass, and without any everyone does."""
    path, key = "/v1/models", "key-of-sixteen-characters-or-more"
    with serving(small.engine, Access(api_keys=frozenset({key}))) as address:
        assert httpx2.get(address + path, headers={"authorization": f"Bearer {key}"}).status_code == 200
        for headers in ({}, {"authorization": "Bearer other"}, HEADERS):
            assert httpx2.get(address + path, headers=headers).status_code == 401
    with serving(small.engine, Access()) as address:
        for headers in ({}, {"authorization": "Bearer any"}):
            assert httpx2.get(address + path, headers=headers).status_code == 200
        assert httpx2.get(f"{address}/control/state").status_code == 404
        assert httpx2.put(f"{address}/control/adapters/a", json={"directory": "/x"}).status_code == 404
