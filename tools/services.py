"""What the tests need besides Python's packages, installed where it is missing (Debian, as root): PostgreSQL, which is
started in a folder of its own, and Chromium with a font that has Chinese glyphs, for the tests of the pages.

    python -m tools.services install  sees to it that they are there; the tests start a server of their own
    python -m tools.services up       starts one that stays, for many runs of the tests; prints its address
    python -m tools.services down     stops it and deletes its folder

The server listens on a socket in that folder and on no port, so that it meets no other; it syncs nothing, as its data
are worth nothing. `POSTIL_TEST_POSTGRES_URL` names a server that runs already, and then nothing is started.
"""

import argparse
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VARIABLE = "POSTIL_TEST_POSTGRES_URL"
BROWSER_VARIABLE = "POSTIL_TEST_CHROMIUM"
FOLDER = Path(tempfile.gettempdir()) / f"postil-postgres-{os.getuid()}"
# The server refuses to run as root.
USER = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


def find_binaries() -> Path | None:
    """The folder of initdb and pg_ctl, the newest version's; None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("pg_ctl")
    return Path(on_path).resolve().parent if on_path else None


def find_browser() -> Path | None:
    """The Chromium that the environment names, or of this system; None where there is none."""
    named = os.environ.get(BROWSER_VARIABLE) or shutil.which("chromium") or shutil.which("chromium-browser")
    return Path(named) if named else None


def has_chinese_font() -> bool:
    """True where a page with Chinese sentences is shown with their glyphs and not with empty boxes."""
    if shutil.which("fc-list") is None:
        return False
    return bool(subprocess.run(["fc-list", ":lang=zh-cn", "file"], capture_output=True, check=True).stdout.strip())


def install_browser() -> Path:
    """Installs Debian's Chromium and Noto's Chinese glyphs where they are missing."""
    if (browser := find_browser()) is not None and has_chinese_font():
        return browser
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        wanted = f"install Chromium and a font with Chinese glyphs; {BROWSER_VARIABLE} names a Chromium elsewhere"
        raise SystemExit(f"The tests of the pages need a browser: {wanted}.")
    _install_packages("chromium", "fontconfig", "fonts-noto-cjk", "fonts-dejavu-core")
    if (browser := find_browser()) is None:
        raise SystemExit("Chromium was installed and is nowhere to be found.")
    return browser


def install() -> Path:
    """Installs Debian's PostgreSQL where there is none, without its own server being started."""
    if (binaries := find_binaries()) is not None:
        return binaries
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        raise SystemExit(f"PostgreSQL is not installed: install its server, or name a running one in {VARIABLE}.")
    policy = Path("/usr/sbin/policy-rc.d")
    is_ours = not policy.exists()
    if is_ours:  # Debian starts what it installs, unless this says no
        policy.write_text("#!/bin/sh\nexit 101\n", "utf-8")
        policy.chmod(0o755)
    try:
        _install_packages("postgresql")
    finally:
        if is_ours:
            policy.unlink()
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL was installed and is nowhere to be found.")
    return binaries


def _install_packages(*names: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *names]):
        subprocess.run(["apt-get", *arguments], env=environment, check=True, stdout=sys.stderr)


def start(binaries: Path, folder: Path) -> str:
    """Starts a server in `folder`, which is made; returns its address."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    if os.getuid() == 0:
        shutil.chown(folder, USER)
    _run(folder, binaries / "initdb", "-D", folder / "data", "-A", "trust", "-U", "postil", "-E", "UTF8", "--no-sync")
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": folder,
        "fsync": "off",
        "full_page_writes": "off",
        "max_connections": 100,
        "shared_buffers": "32MB",
    }
    options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
    _run(folder, binaries / "pg_ctl", "-D", folder / "data", "-l", folder / "log", "-o", options, "-w", "start")
    return url_of(folder)


def stop(binaries: Path, folder: Path) -> None:
    """Stops the server of `folder` and deletes the folder."""
    if (folder / "data" / "postmaster.pid").exists():
        _run(folder, binaries / "pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop")
    shutil.rmtree(folder, ignore_errors=True)


def url_of(folder: Path) -> str:
    """The address of the server whose folder this is."""
    return f"postgresql+psycopg://postil@/postgres?host={folder}"


def find_running() -> str | None:
    """The address that the environment names, or of the server that `up` has started."""
    if named := os.environ.get(VARIABLE):
        return named
    return url_of(FOLDER) if _is_running(FOLDER) else None


def _is_running(folder: Path) -> bool:
    try:
        pid = int((folder / "data" / "postmaster.pid").read_text("utf-8").split()[0])
        os.kill(pid, 0)
    except (OSError, ValueError, IndexError):
        return False
    return (folder / ".s.PGSQL.5432").exists()


def _run(folder: Path, *command: object) -> None:
    """Runs a program of PostgreSQL as a user that it accepts; what it says is shown when it fails."""
    as_user = {"user": USER, "group": pwd.getpwnam(USER).pw_gid, "extra_groups": []} if os.getuid() == 0 else {}
    # A server that inherits a pipe would keep its reader waiting: its words go to a file.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            [str(word) for word in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=said, stderr=said, **as_user
        )
        if done.returncode:
            said.seek(0)
            raise SystemExit(f"{command[0]} failed:\n{said.read().decode(errors='replace')}")


def main() -> None:
    """Does what the one argument says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("install", "up", "down"))
    what = parser.parse_args().what
    if what == "up":
        print(find_running() or start(install(), FOLDER))
    elif what == "install":
        install_browser()
        if find_running() is None:
            install()
    elif what == "down" and FOLDER.exists() and (binaries := find_binaries()):
        stop(binaries, FOLDER)


if __name__ == "__main__":
    main()
