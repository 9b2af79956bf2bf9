"""pyproject.toml names every package there is, and nothing else."""

from __future__ import annotations

import importlib.util
import re
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _listed() -> set[str]:
    block = re.search(r"^packages = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.S | re.M)
    assert block is not None
    return set(re.findall(r'"([\w.]+)"', block.group(1)))


def _on_disk() -> set[str]:
    found = set()
    for folder in ("ssmc", "backends", "grammar", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            inside = path.parent.relative_to(ROOT).parts
            found.add(".".join(inside if folder == "ssmc" else ("ssmc", *inside)))
    return found


def test_every_package_is_listed() -> None:
    assert _listed() == _on_disk()


def test_every_listed_package_is_found() -> None:
    assert [name for name in sorted(_listed()) if importlib.util.find_spec(name) is None] == []


def test_data_files_are_reachable() -> None:
    assert resources.files("ssmc.grammar").joinpath("ssm.lark").is_file()
    assert [p for p in resources.files("ssmc.examples").iterdir() if p.name.endswith(".ssm")]
