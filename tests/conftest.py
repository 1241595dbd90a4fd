"""Fixtures that every room's tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from postil.language import use_language

ROOT = Path(__file__).parents[1]


@pytest.fixture
def shared() -> Path:
    """Real files beside the repository; a user's clone has none, so tests that want them skip. CI has them."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        assert "CI" not in os.environ, f"{folder.name} is not beside the repository, and CI skips nothing"
        pytest.skip("needs the folder of real files beside the repository")
    return folder


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Tests read English sentences wherever they run."""
    use_language("en")
    yield
    use_language(None)
