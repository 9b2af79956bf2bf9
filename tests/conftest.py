"""What all tests share. Nothing here imports torch: the front end's tests stay quick."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# Most tests make many specs that run once, for which no C++ compiler is worth starting; those of the C++ backend ask
# for it, and CI runs generated specs with SSMC_BACKEND=cpp.
os.environ.setdefault("SSMC_BACKEND", "torch")

# Schedules and estimates come from the defaults, not from what was measured or tuned on the machine of the tests.
_DATA = tempfile.TemporaryDirectory(prefix="ssmc-tests-")
os.environ["SSMC_DATA_DIR"] = _DATA.name

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _compiled_soon(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests of generated C++ run it once: optimising it takes three times as long as compiling it.

    Slow tests, modules with `OPTIMISED = True` and runs with $SSMC_CXXFLAGS get what users get, or what was asked for.
    """
    if request.node.get_closest_marker("slow") is None and not getattr(request.module, "OPTIMISED", False):
        monkeypatch.setenv("SSMC_CXXFLAGS", os.environ.get("SSMC_CXXFLAGS", "-O1"))


@pytest.fixture(scope="session")
def root() -> Path:
    """The top of the project."""
    return ROOT


@pytest.fixture(scope="session")
def examples_dir(root: Path) -> Path:
    """The folder of the example specs."""
    return root / "examples"


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much the generated tests do; the defaults suit `make test`."""
    parser.addoption("--mutants", type=int, default=500, help="mutants of the examples in the fuzz test (CI: 10000)")
    parser.addoption("--specs", type=int, default=40, help="generated specs in the differential test (full: 500)")
    parser.addoption("--update-errors", action="store_true", help="write the expected messages of tests/errors anew")
    parser.addoption("--update-golden", action="store_true", help="write the generated modules of tests/golden anew")
