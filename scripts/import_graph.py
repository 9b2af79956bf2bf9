"""Who imports whom, level by level; fails where an import goes up.

The levels stand in `LEVELS`, lowest first. An import inside a function counts as much as one at the top of a file: it
is a dependency all the same. Modules of one level may import each other.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# `ssmc` itself is the public face: it hands out what the levels below define.
LEVELS: tuple[tuple[str, ...], ...] = (
    ("ssmc.source", "ssmc.grammar"),
    ("ssmc.diagnostics", "ssmc.render", "ssmc.files"),
    ("ssmc.syntax",),
    ("ssmc.expr",),
    ("ssmc.step",),
    ("ssmc.recurrence",),
    ("ssmc.adjoint",),
    ("ssmc.plan",),
    ("ssmc.kernel",),
    ("ssmc.backends",),
    ("ssmc.runtime", "ssmc.api"),
    ("ssmc",),
    ("ssmc.cli", "ssmc.examples"),
    ("ssmc.__main__",),
)
RANK = {prefix: rank for rank, level in enumerate(LEVELS) for prefix in level}
OUTSIDE = {"backends": "ssmc.backends", "grammar": "ssmc.grammar", "examples": "ssmc.examples"}


def modules() -> dict[str, Path]:
    """Every module of the installed package by its full name."""
    found = {}
    for folder in ("ssmc", *OUTSIDE):
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            parts = inside[:-1] if inside[-1] == "__init__" else inside
            found[".".join((OUTSIDE.get(folder, folder), *parts))] = path
    return found


def level_of(module: str) -> str | None:
    """The longest prefix of the module that is in the table; only `ssmc` itself is `ssmc`."""
    parts = module.split(".")
    for n in range(len(parts), 1, -1):
        if ".".join(parts[:n]) in RANK:
            return ".".join(parts[:n])
    return "ssmc" if module == "ssmc" else None


def imports_of(path: Path, known: dict[str, Path]) -> Iterator[tuple[str, int]]:
    """The modules of ssmc that a file imports, with the line."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        match node:
            case ast.Import(names=names):
                yield from ((a.name, node.lineno) for a in names if a.name.split(".")[0] == "ssmc")
            case ast.ImportFrom(module=str(module), names=names, level=0) if module.split(".")[0] == "ssmc":
                for alias in names:
                    deeper = f"{module}.{alias.name}"
                    yield (deeper if deeper in known else module), node.lineno
            case _:
                pass


def edges() -> Iterator[tuple[str, str, str]]:
    """(importing module, imported module, `file:line`) for every import inside the package."""
    known = modules()
    for name, path in known.items():
        for target, line in imports_of(path, known):
            yield name, target, f"{path.relative_to(ROOT)}:{line}"


def faults() -> list[str]:
    """One sentence for each module without a level and each import that goes up."""
    found = [f"{name} has no level: add it to LEVELS" for name in modules() if level_of(name) is None]
    for name, target, where in edges():
        here, there = level_of(name), level_of(target)
        if here is not None and there is not None and RANK[there] > RANK[here]:
            found.append(f"{where}: {here} imports {there}, which is above it")
    return found


def main() -> int:
    uses: dict[str, set[str]] = {}
    for name, target, _ in edges():
        here, there = level_of(name), level_of(target)
        if here and there and here != there:
            uses.setdefault(here, set()).add(there)
    for level in LEVELS:
        for prefix in level:
            below = sorted(uses.get(prefix, ()), key=RANK.__getitem__)
            print(f"  {prefix:16} ← {', '.join(b.removeprefix('ssmc.') for b in below) or 'nothing'}")
    found = faults()
    print("\n".join(found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
