"""An adapter as a zip that is made while it is sent: weights, settings, manifest, tokenizer and card in one folder."""

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from postil.models.manifest import CARD_NAME, retitled
from postil.platform.adapters.checks import KNOWN_ENDINGS
from postil.platform.adapters.names import as_word
from postil.platform.adapters.views import usable_row
from postil.platform.service import Service
from postil.platform.store.storage import CHUNK_BYTES, files_of

_READABLE = 0o644 << 16
_ALREADY_DENSE = ".safetensors"
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Download:
    """A file on its way to a browser.

    Args:
        file_name: such as "shop-bot.zip"; may hold letters of any script.
        chunks: to be read to the end, or closed.
    """

    file_name: str
    chunks: Iterator[bytes]


def open_download(service: Service, account_id: str, adapter_id: str) -> Download:
    """An adapter that the account may use, as a zip. Its files are opened before this returns, so that deleting the
    adapter meanwhile does not end the download.

    Raises:
        MissingInputError: there is none that the account may use, or its files are gone.
    """
    with service.database.reading() as session:
        row = usable_row(session, account_id, adapter_id)
    name = as_word(row.name) or row.id
    with ExitStack() as opening:
        folder = opening.enter_context(service.storage.local_path(row.storage_key))
        files = [(path.name, opening.enter_context(_open(path, row.name))) for path in _files(folder)]
        kept = opening.pop_all()
    return Download(f"{name}.zip", _zip(name, files, row.created_at, kept))


def _files(folder: Path) -> list[Path]:
    return [path for path in files_of(folder) if path.suffix in KNOWN_ENDINGS]


def _open(path: Path, title: str) -> IO[bytes]:
    """A file as it is sent. A run does not know what its owner calls the adapter now, so the card is headed here."""
    if path.name == CARD_NAME:
        return io.BytesIO(retitled(path.read_text("utf-8", "replace"), title).encode())
    return path.open("rb")


def _size_of(file: IO[bytes]) -> int:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    return size


def _zip(folder: str, files: Sequence[tuple[str, IO[bytes]]], made_at: datetime, kept: ExitStack) -> Iterator[bytes]:
    sink = _Sink()
    with kept, zipfile.ZipFile(sink, "w") as archive:  # type: ignore[call-overload]
        for name, file in files:
            entry = zipfile.ZipInfo(f"{folder}/{name}", max(_FIRST_DATE, made_at.timetuple()[:6]))
            entry.file_size = _size_of(file)  # decides whether sizes take eight bytes
            entry.external_attr = _READABLE
            entry.compress_type = zipfile.ZIP_STORED if name.endswith(_ALREADY_DENSE) else zipfile.ZIP_DEFLATED
            with archive.open(entry, "w") as member:
                while piece := file.read(CHUNK_BYTES):
                    member.write(piece)
                    yield sink.take()
        archive.close()
        yield sink.take()


class _Sink:
    """What zipfile writes into and what gives it away, piece by piece; it cannot go back, and need not."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)
