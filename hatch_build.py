"""Puts htmx among the static files when the package is built or installed: nothing of others lies in the repository.

It comes out of the PyPI package django-htmx, which `[build-system] requires` names, and must be the very file that was
tested.
"""

import hashlib
import shutil
from importlib.metadata import files
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "htmx-2.min.js"
SHA256 = "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de"


class StaticFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Hatch calls it before it packs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Copies the file and adds it to what is packed."""
        source = next(found.locate() for found in files("django-htmx") or () if found.name == NAME)
        content = Path(str(source)).read_bytes()
        if hashlib.sha256(content).hexdigest() != SHA256:
            raise RuntimeError(f"{NAME} of django-htmx is not the file that was tested; see hatch_build.py")
        target = Path(self.root) / "postil" / "web" / "static" / "vendor" / NAME
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(str(source), target)
        build_data["artifacts"].append(f"/{target.relative_to(self.root).as_posix()}")
