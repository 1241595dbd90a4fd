"""The map in ARCHITECTURE.md is the tree, and its light rooms stay light."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "postil"
LIGHT = ("data", "config", "events", "problems", "errors", "language", "models.catalog", "models.memory")
HEAVY = ("torch", "transformers", "peft", "accelerate", "datasets")


def blocks() -> list[list[str]]:
    text = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    return [block.splitlines() for block in re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def drawn_rooms() -> dict[str, set[str]]:
    """Room -> its modules, from the map; modules at the top have none."""
    rooms: dict[str, set[str]] = {}
    for line in blocks()[0][1:]:
        name, _, rest = line.strip().partition(" ")
        rooms[name] = set(rest.split()) if name.endswith("/") else set()
    return rooms


def built_rooms() -> dict[str, set[str]]:
    """The same from the tree."""
    rooms: dict[str, set[str]] = {path.name: set() for path in PACKAGE.glob("*.py") if path.name != "__init__.py"}
    for start in PACKAGE.rglob("__init__.py"):
        if (room := start.parent) != PACKAGE:
            rooms[f"{room.relative_to(PACKAGE).as_posix()}/"] = {path.stem for path in room.glob("*.py")} - {"__init__"}
    return rooms


def test_map_is_the_tree() -> None:
    drawn, built = drawn_rooms(), built_rooms()
    assert drawn.keys() == built.keys()
    differing = {
        room: {"to add": sorted(built[room] - drawn[room]), "to remove": sorted(drawn[room] - built[room])}
        for room in built
        if built[room] != drawn[room]
    }
    assert not differing


def test_order_of_imports_is_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c["id"] == "map")
    built = [[room.strip() for room in line.split("|") if "(" not in room] for line in layers]
    drawn = [[room.strip() for room in line.split("|")] for line in blocks()[1]]
    assert [line for line in built if line] == drawn


def test_light_rooms_leave_torch_out() -> None:
    """In a fresh process, so that what other tests imported does not count."""
    modules = [f"postil.{name}" for name in LIGHT]
    data = (path.relative_to(PACKAGE).with_suffix("") for path in (PACKAGE / "data").rglob("*.py"))
    modules += [".".join(("postil", *path.parts)).removesuffix(".__init__") for path in data]
    code = f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
    code += f"print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
