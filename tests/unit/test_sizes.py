"""No source file grows past its budget, and no module's docstring is missing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_sizes_are_within_the_budget() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "sizes.py"], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, [line for line in done.stdout.splitlines() if "over the budget" in line]


def test_modules_say_what_they_are() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for folder in ("ssmc", "backends", "scripts")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "__init__.py" and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert silent == []
