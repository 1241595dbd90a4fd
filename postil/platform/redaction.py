"""Keeps secrets out of logs and of what `postil doctor` prints: keys, tokens, passwords, addresses with a password.

It is the last of several walls: nothing here logs a secret on purpose. What libraries say, and what a user pastes into
the wrong field, passes through here, too.
"""

import logging
import re
from typing import Any

GONE = "[redacted]"
# Each keeps what leads to the secret (the first group) and loses the secret.
_SECRETS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(\bpk_[a-z0-9]{16}_)[A-Za-z0-9]+",
        r"(\bhf_)[A-Za-z0-9]{8,}",
        r"(\b(?:ms|sk)-)[A-Za-z0-9_-]{16,}",
        r"(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]+",
        r"(\b(?:cookie|set-cookie|authorization|x-api-key)[\"']?\s*[:=]\s*[\"']?)[^\r\n\"]+",
        # "tokens" and "sessions" are counted, not kept secret
        r"(\b[\w-]*(?:password|passwd|secret|token|api[_-]?key|session)(?!s)[\w-]*[\"']?\s*[:=]\s*[\"']?)[^\s\"',;&}]+",
        r"(://[^/\s:@]*:)[^@\s/]+(?=@)",
        r"(/links/)[\w-]{20,}",
    )
)


def redact(text: str) -> str:
    """The text without secrets."""
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{GONE}", text)
    return text


class Redaction(logging.Filter):
    """A filter for handlers: what is logged, with its arguments and its trace, loses its secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets every record through, changed where need be."""
        message = record.getMessage()
        if (harmless := redact(message)) != message:
            record.msg, record.args = harmless, ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        for name, value in list(vars(record).items()):
            if name not in _STANDARD and isinstance(value, str):
                setattr(record, name, redact(value))
        return True


# What every record carries; our own fields beside them (`extra=`) are looked at one by one.
_STANDARD: frozenset[Any] = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


def redact_logs() -> None:
    """Puts the filter on every handler of the root logger; called after logging is set up."""
    for handler in logging.getLogger().handlers:
        if not any(isinstance(old, Redaction) for old in handler.filters):
            handler.addFilter(Redaction())
