"""Functions that an assistant may call, and its calls, in every spelling: OpenAI's, its older one, and ShareGPT's."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from postil.data.conversations import ToolCall

_decoder = msgspec.json.Decoder()


class ToolFault(ValueError):
    """Something about tools that cannot be read.

    Args:
        path: the way to it from the value that was read, such as "[1].function.arguments"; "" is the value itself.
        found: what stands there.
    """

    def __init__(self, path: str, found: Any):
        super().__init__(path)
        self.path = path
        self.found = found


def read_tools(value: Any) -> tuple[Mapping[str, Any], ...]:
    """Schemas as templates take them: {"type": "function", "function": {"name": ..., "parameters": ...}}.

    Args:
        value: a list of schemas or a single one, with or without the outer object; or any of these as JSON text.

    Raises:
        ToolFault: it is no JSON, or a schema has no name.
    """
    value = _from_text(value, "")
    tools = []
    for path, item in _items(value):
        schema = plain_json(_from_text(item, path))
        if isinstance(schema, dict) and isinstance(schema.get("function"), dict):
            inner, path = schema["function"], f"{path}.function"
        else:
            inner = schema
            schema = {"type": "function", "function": inner}
        if not isinstance(inner, dict) or not _is_name(inner.get("name")):
            raise ToolFault(path, item)
        tools.append(schema)
    return tuple(tools)


def read_calls(value: Any) -> tuple[tuple[ToolCall, ...], tuple[str, ...]]:
    """The calls, and the ids of those that have one.

    Args:
        value: {"name": ..., "arguments": ...}, the same inside {"id": ..., "function": ...}, or a list of either; also
            as JSON text. Arguments are an object, JSON text of one, or nothing.

    Raises:
        ToolFault: it is no JSON, a call has no name, or its arguments are no object.
    """
    calls: list[ToolCall] = []
    ids: list[str] = []
    value = _from_text(value, "")
    for path, item in _items(value):
        if not isinstance(item, dict):
            raise ToolFault(path, item)
        outer, inner = path, item
        if isinstance(item.get("function"), dict):
            outer, inner = f"{path}.function", item["function"]
        if not _is_name(inner.get("name")):
            raise ToolFault(outer, item)
        key = "arguments" if "arguments" in inner else "parameters"
        calls.append(ToolCall(inner["name"], _arguments(inner.get(key), f"{outer}.{key}")))
        if item.get("id") not in (None, ""):
            ids.append(str(item["id"]))
    if not calls:
        raise ToolFault("", value)
    return tuple(calls), tuple(ids)


def looks_like_calls(value: Any) -> bool:
    """True for a list of calls, also as JSON text: the answer column of data sets that teach nothing but calling."""
    if not isinstance(value, str | list) or (isinstance(value, str) and not value.lstrip().startswith("[{")):
        return False
    try:
        items = _from_text(value, "")
        return bool(items) and all(isinstance(i, dict) and "arguments" in i for i in items) and bool(read_calls(items))
    except ToolFault:
        return False


def plain_json(value: Any) -> Any:
    """The value with numbers as JSON and templates write them (reading keeps them as Decimal)."""
    match value:
        case Decimal():
            return float(value)
        case dict():
            return {key: plain_json(item) for key, item in value.items()}
        case list():
            return [plain_json(item) for item in value]
    return value


def _arguments(value: Any, path: str) -> Mapping[str, Any]:
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    arguments = plain_json(_from_text(value, path))
    if not isinstance(arguments, dict):
        raise ToolFault(path, value)
    return arguments


def _from_text(value: Any, path: str) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return _decoder.decode(value)
    except (ValueError, RecursionError) as error:
        raise ToolFault(path, value) from error


def _items(value: Any) -> Sequence[tuple[str, Any]]:
    return [(f"[{i}]", item) for i, item in enumerate(value)] if isinstance(value, list) else [("", value)]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
