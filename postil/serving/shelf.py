"""The adapters that a server knows, and which of them are in memory."""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from postil.data.chat_template import ChatFormat
from postil.errors import ConflictError, DataError, MissingInputError
from postil.models.adapter_checks import CheckedAdapter, LayerShapes, read_adapter
from postil.models.adapter_set import AdapterSet
from postil.models.loading import Base
from postil.models.manifest import AdapterManifest, read_manifest

_generations = count(1)


@dataclass(frozen=True, slots=True)
class ServedAdapter:
    """An adapter as requests know it.

    Args:
        id: ours; in the path of the control routes.
        name: what requests call it; they may say the id, too.
        key: what the adapter set calls it: the id and a number that is new each time the folder is read.
        chat_format: the form that it was trained with.
        system: the system message that training put before conversations without one.
        attached_at: seconds since 1970.
    """

    id: str
    name: str
    directory: Path
    key: str
    rank: int
    num_bytes: int
    chat_format: ChatFormat
    system: str | None
    attached_at: int

    def as_dict(self, is_loaded: bool) -> dict[str, Any]:
        """What the control routes say about it."""
        return {
            "id": self.id,
            "name": self.name,
            "directory": str(self.directory),
            "rank": self.rank,
            "num_bytes": self.num_bytes,
            "is_loaded": is_loaded,
        }


def open_adapter(
    base: Base, layers: LayerShapes, adapter_id: str, name: str, directory: Path, now: int
) -> tuple[ServedAdapter, CheckedAdapter]:
    """Reads and judges a folder; nothing of it is in use yet.

    A folder without `postil.json` is a plain PEFT adapter: it answers in the base's own chat format, and only the
    shapes of its layers say that it belongs to this base.

    Raises:
        MissingInputError: the folder or a file of it is not there.
        DataError: damaged, dangerous, or made for another base.
    """
    manifest = _find_manifest(directory)
    if manifest is not None and manifest.base_fingerprint != base.fingerprint:
        raise DataError(
            "manifest.other_base",
            adapter=directory,
            base=base.name,
            expected=manifest.base_fingerprint,
            found=base.fingerprint,
        )
    checked = read_adapter(directory, layers)
    served = ServedAdapter(
        id=adapter_id,
        name=name,
        directory=directory,
        key=f"{adapter_id}#{next(_generations)}",
        rank=checked.rank,
        num_bytes=len(checked.content),
        chat_format=base.chat_format
        if manifest is None
        else ChatFormat.from_manifest(manifest.chat_format, base.tokenizer),
        system=manifest.system if manifest else None,
        attached_at=now,
    )
    return served, checked


def _find_manifest(directory: Path) -> AdapterManifest | None:
    try:
        return read_manifest(directory)
    except MissingInputError as error:
        if error.key == "manifest.no_adapter" and (directory / "adapter_config.json").is_file():
            return None
        raise


class Shelf:
    """Which adapters there are, by id and by name. The engine holds its lock around every call.

    Args:
        base_name: taken; no adapter may be called so.
    """

    def __init__(self, base_name: str):
        self._base_name = base_name
        self._by_id: dict[str, ServedAdapter] = {}

    def all(self) -> list[ServedAdapter]:
        """In the order of their coming."""
        return list(self._by_id.values())

    def find(self, name: str) -> ServedAdapter | None:
        """The adapter of this id or name."""
        found = self._by_id.get(name)
        return found or next((a for a in self._by_id.values() if a.name == name), None)

    def check_name(self, adapter_id: str, name: str) -> None:
        """Sees to it that a name says one thing only.

        Raises:
            ConflictError: the base or another adapter is called so.
        """
        for word in (adapter_id, name):
            found = self.find(word)
            if word == self._base_name or (found is not None and found.id != adapter_id):
                raise ConflictError("serving.name_taken", name=word)

    def put(self, adapter: ServedAdapter) -> ServedAdapter | None:
        """Puts it in; returns the one of the same id that it replaces."""
        before = self._by_id.get(adapter.id)
        self._by_id[adapter.id] = adapter
        return before

    def take(self, adapter_id: str) -> ServedAdapter | None:
        """Takes it out."""
        return self._by_id.pop(adapter_id, None)

    def holds(self, adapter: ServedAdapter) -> bool:
        """True while this very reading of the folder is the one that answers."""
        return self._by_id.get(adapter.id) is adapter


class LoadedAdapters:
    """Which adapters are in memory: the most recently used ones. Belongs to the thread that computes.

    Args:
        most: how many; one that is in use is never put away.
    """

    def __init__(self, adapters: AdapterSet, most: int):
        self._set, self._most = adapters, most
        self._used: OrderedDict[str, None] = OrderedDict()

    @property
    def keys(self) -> frozenset[str]:
        """Of those in memory."""
        return frozenset(self._used)

    def load(self, key: str, read: Callable[[], CheckedAdapter], in_use: Iterable[str]) -> None:
        """Sees to it that an adapter is in memory, and remembers that it was asked for now.

        Args:
            read: called where it is not.
            in_use: keys that must stay.

        Raises:
            MissingInputError, DataError: what `read` raises.
        """
        if key not in self._used:
            self._set.attach(key, read())
        self._used[key] = None
        self._used.move_to_end(key)
        busy = {*in_use, key}
        for old in [k for k in self._used if k not in busy][: max(0, len(self._used) - self._most)]:
            self.forget(old)

    def forget(self, key: str) -> None:
        """Puts an adapter out of memory."""
        if key in self._used:
            del self._used[key]
            self._set.detach(key)
