"""Writes a revision: what `tables.py` says and the newest revision does not make yet.

    python -m tools.migration "what changes"
    python -m tools.migration --baseline      makes the first one anew; only before anything is released

Then set HEAD in postil/platform/store/migrating.py, and read what was written: renames look like a loss to a machine.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory

from postil.platform.store.database import open_database
from postil.platform.store.migrating import FOLDER, alembic_config


def write_revision(message: str, number: str) -> Path:
    """Compares a database at the newest revision with the tables, and writes the difference."""
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{folder}/postil.db", creates=True, keeps_references=False)
        with database.writing() as session:
            config = alembic_config(session.connection())
            command.upgrade(config, "head")
            made = command.revision(config, message, autogenerate=True, rev_id=number)
        database.engine.dispose()
    scripts = [script for script in (made if isinstance(made, list) else [made]) if script]
    path = Path(scripts[0].path)
    for what in (["format", "--quiet"], ["check", "--fix", "--quiet"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *what, str(path)], check=True)
    return path


def main() -> None:
    """Writes one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("message", nargs="?", default="The tables as they were first released")
    parser.add_argument("--baseline", action="store_true")
    arguments = parser.parse_args()
    if arguments.baseline:
        for path in (FOLDER / "versions").glob("0*.py"):
            path.unlink()
    heads = ScriptDirectory(str(FOLDER)).get_heads()
    print(write_revision(arguments.message, f"{int(heads[0]) + 1 if heads else 1:04}"))


if __name__ == "__main__":
    main()
