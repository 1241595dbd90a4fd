"""The other side of `sandbox.py`: gives up what it does not need, does one job, and sends frames. `JOBS` lists all."""

import mimetypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from postil.data.files.landlock import confine
from postil.errors import CannotWriteError, DataError

# What Python and the libraries read beside Python's own folders; openpyxl wants the list of file types.
_SYSTEM_PATHS = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/localtime"),
    *("/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu"),
    *mimetypes.knownfiles,
)


def _sheets(path: str, only: Sequence[str]) -> Iterator[Any]:
    from postil.data.files.old_workbooks import stream_sheets

    return stream_sheets(Path(path), only)


def _unpack(path: str) -> Iterator[Any]:
    from postil.data.files.archives import stream_members

    return stream_members(Path(path))


def _check(path: str, options: Mapping[str, Any], system: str | None, language: str, scratch: str) -> Iterator[Any]:
    """The report as JSON has it, its problems in frames of their own: there may be many."""
    from postil.data.records import read_records
    from postil.data.validation import validate_dataset

    _speak(language)
    report = validate_dataset(read_records(Path(path), _options(options)), system).as_dict()
    problems = report.pop("problems", [])
    for start in range(0, len(problems), 500):
        yield {"problems": problems[start : start + 500]}
    yield report


def _examine(
    path: str,
    options: Mapping[str, Any],
    name: str,
    overlay: Mapping[str, Any],
    fixes: Sequence[str],
    purpose: Any,
    tokenizer: str,
    token_seconds: float,
    language: str,
    scratch: str,
) -> Iterator[Any]:
    """What a service keeps of a file: see `examination.py`."""
    from postil.data.checks.overlay import overlay_from_dict
    from postil.data.examination import Wanted, examine

    _speak(language)
    wanted = Wanted(overlay_from_dict(overlay), tuple(fixes), purpose, Path(tokenizer), token_seconds)
    return examine(Path(path), _options(options), name, wanted)


def _view(
    path: str,
    options: Mapping[str, Any],
    name: str,
    overlay: Mapping[str, Any],
    offset: int,
    limit: int,
    places: Sequence[Any],
    unlearned: bool,
    scratch: str,
) -> Iterator[Any]:
    from postil.data.checks.overlay import overlay_from_dict
    from postil.data.checks.plain_problems import read_place
    from postil.data.viewing import view_rows

    wanted = {read_place(place) for place in places}
    edits = overlay_from_dict(overlay)
    return view_rows(
        Path(path), _options(options), name, edits, offset=offset, limit=limit, places=wanted, unlearned=unlearned
    )


def _correct(
    path: str, options: Mapping[str, Any], name: str, overlay: Mapping[str, Any], language: str, scratch: str
) -> Iterator[Any]:
    """Writes the corrected file into the scratch folder; says what it is called there."""
    from postil.data.checks.overlay import overlay_from_dict
    from postil.data.corrected.single_file import write_single_file

    _speak(language)
    yield write_single_file(Path(path), _options(options), name, overlay_from_dict(overlay), Path(scratch))


def _options(values: Mapping[str, Any]) -> Any:
    from postil.data.options import ReadOptions

    return msgspec.convert(values, ReadOptions)


def _speak(language: str) -> None:
    from postil.language import LANGUAGES, use_language

    use_language(next((known for known in LANGUAGES if known == language), None))


JOBS: dict[str, Callable[..., Iterator[Any]]] = {
    "sheets": _sheets,
    "unpack": _unpack,
    "check": _check,
    "examine": _examine,
    "view": _view,
    "correct": _correct,
}


def main() -> None:
    """Takes one request, applies its limits, does its job."""
    # Frames go out on a channel of their own: whatever a library prints must not fall between them.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        request = msgspec.msgpack.decode(sys.stdin.buffer.read())
        try:
            _give_up_rights(request["arguments"], request["limits"])
            for value in JOBS[request["job"]](**request["arguments"]):
                _send(out, "item", value)
            _send(out, "end", None)
        except BrokenPipeError:  # nobody listens any more
            os._exit(0)
        except DataError as error:
            _send(out, "error", [error.key, error.values])
        except CannotWriteError as error:
            _send(out, "cannot_write", [error.key, error.values])
        except MemoryError:
            _send(out, "no_memory", None)
        except BaseException as error:  # a parser's panic is no Exception
            _send(out, "failed", type(error).__name__)
        out.flush()
        # Without the interpreter's farewell, in which a damaged library could still crash.
        os._exit(0)


def _send(out: BinaryIO, kind: str, value: Any) -> None:
    try:
        data = msgspec.msgpack.encode([kind, value], enc_hook=str)
    except UnicodeEncodeError:  # half a character, as a damaged workbook may hold one
        data = msgspec.msgpack.encode([kind, _printable(value)], enc_hook=str)
    out.write(len(data).to_bytes(4, "big") + data)
    out.flush()


def _printable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case Mapping():
            return {_printable(key): _printable(item) for key, item in value.items()}
        case list() | tuple():
            return [_printable(item) for item in value]
        case _:
            return value


def _give_up_rights(arguments: Mapping[str, Any], limits: Mapping[str, Any]) -> None:
    _limit_resources(limits)
    python = {sys.prefix, sys.base_prefix, *sys.path}
    readable = [Path(p) for p in (arguments["path"], *python, *_SYSTEM_PATHS) if p and p != os.sep]
    confine(readable, [Path(arguments["scratch"])] if arguments.get("scratch") else [])


def _limit_resources(limits: Mapping[str, Any]) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    wanted = {
        "RLIMIT_CPU": limits["cpu_seconds"],
        "RLIMIT_FSIZE": limits["file_bytes"],
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 256,
    }
    if used := _address_space():
        wanted["RLIMIT_AS"] = used + limits["memory_bytes"]
    for name, value in wanted.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Python leaves SIGXCPU to the system, which ends the process with it: that tells why.
        resource.setrlimit(kind, (value, hard if name == "RLIMIT_CPU" else value))


def _address_space() -> int:
    """Bytes that this process has mapped already; 0 where only Linux could tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
