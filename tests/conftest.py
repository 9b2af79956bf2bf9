"""What all tests share. Nothing here imports torch: the front end's tests stay quick."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the project."""
    return ROOT


@pytest.fixture(scope="session")
def examples_dir(root: Path) -> Path:
    """The folder of the example specs."""
    return root / "examples"
