"""Write `grammar/tables.json`, the parser's tables as `ssmc.syntax.grammar` reads them.

Needed after each change of the grammar; a test says so.
"""

from __future__ import annotations

from pathlib import Path

from ssmc.syntax.grammar import tables

if __name__ == "__main__":
    (Path(__file__).resolve().parent.parent / "grammar" / "tables.json").write_text(tables(), encoding="utf-8")
