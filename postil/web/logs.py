"""What the service writes down about itself: one line of JSON for each thing that happened, without secrets.

Every line carries the request's id where there is one, so that "error 500, request req_..." on a screen leads to its
trace here. Whatever users typed stands in it as JSON spells it: no line break and no escape of a terminal gets through.
"""

import json
import logging
import logging.handlers
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MAX_LOG_BYTES, NUM_LOGS = 10 << 20, 5

request_id: ContextVar[str] = ContextVar("request_id", default="")
job_id: ContextVar[str] = ContextVar("job_id", default="")

_FIELDS = ("method", "path", "status", "duration_ms", "account", "child", "code")


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, message, identifiers, and where it was given the traceback."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        named = {"request_id": request_id.get(), "job_id": job_id.get()}
        line |= {name: value for name, value in named.items() if value}
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        if record.exc_info:
            line["trace"] = record.exc_text or self.formatException(record.exc_info)
        # ASCII only: signs that turn the order of a line, or end it, are spelled out
        return json.dumps(line, default=str)


def log_to(folder: Path, name: str, filters: tuple[logging.Filter, ...] = ()) -> None:
    """Sends everything that this process logs to `folder/name.log`, rotated.

    Args:
        filters: see every record first, such as the one that takes secrets out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    log = logging.handlers.RotatingFileHandler(
        folder / f"{name}.log", maxBytes=MAX_LOG_BYTES, backupCount=NUM_LOGS, encoding="utf-8"
    )
    log.setFormatter(JsonLines())
    for one in filters:
        log.addFilter(one)
    root = logging.getLogger()
    root.handlers[:] = [log]
    root.setLevel(logging.INFO)
    for quiet in ("httpx2", "httpcore2", "uvicorn.access"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
