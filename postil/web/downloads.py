"""Files out: streamed, named so that any browser saves them, never shown in a page."""

import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

from fastapi.responses import StreamingResponse

_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


def attachment(
    file_name: str,
    chunks: Iterator[bytes],
    media_type: str,
    num_bytes: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> StreamingResponse:
    """A file as an answer.

    Args:
        file_name: in any script; clients that know ASCII only get the plain part of it.
        num_bytes: None where it is made while it is sent.
    """
    plain = _PLAIN.sub("_", file_name).strip("._") or "file"
    named = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
    sent = {**(headers or {}), "content-disposition": named}
    if num_bytes is not None:
        sent["content-length"] = str(num_bytes)
    return StreamingResponse(chunks, media_type=media_type, headers=sent)
