"""Every error has a code of its own, a docstring or a name that says it, and templates that its fields fill."""

from __future__ import annotations

import importlib
import pkgutil
import string
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields

import pytest

import ssmc
from ssmc.diagnostics import Problem


def problems() -> list[type[Problem]]:
    """Every error the compiler can tell, by its code."""
    for package in pkgutil.walk_packages(ssmc.__path__, "ssmc."):
        if not package.name.startswith(("ssmc.__main__", "ssmc.examples")):
            importlib.import_module(package.name)

    def below(cls: type[Problem]) -> Iterator[type[Problem]]:
        for sub in cls.__subclasses__():
            yield sub
            yield from below(sub)

    # A base that several errors share has no code of its own.
    return sorted({p for p in below(Problem) if "code" in p.__dict__}, key=lambda p: (p.code, p.__name__))


ALL = problems()


def test_codes_are_unique() -> None:
    twice = {code for code, count in Counter(p.code for p in ALL).items() if count > 1}
    assert {f"{p.code} {p.__module__}.{p.__name__}" for p in ALL if p.code in twice} == set()


@pytest.mark.parametrize("problem", ALL, ids=lambda p: f"{p.code}-{p.__name__}")
def test_templates_name_fields(problem: type[Problem]) -> None:
    known = {f.name for f in fields(problem)}
    # An error may compute its title or label instead: then it is a property, and no template.
    written = (problem.title, problem.label, *problem.notes, *problem.helps)
    templates = [text for text in written if isinstance(text, str)]
    named = {
        name.split(".")[0].split("[")[0] for t in templates for _, name, _, _ in string.Formatter().parse(t) if name
    }
    assert named <= known
    assert problem.title
    assert problem.code[0] in "EW"
    assert problem.code[1:].isdigit()
