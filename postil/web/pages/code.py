"""What a page does, as code that does the same: a file for the shell, a call of Python, a call of curl.

Everything is filled in but the key, which a page never shows again: programs find it in POSTIL_API_KEY.
"""

import json
import shlex
from collections.abc import Mapping
from typing import Any

import yaml
from fastapi import Request

Snippet = tuple[str, str]
"""The name of a language and a text in it."""
KEY_VARIABLE = "POSTIL_API_KEY"
_WIDTH = 88


def service_address(request: Request) -> str:
    """The address by which the reader knows this service, such as "http://127.0.0.1:8321"."""
    return str(request.base_url).rstrip("/")


def curl_snippet(address: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Snippet:
    """A call of the API for a shell.

    Args:
        path: of the API, such as "/api/jobs".
        body: is sent as JSON.
    """
    verb = "" if method == "GET" else f" -X {method}"
    parts = [f"curl{verb} {shlex.quote(address + path)}", f'-H "Authorization: Bearer ${KEY_VARIABLE}"']
    if body is not None:
        parts.append('-H "Content-Type: application/json"')
        parts.append(f"-d {shlex.quote(json.dumps(body, ensure_ascii=False, indent=2))}")
    return "curl", f"{_key_line(address)}\n" + " \\\n  ".join(parts)


def python_snippet(address: str, *lines: str) -> Snippet:
    """Lines in which `client` is signed in."""
    body = "\n".join(lines).replace("\n", "\n    ")
    opened = python_call("postil.Client", address)
    return "Python", f"{_key_line(address)}\nimport postil\n\nwith {opened} as client:\n    {body}"


def yaml_snippet(settings: Mapping[str, Any], first_line: str) -> Snippet:
    """Settings of a run as its file.

    Args:
        settings: dotted.
        first_line: what the file is for, as a command.
    """
    nested: dict[str, dict[str, Any]] = {}
    for path, value in settings.items():
        part, _, name = path.partition(".")
        nested.setdefault(part, {})[name] = list(value) if isinstance(value, tuple) else value
    return "YAML", f"# {first_line}\n" + yaml.safe_dump(nested, sort_keys=False, allow_unicode=True).rstrip("\n")


def python_call(name: str, *given: Any, **named: Any) -> str:
    """A call, on one line where it fits."""
    arguments = [python_value(value) for value in given]
    arguments += [f"{key}={python_value(value)}" for key, value in named.items()]
    line = f"{name}({', '.join(arguments)})"
    if len(line) <= _WIDTH:
        return line
    return f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def python_value(value: Any) -> str:
    """A plain value as Python writes it, texts in double quotes."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{python_value(k)}: {python_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(python_value, value)) + "]"
    return repr(value)


def _key_line(address: str) -> str:
    return f"# export {KEY_VARIABLE}=pk_...   <- {address}/account/keys"
