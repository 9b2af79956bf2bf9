"""Print the size of every source file, and fail where one is over the budget.

About 400 lines is the aim; 600 is a reason to split.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("ssmc", "backends", "grammar", "scripts", "examples", "tests")
SUFFIXES = (".py", ".lark")
AIM, BUDGET = 400, 600


def sizes() -> dict[str, int]:
    """Lines by path relative to the root; goldens are generated and do not count."""
    return {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in SUFFIXES and "golden" not in path.parts
    }


def main() -> int:
    found = sizes()
    for folder in FOLDERS:
        inside = {name: lines for name, lines in found.items() if name.startswith(f"{folder}/")}
        print(f"{sum(inside.values()):7}  {folder}/ ({len(inside)} files)")
        for name, lines in sorted(inside.items(), key=lambda item: -item[1]):
            note = "  over the budget: split it" if lines > BUDGET else "  over the aim" if lines > AIM else ""
            print(f"{lines:7}    {name}{note}")
    print(f"{sum(found.values()):7}  in all")
    return int(any(lines > BUDGET for lines in found.values()))


if __name__ == "__main__":
    sys.exit(main())
