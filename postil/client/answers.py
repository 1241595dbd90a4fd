"""Questions and answers over /v1; whoever has the `openai` package may use that instead."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from postil.client.transport import Transport
from postil.errors import TryAgainError

ANSWER_SECONDS = 600.0


def ask(
    transport: Transport, model: str, messages: str | Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> str:
    """The whole answer; errors as `Transport.ask`."""
    body = _body(model, messages, options)
    reply = transport.send("POST", "/v1/chat/completions", json=body, timeout=ANSWER_SECONDS)
    return str(reply.json()["choices"][0]["message"]["content"])


def ask_in_pieces(
    transport: Transport, model: str, messages: str | Sequence[Mapping[str, Any]], options: Mapping[str, Any]
) -> Iterator[str]:
    """The answer while it is written.

    Raises:
        TryAgainError: it broke off.
    """
    body = {**_body(model, messages, options), "stream": True}
    with transport.stream("POST", "/v1/chat/completions", json=body, timeout=ANSWER_SECONDS) as reply:
        for line in reply.iter_lines():
            if line == "data: [DONE]":
                return
            if line.startswith("data: "):
                yield from _text_of(json.loads(line[6:]))
    raise TryAgainError("client.broke", reason="")


def _body(model: str, messages: str | Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    spoken = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
    return {**options, "model": model, "messages": spoken}


def _text_of(piece: Mapping[str, Any]) -> Iterator[str]:
    if "error" in piece:
        raise TryAgainError("client.broke", reason=piece["error"].get("message", ""))
    for choice in piece.get("choices", ()):
        if text := choice["delta"].get("content"):
            yield text
