"""Linux's Landlock: a process gives up every file but those named, and the network, for good. No root is needed."""

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# The three system calls have the same numbers on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_SET_NO_NEW_PRIVILEGES = 38
_EXECUTE = 1 << 0
_READ_FILE, _READ_FOLDER, _WRITE_FILE, _TRUNCATE = 1 << 2, 1 << 3, 1 << 1, 1 << 14
# Make and remove files and folders; not devices, sockets and pipes.
_CHANGE_FOLDER = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8
_DEVICE_CONTROL = 1 << 15
_FILE_RIGHTS = _EXECUTE | _READ_FILE | _WRITE_FILE | _TRUNCATE | _DEVICE_CONTROL
# How many rights over files each version of the kernel's interface knows, and how long its structure is.
_NUM_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_TCP = 0b11
_SIGNALS_AND_ABSTRACT_SOCKETS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def landlock_version() -> int:
    """The kernel's version of Landlock, from 4 on with the network; 0 where there is none."""
    if sys.platform != "linux":
        return 0
    return max(_system_call(_CREATE_RULESET, None, 0, _ASK_VERSION), 0)


def confine(
    readable: Sequence[Path],
    writable: Sequence[Path] = (),
    executable: Sequence[Path] = (),
    devices: Sequence[Path] = (),
) -> bool:
    """From now on this process (and its children) opens nothing else, runs no other program and connects nowhere.

    Args:
        readable: files and folders with all that is below; those that do not exist are passed over.
        writable: folders in which files may also be made, changed and removed.
        executable: programs that may be run, with the loader that they need (`program_files`); none by default.
        devices: files such as /dev/null that may be written and controlled, not made.

    Returns:
        False where the kernel has no Landlock; nothing has changed then.
    """
    version = landlock_version()
    if not version:
        return False
    handled = (1 << _NUM_RIGHTS.get(version, 16)) - 1
    rules = _Ruleset(handled, _TCP if version >= 4 else 0, _SIGNALS_AND_ABSTRACT_SOCKETS if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _system_call(_CREATE_RULESET, ctypes.byref(rules), size, 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(ruleset, path, (_READ_FILE | _READ_FOLDER) & handled)
        for path in writable:
            _allow(ruleset, path, (_READ_FILE | _READ_FOLDER | _WRITE_FILE | _TRUNCATE | _CHANGE_FOLDER) & handled)
        for path in executable:
            _allow(ruleset, path, (_EXECUTE | _READ_FILE) & handled)
        for path in devices:
            _allow(ruleset, path, (_READ_FILE | _WRITE_FILE | _DEVICE_CONTROL) & handled)
        # A process that could gain rights by running a program may not give others up.
        ctypes.CDLL(None).prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return _system_call(_RESTRICT_SELF, ruleset, 0) == 0
    finally:
        os.close(ruleset)


def program_files(program: Path) -> list[Path]:
    """What running a program needs to execute: itself, and the loader of shared libraries that this process has."""
    try:
        maps = Path("/proc/self/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return [program]
    loaded = {line.split(maxsplit=5)[-1] for line in maps if "/" in line}
    return [program, *(Path(name) for name in loaded if Path(name).name.startswith(("ld-", "ld.")))]


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        parent = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
    except OSError:
        return
    try:
        allowed = rights if path.is_dir() else rights & _FILE_RIGHTS
        rule = _PathRule(allowed, parent)
        _system_call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(parent)


def _system_call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return int(libc.syscall(ctypes.c_long(number), *arguments))
