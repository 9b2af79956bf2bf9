"""Imports go one way, and `import ssmc` is light."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("torch", "triton", "sympy", "numpy", "networkx", "rich", "scipy")


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_imports_go_one_way() -> None:
    assert _script("import_graph").faults() == []


def test_an_upward_import_is_found(tmp_path: Path) -> None:
    graph = _script("import_graph")
    file = tmp_path / "low.py"
    file.write_text("def f():\n    from ssmc.cli import main\n    import ssmc.step.build\n")
    found = list(graph.imports_of(file, {"ssmc.cli.main": file}))
    assert found == [("ssmc.cli.main", 2), ("ssmc.step.build", 3)]
    assert graph.RANK[graph.level_of("ssmc.cli.main")] > graph.RANK[graph.level_of("ssmc.syntax.nodes")]


@pytest.mark.parametrize("module", ["ssmc", "ssmc.cli.main"])
def test_import_is_light(module: str) -> None:
    """The best of three runs: the machine may be busy with other tests."""
    code = f"""
        import sys, time
        before = time.perf_counter()
        import {module}
        took = time.perf_counter() - before
        print(took, *[m for m in {HEAVY!r} if m in sys.modules])
    """
    runs = [
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(3)
    ]
    assert [run[1:] for run in runs] == [[]] * 3, "imported eagerly"
    assert min(float(run[0]) for run in runs) < 0.3
