"""The sizes of axes, as expressions: `axis N = 16`, `axis N = 2*P`, `axis E = D`."""

from __future__ import annotations

from ssmc.diagnostics import Report
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Node
from ssmc.step import errors_names
from ssmc.step.circles import path_to
from ssmc.step.declarations import Declarations
from ssmc.step.nodes import Axis
from ssmc.syntax import nodes as syn

ARITHMETIC = {"+": "add", "-": "sub", "*": "mul", "/": "div"}


def axes_of(d: Declarations, arena: Arena, report: Report) -> tuple[Axis, ...]:
    """The declared axes in canonical order."""
    found: list[Axis] = []
    edges: dict[str, list[str]] = {}
    for name, decl in d.axes.items():
        size = _size(decl.size, d, arena, report) if decl.size is not None else None
        if size is not None:
            edges[name] = [x.axis for x in n.postorder([size]) if isinstance(x, n.Size)]
            d.used_axes.update(edges[name])
            if isinstance(size, n.Const) and (not isinstance(size.value, int) or size.value < 1):
                assert decl.size is not None
                report.add(errors_names.SizeNotPositive(decl.size.span, name, str(size.value)))
        found.append(Axis(name, size, name in d.each, decl.name.span))
    told: set[str] = set()
    for name, decl in d.axes.items():
        path = path_to(name, name, edges)
        if path is not None and name not in told:
            told.update(path)
            report.add(errors_names.SizeCycle(decl.name.span, " → ".join(f"`{p}`" for p in path)))
    return tuple(found)


def _size(e: syn.Expr, d: Declarations, arena: Arena, report: Report) -> Node | None:
    arena.span = e.span
    match e:
        case syn.Paren(operand):
            return _size(operand, d, arena, report)
        case syn.Number(int() as number):
            return arena.const(number)
        case syn.Name(name, span) | syn.AxisQuery(syn.Identifier("size"), syn.Identifier(name, span)):
            axis = d.axis(syn.Identifier(name, span), report)
            return arena.size(axis) if axis is not None else None
        case syn.Unary("-", operand):
            inner = _size(operand, d, arena, report)
            return arena.neg(inner) if inner is not None else None
        case syn.Binary(op, left, right) if op in ARITHMETIC:
            a, b = _size(left, d, arena, report), _size(right, d, arena, report)
            if a is None or b is None:
                return None
            node = arena.map(ARITHMETIC[op], a, b)
            whole = isinstance(node, n.Const) and isinstance(node.value, float) and node.value.is_integer()
            return arena.const(int(node.value)) if whole else node  # type: ignore[attr-defined]
        case syn.Number(number):
            report.add(errors_names.SizeForm(e.span, f"the number {number}"))
        case syn.Binary(op):
            report.add(errors_names.SizeForm(e.op_span, f"`{op}`"))
        case _:
            report.add(errors_names.SizeForm(e.span, f"`{e.span.text}`"))
    return None
