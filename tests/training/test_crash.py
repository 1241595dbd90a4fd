"""F1 for the step, the checkpoint and the resume themselves; `make fuzz` strikes ten times as often."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and fork are POSIX")
def test_fifty_kills_change_no_weight() -> None:
    # in a process of its own: this one has computed, and its threads would not live on in a fork
    done = subprocess.run(
        [sys.executable, "-m", "tools.crash_training", "--kills", "50"],
        cwd=Path(__file__).parents[2],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    hits = counts_in(done.stdout)
    assert sum(hits.values()) == 50
    assert all(hits.get(aim, 0) >= 3 for aim in ("step", "write", "resume")), hits


def counts_in(text: str) -> dict[str, int]:
    """Kills by what they hit, from the line that sums up."""
    line = next(line for line in text.splitlines() if line.startswith("50 kills"))
    pairs = line[line.index("{") + 1 : line.index("}")].split(", ")
    return {name.strip("'"): int(number) for name, number in (pair.split(": ") for pair in pairs)}
