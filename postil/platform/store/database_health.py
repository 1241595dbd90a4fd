"""Whether SQLite's file is sound, and whether it lies where SQLite can be trusted."""

import re
from pathlib import Path

from postil.errors import UnavailableError
from postil.platform.store.database import Database

# Where locks do not reach other machines, or lie: SQLite would be damaged there sooner or later.
_NETWORK = ("nfs", "cifs", "smb", "9p", "afs", "ceph", "gluster", "lustre", "ocfs2", "gfs2", "fuse.sshfs", "fuse.s3")


def check_sqlite(database: Database) -> None:
    """Reads the whole file for damage.

    Raises:
        UnavailableError: it is damaged; what is wrong is said.
    """
    with database.reading() as session:
        found = session.connection().exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if found != "ok":
        raise UnavailableError("platform.database.damaged")


def check_file_system(folder: Path) -> None:
    """Sees to it that SQLite's file lies on a disk of this machine.

    Raises:
        UnavailableError: it lies on a network file system.
    """
    kind = find_file_system(folder)
    if kind is not None and kind.lower().startswith(_NETWORK):
        raise UnavailableError("platform.database.network", path=folder, kind=kind)


def find_file_system(folder: Path) -> str | None:
    """The kind of file system that a folder lies on, such as "ext4"; None where the system does not say."""
    place = folder.resolve()
    mounts = _mounts()
    over = [(mount, kind) for mount, kind in mounts if place == mount or mount in place.parents]
    # of two that are mounted on one place the later one counts
    return max(reversed(over), key=lambda found: len(found[0].parts))[1] if over else None


def _mounts() -> list[tuple[Path, str]]:
    """Every mounted file system and its kind; Linux only, as the service is meant for it."""
    try:
        lines = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    words = [line.split(" ") for line in lines]
    return [(Path(_unescaped(parts[1])), parts[2]) for parts in words if len(parts) > 2]


def _unescaped(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)
