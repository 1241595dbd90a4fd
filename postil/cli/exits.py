"""From what went wrong to what is said about it, and to the number the shell exits with.

0 ok, 64 usage, 65 data, 66 missing input, 69 unavailable, 70 a bug of ours, 73 cannot write, 75 try again,
130 stopped by Ctrl-C, 143 stopped by SIGTERM.
"""

import difflib
import errno
from dataclasses import dataclass, replace
from typing import Any

import typer

from postil.errors import DataError, PostilError
from postil.language import current_language, say
from postil.operating_system import is_out_of_memory
from postil.problems import Problem

USAGE, UNAVAILABLE, BUG, CANNOT_WRITE, INTERRUPTED = 64, 69, 70, 73, 130

_OUT_OF_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass(frozen=True, slots=True)
class Failure:
    """What the user is told.

    Args:
        code: a stable id: the error's key in the catalogs.
        message: where, and what was found.
        hint: what to do.
        exit_code: the number the shell exits with.
        problems: what is wrong in the user's data, one by one; often empty.
        resume: the command that goes on from the last checkpoint, where there is one.
    """

    code: str
    message: str
    hint: str
    exit_code: int
    problems: tuple[Problem, ...] = ()
    resume: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The one object that `--json` prints."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "hint": self.hint}
        error["problems"] = [problem.as_dict() for problem in self.problems]
        return {"error": error, "exit_code": self.exit_code, **({"resume": self.resume} if self.resume else {})}


def describe_failure(error: BaseException) -> Failure:
    """Finds the words and the exit code for anything that may be raised; a note on it is the command that resumes."""
    return replace(_describe(error), resume=next(iter(getattr(error, "__notes__", ())), None))


def _describe(error: BaseException) -> Failure:
    if isinstance(error, DataError):
        return Failure(error.key, error.message, error.hint, error.exit_code, error.problems)
    if isinstance(error, PostilError):
        return Failure(error.key, error.message, error.hint, error.exit_code)
    if isinstance(error, typer.TyperException):
        return _usage_failure(error)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return _failure("cli.stopped", INTERRUPTED)
    if isinstance(error, OSError) and error.errno in _OUT_OF_SPACE:
        return _failure("cli.disk_full", CANNOT_WRITE, path=error.filename or ".")
    if isinstance(error, OSError) and error.errno in _NOT_ALLOWED:
        return _failure("cli.not_allowed", CANNOT_WRITE, path=error.filename or "?")
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return _failure("cli.name_too_long", CANNOT_WRITE, path=error.filename or "?")
    if is_out_of_memory(error):
        return _failure("cli.out_of_memory", UNAVAILABLE)
    return _failure("cli.bug", BUG, kind=type(error).__name__, detail=" ".join(str(error).split()) or "-")


def _failure(key: str, exit_code: int, **values: Any) -> Failure:
    return Failure(key, say(key, **values), say(f"{key}.hint", **values), exit_code)


def _usage_failure(error: typer.TyperException) -> Failure:
    """Puts the parser's complaints, which are English only, into the user's language."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "postil"
    kind, parameter = type(error).__name__, getattr(error, "param", None)
    key, values = "cli.usage.other", {"detail": error.format_message()}
    if kind == "MissingParameter" and parameter is not None:
        key, values = "cli.usage.missing", {"name": parameter.get_error_hint()}
    elif kind == "NoSuchOption":
        name = str(getattr(error, "option_name", ""))
        near = difflib.get_close_matches(name, getattr(error, "possibilities", None) or (), n=1)
        key, values = "cli.usage.no_such_option", {"name": name}
        if near:
            key, values = "cli.usage.nearest_option", {"name": name, "near": near[0]}
    elif kind == "BadParameter" and parameter is not None:
        detail = f" ({error.message})" if current_language() == "en" else f"（{error.message}）"
        key, values = "cli.usage.bad_value", {"name": parameter.get_error_hint(), "detail": detail}
    return Failure(key, say(key, **values), say("cli.usage.hint", command=command), USAGE)
