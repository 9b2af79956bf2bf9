"""The grammar beside each IR lists exactly the classes that are declared, with their fields."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import ModuleType

import pytest

from ssmc.expr import nodes as expr_nodes
from ssmc.kernel import nodes as kernel_nodes
from ssmc.kernel.forms import LOWERINGS
from ssmc.kernel.verify import STEP_LEAVES
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
    [
        ("ssmc/expr/README.md", expr_nodes, ("axes", "kind")),
        ("ssmc/step/README.md", step_nodes, ()),
        ("ssmc/kernel/README.md", kernel_nodes, ()),
    ],
    ids=["expr", "step", "kernel"],
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


def test_kernel_ir_lists_the_expressions_it_holds() -> None:
    every = {name for name in _declared(expr_nodes, ()) if name != "Node"}
    assert set(_blocks("ssmc/kernel/README.md")[1].split()) == every - {c.__name__ for c in STEP_LEAVES}


def test_every_lowering_is_documented() -> None:
    page = (ROOT / "ssmc/kernel/README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)\.py` \| (\w+) \|", page, re.M))
    assert {form: file for file, form in rows.items() if form != "delay"} == {
        form: lowering.__module__.rsplit(".", 1)[-1] for form, lowering in LOWERINGS.items()
    }
