"""Style, script and icon, from memory; addresses carry a mark of the content, so that browsers keep them for ever."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

STATIC = Path(__file__).parents[1] / "static"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file.

    Args:
        mark: of its content.
    """

    content: bytes
    media_type: str
    mark: str


@cache
def static_files() -> dict[str, StaticFile]:
    """All of them by their name below static/, such as "vendor/htmx-2.min.js"."""
    found = {}
    for path in sorted(STATIC.rglob("*")):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            mark = hashlib.sha256(content).hexdigest()[:12]
            found[path.relative_to(STATIC).as_posix()] = StaticFile(content, _TYPES[path.suffix], mark)
    return found


def static(name: str) -> str:
    """The address of a file.

    Raises:
        KeyError: there is none (a bug, or an installation without the files that are fetched when it is built).
    """
    return f"/static/{name}?v={static_files()[name].mark}"


@router.get("/static/{name:path}")
async def get_file(name: str) -> Response:
    """One file; for everybody, it holds nothing of anyone."""
    found = static_files().get(name)
    if found is None:
        raise HTTPException(404)
    headers = {"cache-control": "public, max-age=31536000, immutable", "etag": f'"{found.mark}"'}
    return Response(found.content, media_type=found.media_type, headers=headers)
