"""What the operating system says when it refuses, in the user's language."""

import errno

from postil.language import current_language, has_sentence, say


def os_reason(error: OSError) -> str:
    """The reason in words: "no space left on the disk". Rare ones stay as the system spells them."""
    key = f"os.{errno.errorcode.get(error.errno or 0, '').lower()}"
    if has_sentence(key, current_language()):
        return say(key)
    return error.strerror or str(error) or type(error).__name__
