"""Chat completions as `openai` clients speak them: what is read from a request, and the shapes of what is answered.

Pure functions over JSON, without torch. Keys that nobody here knows are ignored. Keys that are known and would change
the answer in a way that is not built (logprobs, logit_bias, pictures ...) are refused by name, so that nothing is lost
in silence. Values of the wrong kind are refused with the name of the parameter, status 400, never 422.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from postil.data.conversations import Message, Role, ToolCall
from postil.errors import (
    ConflictError,
    DataError,
    MissingInputError,
    NotAllowedError,
    PostilError,
    TooManyError,
    TryAgainError,
    UnavailableError,
    UsageError,
)

MAX_CHOICES, MAX_STOPS, MAX_SEED = 16, 16, 2**63 - 17
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
# Known to clients, not built here; each with the values that ask for nothing.
_NOT_BUILT: dict[str, tuple[Any, ...]] = {
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "audio": (),
    "modalities": (["text"],),
    "functions": ([],),
    "chat_template": (),  # of a stranger; the base's own is used
    "web_search_options": (),
    "prediction": (),
}
_FORMATS = ("text", "json_object")


class WireError(UsageError):
    """A request that is wrong.

    Args:
        param: the entry that is wrong, such as "messages[0].role".
        code: OpenAI's word for it, where there is one.
    """

    def __init__(self, key: str, *, param: str | None = None, code: str | None = None, **values: Any):
        super().__init__(key, param=param or "-", **values)
        self.param, self.code = param, code


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What a request asks for.

    Args:
        model: a name; whether it answers here is not known yet.
        max_tokens: None where the request does not say.
        tools: as templates take them; empty too where `tool_choice` is "none".
    """

    model: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = None
    num_choices: int = 1
    seed: int | None = None
    stops: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    is_streamed: bool = False
    includes_usage: bool = False


def parse_chat_request(body: Any) -> ChatRequest:
    """Reads the body of POST /v1/chat/completions.

    Raises:
        WireError: not what the wire says; `param` names the entry.
    """
    if not isinstance(body, Mapping):
        raise WireError("serving.not_an_object")
    _refuse_not_built(body)
    options = body.get("stream_options")
    limits = [_whole(body, name, 1, 2**31) for name in ("max_completion_tokens", "max_tokens")]
    return ChatRequest(
        model=_model(body),
        messages=_messages(body.get("messages")),
        tools=_tools(body),
        temperature=_number(body, "temperature", 0, 2, 1.0),
        top_p=_number(body, "top_p", 0, 1, 1.0, above=True),
        max_tokens=next((limit for limit in limits if limit is not None), None),
        num_choices=_whole(body, "n", 1, MAX_CHOICES) or 1,
        seed=_whole(body, "seed", -(2**63), MAX_SEED),
        stops=_stops(body.get("stop")),
        presence_penalty=_number(body, "presence_penalty", -2, 2, 0.0),
        frequency_penalty=_number(body, "frequency_penalty", -2, 2, 0.0),
        is_streamed=_flag(body, "stream"),
        includes_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
    )


def _refuse_not_built(body: Mapping[str, Any]) -> None:
    for name, harmless in _NOT_BUILT.items():
        if body.get(name) is not None and body[name] not in harmless:
            raise WireError("serving.not_supported", param=name, code="unsupported_parameter")
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else wanted
    if kind is not None and kind not in _FORMATS:
        raise WireError("serving.not_supported", param="response_format", code="unsupported_parameter")


def _model(body: Mapping[str, Any]) -> str:
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise WireError("serving.bad_value", param="model", wanted="a model's name", found=_shown(name))
    return name


def _messages(given: Any) -> tuple[Message, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        raise WireError("serving.bad_value", param="messages", wanted="[{role, content}, ...]", found=_shown(given))
    return tuple(_message(entry, f"messages[{i}]") for i, entry in enumerate(given))


def _message(entry: Any, at: str) -> Message:
    if not isinstance(entry, Mapping):
        raise WireError("serving.bad_value", param=at, wanted="{role, content}", found=_shown(entry))
    role = _ROLES.get(entry["role"]) if isinstance(entry.get("role"), str) else None
    if role is None:
        names = ", ".join(_ROLES)
        raise WireError("serving.bad_value", param=f"{at}.role", wanted=names, found=_shown(entry.get("role")))
    calls = _calls(entry.get("tool_calls"), f"{at}.tool_calls") if role == "assistant" else ()
    content = _content(entry.get("content"), f"{at}.content", may_be_empty=bool(calls))
    return Message(role, content, tool_calls=calls)


def _content(given: Any, at: str, may_be_empty: bool) -> str:
    if isinstance(given, str):
        return given
    if given is None and may_be_empty:
        return ""
    if not isinstance(given, Sequence) or not given:
        raise WireError("serving.bad_value", param=at, wanted="text", found=_shown(given))
    texts = []
    for i, part in enumerate(given):
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = part.get("text") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(text, str):
            raise WireError("serving.text_only", param=f"{at}[{i}]", found=_shown(kind))
        texts.append(text)
    return "\n".join(texts)


def _calls(given: Any, at: str) -> tuple[ToolCall, ...]:
    if given is None:
        return ()
    calls = []
    for i, entry in enumerate(given if isinstance(given, Sequence) else [given]):
        try:
            function = entry["function"]
            arguments = function["arguments"]
            read = json.loads(arguments) if isinstance(arguments, str) else arguments
            calls.append(ToolCall(str(function["name"]), dict(read)))
        except (TypeError, KeyError, ValueError):
            wanted = '{"function": {"name", "arguments": "{...}"}}'
            raise WireError("serving.bad_value", param=f"{at}[{i}]", wanted=wanted, found=_shown(entry)) from None
    return tuple(calls)


def _tools(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    given, choice = body.get("tools"), body.get("tool_choice")
    if given is None or choice == "none":
        return ()
    if choice not in (None, "auto"):
        raise WireError("serving.not_supported", param="tool_choice", code="unsupported_parameter")
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    if not is_list or not all(isinstance(t, Mapping) and isinstance(t.get("function"), Mapping) for t in given):
        wanted = '[{"type": "function", "function": {...}}]'
        raise WireError("serving.bad_value", param="tools", wanted=wanted, found=_shown(given))
    return tuple(given)


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given or []
    if not isinstance(stops, Sequence) or len(stops) > MAX_STOPS or not all(isinstance(s, str) for s in stops):
        raise WireError("serving.bad_value", param="stop", wanted=f"text, 1 to {MAX_STOPS}", found=_shown(given))
    return tuple(stop for stop in stops if stop)


def _number(
    body: Mapping[str, Any], name: str, low: float, high: float, default: float, *, above: bool = False
) -> float:
    value = body.get(name)
    if value is None:
        return default
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or (above and value == low):
        raise WireError("serving.bad_value", param=name, wanted=f"{low} ... {high}", found=_shown(value))
    return float(value)


def _whole(body: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise WireError("serving.bad_value", param=name, wanted=f"{low} ... {high}", found=_shown(value))
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise WireError("serving.bad_value", param=name, wanted="true, false", found=_shown(value))
    return bool(value)


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)[:80]


@dataclass(frozen=True, slots=True)
class Reply:
    """What all parts of one answer say about it.

    Args:
        id: "chatcmpl-...".
        created: seconds since 1970.
        fingerprint: says which base answered.
    """

    id: str
    created: int
    model: str
    fingerprint: str

    def completion(self, choices: Sequence[Mapping[str, Any]], usage: Mapping[str, int]) -> dict[str, Any]:
        """A whole answer."""
        return self._frame("chat.completion") | {"choices": list(choices), "usage": dict(usage)}

    def chunk(
        self, index: int, delta: Mapping[str, Any], finish_reason: str | None = None, *, with_usage: bool = False
    ) -> dict[str, Any]:
        """A part of one choice.

        Args:
            with_usage: the stream ends with a chunk about usage, so all others say that they have none.
        """
        choice = {"index": index, "delta": dict(delta), "logprobs": None, "finish_reason": finish_reason}
        return self._frame("chat.completion.chunk") | {"choices": [choice]} | ({"usage": None} if with_usage else {})

    def usage_chunk(self, usage: Mapping[str, int]) -> dict[str, Any]:
        """The last chunk where usage was asked for."""
        return self._frame("chat.completion.chunk") | {"choices": [], "usage": dict(usage)}

    def _frame(self, kind: str) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def choice(index: int, text: str, calls: Sequence[Mapping[str, Any]], finish_reason: str) -> dict[str, Any]:
    """One answer of a completion; `calls` as `ToolText` gives them."""
    content = text if not calls else text.strip() or None
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if calls:
        message["tool_calls"] = [dict(call) for call in calls]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason}


def usage(num_prompt_tokens: int, num_answer_tokens: int) -> dict[str, int]:
    """What was read and written."""
    return {
        "prompt_tokens": num_prompt_tokens,
        "completion_tokens": num_answer_tokens,
        "total_tokens": num_prompt_tokens + num_answer_tokens,
    }


def model_entry(name: str, created: int, **more: Any) -> dict[str, Any]:
    """One line of the list of models."""
    return {"id": name, "object": "model", "created": created, "owned_by": "postil", **more}


def model_list(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """GET /v1/models."""
    return {"object": "list", "data": list(entries)}


def sse(event: Mapping[str, Any] | Literal["[DONE]"]) -> bytes:
    """One event of a stream."""
    text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text}\n\n".encode()


@dataclass(frozen=True, slots=True)
class ErrorReply:
    """A refusal on the wire.

    Args:
        headers: Retry-After, and x-should-retry where a client must not try the same again.
    """

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]


_KINDS: tuple[tuple[type[PostilError], int, str], ...] = (
    (TooManyError, 429, "rate_limit_error"),
    (TryAgainError, 503, "server_error"),
    (NotAllowedError, 401, "authentication_error"),
    (ConflictError, 409, "invalid_request_error"),
    (MissingInputError, 404, "invalid_request_error"),
    (UsageError, 400, "invalid_request_error"),
    (DataError, 400, "invalid_request_error"),
    (UnavailableError, 503, "server_error"),
)
_CODES = {
    "serving.no_such_model": "model_not_found",
    "generation.prompt_too_long": "context_length_exceeded",
    "serving.bad_key": "invalid_api_key",
    "serving.queue_full": "queue_full",
    "serving.tools_unknown": "unsupported_parameter",
}


def error_reply(error: PostilError) -> ErrorReply:
    """OpenAI's shape of an error, with its status."""
    status, kind = next(((s, k) for t, s, k in _KINDS if isinstance(error, t)), (500, "server_error"))
    if isinstance(error, NotAllowedError) and error.is_signed_in:
        status, kind = 403, "permission_error"
    param, code = getattr(error, "param", None), getattr(error, "code", None)
    if error.key == "serving.no_such_model":
        param = "model"
    elif error.key == "serving.tools_unknown":
        param = "tools"
    headers = {}
    if isinstance(error, TryAgainError):
        headers["retry-after"] = str(max(1, round(error.retry_after_seconds)))
    if isinstance(error, ConflictError | UnavailableError):
        headers["x-should-retry"] = "false"  # clients try 409 and 503 again by themselves, and here it helps nothing
    return ErrorReply(status, error_body(str(error), kind, param, code or _CODES.get(error.key, error.key)), headers)


def error_body(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The shape alone."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
