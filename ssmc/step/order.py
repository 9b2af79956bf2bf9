"""Which values a definition reads within one step: what stands in the way of an order of the statements."""

from __future__ import annotations

from ssmc.step.declarations import Declarations
from ssmc.syntax import nodes as syn
from ssmc.syntax.walk import walk


def instant_edges(d: Declarations) -> dict[str, list[str]]:
    """The names that each definition reads in the same step, delays left out; a state only once it is assigned."""
    inside = {name: _read_here(m.body) for name, m in d.macros.items()}
    edges: dict[str, list[str]] = {}
    for number, s in enumerate(d.spec.statements):
        match s:
            case syn.Assign(name, expr) | syn.Equation(name, expr):
                read = _read_now(expr, d, inside)
            case syn.Declaration("output", name, init=init) if init is not None:
                read = _read_now(init, d, inside)
            case _:
                continue
        keep = [r for r in read if d.state(r) is None or d.assigned.get(r, (number,))[0] < number]
        edges.setdefault(name.text, []).extend(keep)
    return edges


def _read_here(e: syn.Expr) -> tuple[list[str], list[str]]:
    """The names and the functions that an expression writes outside `prev` and `next`."""
    names: dict[str, None] = {}
    functions: dict[str, None] = {}
    delayed: set[int] = set()
    for x, _ in walk(e):
        if id(x) in delayed:
            continue
        match x:
            case syn.Call(function, args=args) if function.text in ("prev", "next"):
                delayed.update(id(y) for a in args for y, _ in walk(a))
            case syn.Call(function):
                functions[function.text] = None
            case syn.Name(name):
                names[name] = None
            case _:
                pass
    return list(names), list(functions)


def _read_now(e: syn.Expr, d: Declarations, inside: dict[str, tuple[list[str], list[str]]]) -> list[str]:
    """The same, through all functions that are called on the way."""
    names, functions = _read_here(e)
    found = dict.fromkeys(names)
    seen: set[str] = set()
    while functions:
        function = functions.pop()
        if function in seen or function not in inside:
            continue
        seen.add(function)
        formals = {f.text for f in d.macros[function].formals}
        found.update((n, None) for n in inside[function][0] if n not in formals)
        functions.extend(inside[function][1])
    return list(found)
