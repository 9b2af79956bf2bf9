"""Run mypy --strict over the package as it is installed.

`backends/`, `grammar/` and `examples/` stand at the top level and are installed inside `ssmc`; mypy follows files, not
import hooks, so it is given a tree of links with the installed layout (in mypy's own cache folder).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / ".mypy_cache" / "tree"
OUTSIDE = ("backends", "grammar", "examples")


def link_tree() -> None:
    """Make TREE/ssmc a folder of links with the layout of the installed package."""
    package = TREE / "ssmc"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {p.name: p for p in (ROOT / "ssmc").iterdir() if p.name != "__pycache__"}
    wanted |= {name: ROOT / name for name in OUTSIDE}
    for old in package.iterdir():
        if old.name not in wanted or old.resolve() != wanted[old.name]:
            old.unlink()
    for name, target in wanted.items():
        if not (package / name).exists():
            (package / name).symlink_to(target)


def main() -> int:
    link_tree()
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT / "pyproject.toml"), "-p", "ssmc", *sys.argv[1:]]
    environment = os.environ | {"MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")}
    return subprocess.run(command, cwd=TREE, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
