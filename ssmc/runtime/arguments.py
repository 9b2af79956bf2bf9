"""Names of a call: which argument is which port, before any tensor is looked at."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssmc.diagnostics import Problem, SpecError
from ssmc.runtime import problems
from ssmc.step.nodes import Port, StepGraph


def whole(value: object) -> int | None:
    """An integer that is not negative, of Python or of an array library; None for anything else."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        return None
    try:
        number = operator.index(value)
    except TypeError:  # a tensor of several elements
        return None
    return number if number >= 0 else None


def split_options(
    graph: StepGraph, given: Mapping[str, Any], options: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keywords of a call parted in (ports, options). A name that is a port is one, never an option."""
    ports = {p.name for p in (*graph.inputs, *graph.params)}
    known = set(options)
    chosen = {k: v for k, v in given.items() if k in known and k not in ports}
    return {k: v for k, v in given.items() if k not in chosen}, chosen


def arrange(
    graph: StepGraph, ports: Sequence[Port], args: Sequence[Any], named: Mapping[str, Any], options: Iterable[str] = ()
) -> dict[str, Any]:
    """The value of each port that the call gives, in the order of `ports`. Raises SpecError with all mistakes in names.

    None stands for an argument left out.
    """
    names = tuple(p.name for p in ports)
    found: list[Problem] = []
    if len(args) > len(names):
        found.append(problems.TooManyArguments(None, len(args), graph.name, names))
    values = dict(zip(names, args, strict=False))
    for name, value in named.items():
        if name not in names:
            found.append(problems.UnknownArgument(None, name, names, graph.name, tuple(options)))
        elif name in values:
            found.append(problems.GivenTwice(None, name, names.index(name) + 1))
        else:
            values[name] = value
    missing = tuple(p.name for p in graph.inputs if p in ports and values.get(p.name) is None)
    if missing:
        role = "inputs" if len(missing) > 1 else "an input"
        packed = bool(args) and isinstance(args[0], Mapping)
        found.append(problems.MissingArguments(None, missing, role, graph.name, packed))
    if found:
        raise SpecError(found)
    return {name: values[name] for name in names if values.get(name) is not None}
