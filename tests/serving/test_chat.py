"""What the unmodified `openai` client gets from a real server on loopback."""

import asyncio
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI, OpenAI

import postil
from postil.config import ModelConfig
from postil.models.decoding import Sampling
from postil.serving.access import Access
from postil.serving.server import EngineSettings, make_engine
from postil.testing.tiny import make_tiny_model
from tests.serving.conftest import TOKEN, Served, serving, wait_until

QUESTIONS = ("How do I return shoes?", "发票怎么开？请详细说明。", "Tell me a story about a fox.")
NUM_TOKENS = 24
LONG = "Write the numbers from one to a thousand, one a line."


def ask(client: OpenAI, model: str, question: str, **more: Any) -> Any:
    settings = {"temperature": 0, "max_tokens": NUM_TOKENS} | more
    messages = [{"role": "user", "content": question}]
    return client.chat.completions.create(model=model, messages=messages, **settings)  # type: ignore[call-overload]


def test_errors_are_in_the_language_that_is_asked_for(served: Served) -> None:
    said = {}
    for language in ("zh", "zh-CN,zh;q=0.9,en;q=0.8", "en", "en-GB,zh;q=0.5", "fr", None):
        headers = {"accept-language": language} if language else {}
        with pytest.raises(openai.NotFoundError) as caught:
            ask(served.client(default_headers=headers), "nobody", "Hello?")
        with pytest.raises(openai.BadRequestError) as refused:
            ask(served.client(default_headers=headers), "starter", "Hello?", logprobs=True)
        said[language] = caught.value.message, refused.value.message
    english, chinese = said[None], said["zh"]
    assert all("。" in text for text in chinese) and not any("。" in text for text in english)
    assert said["zh-CN,zh;q=0.9,en;q=0.8"] == chinese
    assert said["en"] == said["en-GB,zh;q=0.5"] == said["fr"] == english


def text_of(chunks: Iterable[Any], index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk.choices]
    return "".join(c.delta.content or "" for c in choices if c.index == index)


@pytest.fixture(scope="session")
def expected(served: Served) -> dict[str, list[str]]:
    """What each model answers when it is loaded by itself."""
    sampling, answers = Sampling(max_new_tokens=NUM_TOKENS), {}
    for name, folder in served.folders.items():
        tuned = postil.load(folder, device="cpu")
        answers[name] = [tuned.answer(q, sampling=sampling) for q in QUESTIONS]
        if name == "shop":
            answers["starter"] = [tuned.answer_base(q, sampling=sampling) for q in QUESTIONS]
    assert len({tuple(a) for a in answers.values()}) == 4  # they do differ
    return answers


def test_models_are_listed_the_base_first(client: OpenAI, served: Served) -> None:
    assert [model.id for model in client.models.list()][:4] == ["starter", *served.folders]
    assert client.models.retrieve("shop").id == "shop"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("Qwen/none")


@pytest.mark.parametrize("model", ["starter", "shop", "terse", "dora"])
def test_plain_streamed_and_loaded_alone_are_the_same(
    client: OpenAI, expected: dict[str, list[str]], model: str
) -> None:
    for question, answer in zip(QUESTIONS, expected[model], strict=True):
        plain = ask(client, model, question)
        assert plain.choices[0].message.content == answer
        chunks = list(ask(client, model, question, stream=True))
        assert text_of(chunks) == answer
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].choices[0].finish_reason == plain.choices[0].finish_reason


def test_twenty_streams_of_four_models_at_once(served: Served, expected: dict[str, list[str]]) -> None:
    """Neighbours change nothing, whoever they are."""
    client = served.client()
    jobs = [(model, i) for i in range(len(QUESTIONS)) for model in expected] + [("shop", 0), ("starter", 1)] * 4

    def run(job: tuple[str, int]) -> str:
        return text_of(ask(client, job[0], QUESTIONS[job[1]], stream=True))

    with ThreadPoolExecutor(len(jobs)) as pool:
        answers = list(pool.map(run, jobs))
    assert len(jobs) == 20
    assert answers == [expected[model][i] for model, i in jobs]


def test_usage_and_shape(client: OpenAI, served: Served) -> None:
    plain = ask(client, "shop", QUESTIONS[0])
    assert plain.object == "chat.completion" and plain.id.startswith("chatcmpl-") and plain.model == "shop"
    assert plain.choices[0].finish_reason == "length"
    prompt = served.engine.encode(None, postil_messages(QUESTIONS[0]))
    assert (plain.usage.prompt_tokens, plain.usage.completion_tokens) == (len(prompt), NUM_TOKENS)
    assert plain.usage.total_tokens == len(prompt) + NUM_TOKENS
    *chunks, last = ask(client, "shop", QUESTIONS[0], stream=True, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage == plain.usage
    assert all(chunk.usage is None and len(chunk.choices) == 1 for chunk in chunks)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"} and len({c.id for c in chunks}) == 1


def postil_messages(question: str) -> list[Any]:
    from postil.data.conversations import Message

    return [Message("user", question)]


def test_the_async_client(served: Served, expected: dict[str, list[str]]) -> None:
    async def run() -> list[str]:
        async with AsyncOpenAI(base_url=f"{served.address}/v1", api_key=TOKEN, max_retries=0) as client:

            async def one(question: str) -> str:
                messages: Any = [{"role": "user", "content": question}]
                stream = await client.chat.completions.create(
                    model="terse", messages=messages, temperature=0, max_tokens=NUM_TOKENS, stream=True
                )
                return "".join([c.choices[0].delta.content or "" async for c in stream])

            return await asyncio.gather(*map(one, QUESTIONS))

    assert asyncio.run(run()) == expected["terse"]


def test_seeds_and_choices(client: OpenAI) -> None:
    """The same seed draws the same answer, alone or as one of several choices; choices differ."""
    drawn = ask(client, "starter", QUESTIONS[2], temperature=1, top_p=0.95, seed=7, n=3)
    texts = [choice.message.content for choice in drawn.choices]
    assert [choice.index for choice in drawn.choices] == [0, 1, 2] and len(set(texts)) == 3
    again = ask(client, "starter", QUESTIONS[2], temperature=1, top_p=0.95, seed=8)
    assert again.choices[0].message.content == texts[1]
    chunks = list(ask(client, "starter", QUESTIONS[2], temperature=1, top_p=0.95, seed=7, n=3, stream=True))
    assert [text_of(chunks, i) for i in range(3)] == texts


def test_stop_strings_end_an_answer(client: OpenAI, expected: dict[str, list[str]]) -> None:
    answer = expected["starter"][0]
    stop = answer.split()[2]
    stopped = ask(client, "starter", QUESTIONS[0], stop=[stop, "never"])
    assert stopped.choices[0].message.content == answer[: answer.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"
    assert text_of(ask(client, "starter", QUESTIONS[0], stop=stop, stream=True)) == answer[: answer.index(stop)]


def test_penalties_forbid_repetition(client: OpenAI, expected: dict[str, list[str]]) -> None:
    plain = ask(client, "starter", QUESTIONS[1], max_tokens=NUM_TOKENS).choices[0].message.content
    fresh = ask(client, "starter", QUESTIONS[1], frequency_penalty=2, presence_penalty=2).choices[0].message.content
    assert plain == expected["starter"][1]
    assert len(set(fresh)) / len(fresh) > len(set(plain)) / len(plain)


def test_content_parts_roles_and_unknown_keys(client: OpenAI, expected: dict[str, list[str]]) -> None:
    first, second = QUESTIONS[0][:8], QUESTIONS[0][8:]
    parts = [{"type": "text", "text": QUESTIONS[0]}]
    answer = client.chat.completions.create(
        model="starter",
        messages=[{"role": "user", "content": parts}],  # type: ignore[list-item,misc]
        temperature=0,
        max_completion_tokens=NUM_TOKENS,
        metadata={"a": "b"},
        user="u",
        extra_body={"never_heard_of": {"x": 1}, "logit_bias": {}},
    )
    assert answer.choices[0].message.content == expected["starter"][0]
    system = {"role": "system", "content": "You are terse."}
    spelled_out = client.chat.completions.create(
        model="terse",
        messages=[system | {"role": "developer"}, {"role": "user", "content": QUESTIONS[0]}],  # type: ignore[list-item]
        temperature=0,
        max_tokens=NUM_TOKENS,
    )
    assert spelled_out.choices[0].message.content == expected["terse"][0]
    assert first + second == QUESTIONS[0]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"seed": 1.5}, "seed"),
    ({"stop": ["x"] * 99}, "stop"),
    ({"logprobs": True}, "logprobs"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
    ({"messages": []}, "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}]},
     "messages[0].content[0]"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"model": ""}, "model"),
    ({"stream": "yes"}, "stream"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "param"), BAD, ids=lambda value: str(value)[:40])
def test_bad_parameters_are_named(client: OpenAI, change: dict[str, Any], param: str) -> None:
    body = {"model": "starter", "messages": [{"role": "user", "content": "x"}]} | change
    with pytest.raises(openai.BadRequestError) as caught:
        client.post("/chat/completions", body=body, cast_to=object)
    assert caught.value.param == param and caught.value.type == "invalid_request_error"
    assert param in caught.value.body["message"]  # type: ignore[index]


def test_unknown_models_and_long_prompts(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        ask(client, "nobody", "x")
    assert missing.value.code == "model_not_found" and "nobody" in str(missing.value)
    with pytest.raises(openai.BadRequestError) as long:
        ask(client, "shop", "word " * 5000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as control:
        ask(client, "shop", "hello <|im_end|> there")
    assert "<|im_end|>" in str(control.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b'{"model": "\\ud800"}', b"[" * 100_000])
def test_bodies_that_are_no_json_objects(served: Served, content: bytes) -> None:
    reply = httpx2.post(
        f"{served.address}/v1/chat/completions", content=content, headers={"authorization": f"Bearer {TOKEN}"}
    )
    assert reply.status_code == 400 and reply.json()["error"]["type"] == "invalid_request_error"


def test_too_large_a_body(served: Served) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    reply = httpx2.post(f"{served.address}/v1/chat/completions", content=b" " * 8_000_001, headers=headers)
    assert reply.status_code == 413 and reply.headers["x-should-retry"] == "false"


def test_a_full_queue_says_when_to_come_again(served: Served) -> None:
    """There are 24 places and 4 chairs. Of 80 answers asked for at once some are sent away, all others are given."""
    client = served.client()

    def try_it(_: int) -> openai.RateLimitError | int:
        try:
            reply = ask(client, "starter", LONG, temperature=1.5, max_tokens=300, n=4)
        except openai.RateLimitError as refused:
            return refused
        return len(reply.choices)

    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(try_it, range(20)))
    refused = [reply for reply in found if isinstance(reply, openai.RateLimitError)]
    assert refused and len(found) - len(refused) >= 6
    assert {reply for reply in found if isinstance(reply, int)} == {4}
    for reply in refused:
        assert 1 <= int(reply.response.headers["retry-after"]) <= 30
        assert reply.code == "queue_full"
    wait_until(lambda: served.engine.state()["num_running"] == 0)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_place(served: Served, stream: bool) -> None:
    body = {"model": "starter", "messages": [{"role": "user", "content": LONG}], "max_tokens": 1800, "n": 4}
    body |= {"stream": stream, "temperature": 1.5}
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx2.Client() as http, ThreadPoolExecutor(1) as pool:
        if stream:
            with http.stream("POST", f"{served.address}/v1/chat/completions", json=body, headers=headers) as reply:
                next(reply.iter_lines())
                assert served.engine.state()["num_running"] == 4
        else:
            request = {"json": body, "headers": headers, "timeout": httpx2.Timeout(0.5)}
            future = pool.submit(http.post, f"{served.address}/v1/chat/completions", **request)  # type: ignore[arg-type]
            with pytest.raises(httpx2.TimeoutException):
                future.result()
    assert wait_until(lambda: served.engine.state()["num_running"] == 0) < 2


def test_headers_and_spellings_of_paths(served: Served) -> None:
    headers = {"authorization": f"Bearer {TOKEN}", "x-request-id": "mine-1"}
    for path in ("/v1/models", "/v1/models/", "/models", "/v1/models/shop", "/v1/models/sh%6Fp"):
        reply = httpx2.get(served.address + path, headers=headers)
        assert reply.status_code == 200
        assert reply.headers["x-request-id"] == "mine-1" and int(reply.headers["openai-processing-ms"]) >= 0
    body = {"model": "shop", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    assert httpx2.post(f"{served.address}/chat/completions", json=body, headers=headers).status_code == 200
    bad_id = httpx2.get(f"{served.address}/nothing", headers=headers | {"x-request-id": "a b\tc"})
    assert bad_id.status_code == 404 and bad_id.headers["x-request-id"].startswith("req_")
    assert bad_id.json()["error"]["code"] == "http_404"


def test_events_are_whole_characters(served: Served) -> None:
    """A Chinese character of several tokens is not sent in halves."""
    body = {"model": "starter", "messages": [{"role": "user", "content": QUESTIONS[1]}], "stream": True}
    body |= {"temperature": 1.8, "max_tokens": 100, "seed": 3}
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx2.stream("POST", f"{served.address}/v1/chat/completions", json=body, headers=headers) as reply:
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in reply.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    pieces = [c["delta"].get("content", "") for e in events for c in e["choices"]]
    text = "".join(pieces)
    assert len(pieces) > 50 and all("\ufffd" not in piece for piece in pieces[:-2])
    assert any("\u4e00" <= sign <= "\u9fff" for sign in text)


def test_the_layer_around_the_engine_is_thin(served: Served) -> None:
    """From the request to the first words it adds less than 50 ms to what the engine takes, best of several."""
    client, engine = served.client(), served.engine
    ask(client, "shop", QUESTIONS[0], max_tokens=1)
    over_http, inside = [], []
    for _ in range(7):
        began = time.perf_counter()
        stream = ask(client, "shop", QUESTIONS[0], stream=True)
        next(chunk for chunk in stream if chunk.choices[0].delta.content)
        over_http.append(time.perf_counter() - began)
        stream.close()
        wait_until(lambda: engine.state()["num_running"] == 0)
        inside.append(first_piece_seconds(served))
    assert min(over_http) - min(inside) < 0.05


def first_piece_seconds(served: Served) -> float:
    from queue import Queue

    from postil.serving.requests import Wish

    engine, deliveries = served.engine, Queue[Any]()
    adapter = engine.find_adapter("shop")
    began = time.perf_counter()
    prompt = engine.encode(adapter, postil_messages(QUESTIONS[0]))
    ticket = engine.submit(adapter, prompt, Wish(Sampling(), NUM_TOKENS), deliveries.put)
    deliveries.get(timeout=30)
    took = time.perf_counter() - began
    engine.cancel(ticket)
    return took


TOOL: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


def test_tools_that_a_template_would_drop_are_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, "starter", "Is it raining?", tools=[TOOL])
    assert caught.value.param == "tools" and caught.value.code == "unsupported_parameter"
    assert ask(client, "starter", "Is it raining?", tools=[TOOL], tool_choice="none").choices[0].message.content


def test_tools_pass_through_a_template_that_knows_them(shared: Path, tmp_path: Path) -> None:
    """Qwen2.5's; what the model writes is a call here, because its tokens are chosen for it."""
    base = make_tiny_model(tmp_path / "base", "qwen2")
    (base / "chat_template.jinja").write_text((shared / "templates" / "qwen2_5.jinja").read_text("utf-8"), "utf-8")
    engine = make_engine(ModelConfig(base=str(base), device="cpu", dtype="fp32"), EngineSettings())
    tokens = engine.base.tokenizer.encode(
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    )[0]
    stop = min(engine.base.chat_format.stop_ids)
    writes_a_call = iter([*tokens, stop] * 2)
    with serving(engine, Access()) as address, pytest.MonkeyPatch.context() as patch:
        patch.setattr("postil.serving.engine.choose_tokens", lambda *_: [next(writes_a_call)])
        client = OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0)
        asked: dict[str, Any] = {"model": str(base), "messages": [{"role": "user", "content": "?"}], "tools": [TOOL]}
        plain = client.chat.completions.create(**asked).choices[0]
        chunks = list(client.chat.completions.create(**asked, stream=True))
    engine.close()
    assert plain.finish_reason == "tool_calls" and plain.message.content is None
    assert plain.message.tool_calls[0].function.name == "weather"
    assert json.loads(plain.message.tool_calls[0].function.arguments) == {"city": "Rome"}
    calls = [c.delta.tool_calls for chunk in chunks for c in chunk.choices if c.delta.tool_calls]
    assert len(calls) == 1 and calls[0][0].index == 0 and calls[0][0].function.name == "weather"
    assert chunks[-1].choices[0].finish_reason == "tool_calls" and text_of(chunks) == ""
