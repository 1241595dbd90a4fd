"""A JSON path such as "messages[2].content": how a problem names a place inside a record, and how a fix reaches it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from postil.data.checks.json_text import inside_json

_STEP = re.compile(r"\[(\d+)\]|\.([^.\[\]]+)")


def set_path(fields: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The fields with `value` at `path`; a header is a path too, whatever dots and brackets stand in it.

    Raises:
        KeyError: there is no such place (a bug of the check that named it).
    """
    name, steps = _split(fields, path)
    return {**fields, name: _set(fields.get(name), steps, value) if steps else value}


def _split(fields: Mapping[str, Any], path: str) -> tuple[str, list[int | str]]:
    if path in fields:
        return path, []
    for name in sorted(fields, key=len, reverse=True):
        rest = path[len(name) :]
        if path.startswith(name) and rest[:1] in ("[", "."):
            return name, [int(step[1]) if step[1] else step[2] for step in _STEP.finditer(rest)]
    raise KeyError(path)


def _set(holder: Any, steps: Sequence[int | str], value: Any) -> Any:
    if not steps:
        return value
    if isinstance(holder, str):
        changed = inside_json(holder, lambda parsed: _set(parsed, steps, value))
        if changed is None:
            raise KeyError(steps[0])
        return changed
    step, rest = steps[0], steps[1:]
    if isinstance(holder, list) and isinstance(step, int) and step < len(holder):
        return [_set(item, rest, value) if i == step else item for i, item in enumerate(holder)]
    if isinstance(holder, Mapping) and isinstance(step, str) and (rest == [] or step in holder):
        return {**holder, step: _set(holder.get(step), rest, value)}
    raise KeyError(step)
