"""Tells glibc to keep the memory that a step frees, instead of giving it back to the kernel and asking again.

Each step allocates the same large blocks. By default glibc maps and unmaps them one by one, and the page faults cost a
fifth of a CPU step.
"""

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # mallopt's names for them, from malloc.h
_TOP_PAD_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """Takes effect for the whole process; does nothing without glibc.

    Returns:
        True where all three settings were accepted.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1), (_TOP_PAD, _TOP_PAD_BYTES))
    accepted = [mallopt(name, value) == 1 for name, value in settings]
    return all(accepted)
