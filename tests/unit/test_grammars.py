"""The grammar beside each IR lists exactly the classes that are declared, with their fields."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import ModuleType

import pytest

from ssmc.expr import nodes as expr_nodes
from ssmc.step import nodes as step_nodes
from ssmc.step.verify import STEP_NODES

ROOT = Path(__file__).resolve().parents[2]


def _blocks(readme: str) -> list[str]:
    return re.findall(r"```\n(.*?)```", (ROOT / readme).read_text(encoding="utf-8"), re.S)


def _declared(module: ModuleType, hidden: tuple[str, ...]) -> dict[str, list[str]]:
    classes = [
        c
        for c in vars(module).values()
        if dataclasses.is_dataclass(c) and getattr(c, "__module__", "") == module.__name__
    ]
    return {c.__name__: [f.name for f in dataclasses.fields(c) if f.name not in hidden] for c in classes}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("readme", "module", "hidden"),
    [("ssmc/expr/README.md", expr_nodes, ("axes", "kind")), ("ssmc/step/README.md", step_nodes, ())],
    ids=["expr", "step"],
)
def test_the_grammar_lists_the_declared_classes(readme: str, module: ModuleType, hidden: tuple[str, ...]) -> None:
    listed = {
        name: [f.strip() for f in fields.split(",") if f.strip()]
        for name, fields in re.findall(r"\b([A-Z]\w+)\(([\w, ]*)\)", _blocks(readme)[0])
    }
    declared = _declared(module, hidden)
    declared.pop("Node", None)  # the base of all
    assert listed == declared


def test_the_step_graph_lists_the_expressions_it_holds() -> None:
    assert _blocks("ssmc/step/README.md")[1].split() == [c.__name__ for c in STEP_NODES]
