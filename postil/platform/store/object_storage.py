"""Objects in a store that fsspec reaches, such as S3; chosen by `storage_url`.

An object is put together on the local disk first, so that its size and digest are known and the store sees one complete
upload. A folder is its files and, written last, a list of them: without the list there is no folder.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec

from postil.errors import CannotWriteError, DataError, MissingInputError
from postil.operating_system import os_reason
from postil.platform.store.storage import CHUNK_BYTES, Stored, check_key, files_of, folder_digest, in_megabytes

_LIST = ".folder.json"


@dataclass(frozen=True)
class ObjectStorage:
    """Objects below `root` of a file system of fsspec; see `Storage` for what each function promises."""

    files: Any
    root: str

    def write(self, key: str, chunks: Iterable[bytes], max_bytes: int | None = None) -> Stored:
        """As `Storage.write`."""
        place = self._place(key)
        digest, num_bytes = hashlib.sha256(), 0
        try:
            with tempfile.NamedTemporaryFile() as beside:
                for chunk in chunks:
                    num_bytes += len(chunk)
                    if max_bytes is not None and num_bytes > max_bytes:
                        raise DataError("platform.storage.too_large", limit=in_megabytes(max_bytes))
                    digest.update(chunk)
                    beside.write(chunk)
                beside.flush()
                self._put(Path(beside.name), place)
        except OSError as error:
            raise CannotWriteError("platform.storage.cannot_write", path=place, reason=os_reason(error)) from error
        return Stored(key, num_bytes, digest.hexdigest())

    def write_folder(self, key: str, folder: Path) -> Stored:
        """As `Storage.write_folder`."""
        place, listed, num_bytes = self._place(key), {}, 0
        try:
            self.delete(key)
            for path in files_of(folder):
                name = path.relative_to(folder).as_posix()
                with path.open("rb") as file:
                    listed[name] = hashlib.file_digest(file, "sha256").hexdigest()
                num_bytes += path.stat().st_size
                self._put(path, f"{place}/{name}")
            self.files.pipe_file(f"{place}/{_LIST}", json.dumps(listed).encode())
        except OSError as error:
            raise CannotWriteError("platform.storage.cannot_write", path=place, reason=os_reason(error)) from error
        return Stored(key, num_bytes, folder_digest(listed.items()))

    def open(self, key: str) -> Iterator[bytes]:
        """As `Storage.open`."""
        if not self.files.isfile(self._place(key)):
            raise MissingInputError("platform.storage.missing", name=key)
        file = self.files.open(self._place(key), "rb")

        def pieces() -> Iterator[bytes]:
            with file:
                while piece := file.read(CHUNK_BYTES):
                    yield piece

        return pieces()

    @contextmanager
    def local_path(self, key: str) -> Iterator[Path]:
        """As `Storage.local_path`; a copy that is deleted afterwards."""
        place = self._place(key)
        with tempfile.TemporaryDirectory(prefix="postil-") as folder:
            target = Path(folder) / place.rpartition("/")[2]
            if self.files.isfile(place):
                self.files.get_file(place, str(target))
            elif self.files.isfile(f"{place}/{_LIST}"):
                for name in json.loads(self.files.cat_file(f"{place}/{_LIST}")):
                    (target / name).parent.mkdir(parents=True, exist_ok=True)
                    self.files.get_file(f"{place}/{name}", str(target / name))
            else:
                raise MissingInputError("platform.storage.missing", name=key)
            yield target

    def exists(self, key: str) -> bool:
        """As `Storage.exists`; a folder that was not written to its end is not there."""
        place = self._place(key)
        return bool(self.files.isfile(place) or self.files.isfile(f"{place}/{_LIST}"))

    def children(self, prefix: str) -> list[str]:
        """As `Storage.children`; also folders that were not written to their end."""
        place = self._place(prefix)
        names = {name[len(place) + 1 :].partition("/")[0] for name in self.files.find(place) if name != place}
        return sorted(f"{prefix}/{name}" for name in names)

    def num_bytes(self, prefix: str) -> int:
        """As `Storage.num_bytes`; without the lists of folders."""
        found = self.files.find(self._place(prefix), detail=True)
        return sum(int(info["size"]) for name, info in found.items() if not name.endswith(f"/{_LIST}"))

    def delete(self, key: str) -> int:
        """As `Storage.delete`; the list of a folder goes first."""
        place = self._place(key)
        freed = self.num_bytes(key)
        self.files.invalidate_cache()
        found = sorted(self.files.find(place), key=lambda name: not name.endswith(f"/{_LIST}"))
        for name in found:
            self.files.rm_file(name)
        return freed

    def _place(self, key: str) -> str:
        return f"{self.root}/{check_key(key)}"

    def _put(self, path: Path, place: str) -> None:
        self.files.makedirs(place.rpartition("/")[0], exist_ok=True)
        self.files.put_file(str(path), place)


def open_object_storage(url: str) -> ObjectStorage:
    """A storage by address, such as "s3://bucket/path"; credentials come from where its library looks for them."""
    files, root = fsspec.core.url_to_fs(url)
    return ObjectStorage(files, root.rstrip("/"))
