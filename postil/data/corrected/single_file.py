"""The corrected file as one file that can be sent: what comes back as a folder is packed into a zip.

So is a file with conversations that were added to it: they stand in a file of their own beside it, and the zip reads as
the two together.
"""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from postil.data.checks.overlay import Overlay
from postil.data.corrected.writing import output_suffix, write_corrected
from postil.data.options import ReadOptions
from postil.data.records import read_records
from postil.data.shapes.record import Record


def write_single_file(path: Path, options: ReadOptions, name: str, overlay: Overlay, folder: Path) -> dict[str, Any]:
    """Writes the file with its edits into `folder` and says what it is called there, and what became of it.

    Raises:
        DataError: the file cannot be read, or a change cannot be written in its format.
        CannotWriteError: the disk is full.
    """
    records = read_records(path, options, name)
    suffix = output_suffix(records)
    added = [record for record in map(overlay.apply, overlay.added) if record is not None]
    target = folder / "both" / f"corrected{suffix}" if added else folder / f"corrected{suffix}"
    written = write_corrected(records, overlay, target)
    made = written.path
    if added:
        _write_added(added, target.parent / "added.jsonl")
        made = target.parent
    made = _packed(made) if made.is_dir() else made
    return {
        "path": made.name,
        "suffix": made.suffix,
        "format": written.format,
        "encoding": written.encoding,
        "look": written.look,
        "left_out": list(map(str, written.left_out)),
        "num_changes": len(written.changes) + len(added),
    }


def _write_added(records: Sequence[Record], path: Path) -> None:
    lines = (json.dumps(dict(record.fields), ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")


def _packed(folder: Path) -> Path:
    target = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
    return target
