"""What the operating system says when it refuses: in the user's language, or told apart."""

import errno

from postil.language import current_language, has_sentence, say

_MEMORY_WORDS = (
    *("can't allocate memory", "cannot allocate memory", "not enough memory", "out of memory"),
    *("bad_alloc", "bad allocation"),
)


def is_out_of_memory(error: BaseException) -> bool:
    """True for what Python, the system and torch raise when memory does not suffice, the device's included.

    By name and text, so that asking does not import torch.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _MEMORY_WORDS)


def os_reason(error: OSError) -> str:
    """The reason in words: "no space left on the disk". Rare ones stay as the system spells them."""
    key = f"os.{errno.errorcode.get(error.errno or 0, '').lower()}"
    if has_sentence(key, current_language()):
        return say(key)
    return error.strerror or str(error) or type(error).__name__
