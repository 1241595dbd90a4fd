"""What a page does, as code that does the same: a file for the shell, a call of Python, a call of curl.

Everything is filled in but the key, which a page never shows again: programs find it in POSTIL_API_KEY.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import yaml
from fastapi import Request

from postil.platform.bases.bases import BaseView
from postil.platform.datasets.views import DatasetView
from postil.platform.jobs.requests import JobRequest

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


def training_snippets(address: str, dataset: DatasetView, base: BaseView, asked: JobRequest) -> tuple[Snippet, ...]:
    """A job for the shell, on one's own machine; and for Python and curl, on this service."""
    entries = {f.name: getattr(asked, f.name) for f in fields(asked) if getattr(asked, f.name) not in (None, {})}
    dataset_id = entries.pop("dataset_id")
    call = python_call("client.train", dataset_id, **entries)
    watching = "for seen in client.watch(job.id):\n    print(seen.state, seen.progress.percent)"
    return (
        yaml_snippet(run_settings(dataset, base, asked), "postil train --config run.yaml"),
        python_snippet(address, f"job = {call}", watching),
        curl_snippet(address, "POST", "/api/jobs", {"dataset_id": dataset_id, **entries}),
    )


def run_settings(dataset: DatasetView, base: BaseView, asked: JobRequest) -> dict[str, Any]:
    """The settings of the same run beside the user's file, or the corrected one where there are edits; dotted."""
    stem, dot, suffix = dataset.file_name.rpartition(".")
    options = dataset.options
    given = {
        "data.file": f"{stem}-corrected.{suffix}" if dataset.num_edits and dot else dataset.file_name,
        "data.encoding": options.encoding,
        "data.map": dict(options.columns) or None,
        "data.single_turn": options.single_turn or None,
        "data.drop_bad": True,
        "data.kind": asked.kind or options.kind,
        "model.base": base.name,
        "model.revision": base.revision,
        "model.hub": base.source if base.source == "modelscope" else None,
        "training.preset": asked.preset,
        "training.seed": asked.seed,
        **asked.settings,
    }
    return {name: value for name, value in given.items() if value is not None}


def python_call(name: str, /, *given: Any, **named: Any) -> str:
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
