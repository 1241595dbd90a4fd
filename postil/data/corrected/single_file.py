"""The corrected file as one file that can be sent: what comes back as a folder is packed into a zip."""

import zipfile
from pathlib import Path
from typing import Any

from postil.data.checks.overlay import Overlay
from postil.data.corrected.writing import output_suffix, write_corrected
from postil.data.options import ReadOptions
from postil.data.records import read_records


def write_single_file(path: Path, options: ReadOptions, name: str, overlay: Overlay, folder: Path) -> dict[str, Any]:
    """Writes the file with its edits into `folder` and says what it is called there, and what became of it.

    Raises:
        DataError: the file cannot be read, or a change cannot be written in its format.
        CannotWriteError: the disk is full.
    """
    records = read_records(path, options, name)
    written = write_corrected(records, overlay, folder / f"corrected{output_suffix(records)}")
    made = _packed(written.path) if written.path.is_dir() else written.path
    return {
        "path": made.name,
        "suffix": made.suffix,
        "format": written.format,
        "encoding": written.encoding,
        "look": written.look,
        "left_out": list(map(str, written.left_out)),
        "num_changes": len(written.changes),
    }


def _packed(folder: Path) -> Path:
    target = folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
    return target
