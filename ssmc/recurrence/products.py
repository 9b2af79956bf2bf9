"""Sums of products: an expression taken apart into terms, each a list of factors, as far as a question needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Node

LIMIT = 64  # terms; beyond it an expression stays whole


@dataclass(frozen=True)
class Product:
    """The sum over `summed` axes (none of them an axis of the value) of the product of `factors`."""

    factors: tuple[Node, ...]
    summed: Axes = ()


Whole = Callable[[Node], bool]


def sum_of_products(arena: Arena, node: Node, whole: Whole) -> tuple[Product, ...]:
    """`node` as a sum of products. A node for which `whole` holds is not taken apart; beyond LIMIT terms, none is.

    Taken apart: + - neg * /, a choice one branch of which is 0, sum over an axis of one product, renamings, casts.
    """
    return _terms(arena, node, whole) or (Product((node,)),)


def _terms(arena: Arena, node: Node, whole: Whole) -> tuple[Product, ...] | None:
    """None: too many terms."""
    if whole(node):
        return (Product((node,)),)

    def rest(x: Node) -> tuple[Product, ...] | None:
        return _terms(arena, x, whole)

    match node:
        case n.Map(op="add", args=(x, y)):
            return _added(rest(x), rest(y))
        case n.Map(op="sub", args=(x, y)):
            return _added(rest(x), _times(rest(y), (Product((arena.const(-1),)),)))
        case n.Map(op="neg", args=(x,)):
            return _times((Product((arena.const(-1),)),), rest(x))
        case n.Map(op="mul", args=(x, y)):
            return _times(rest(x), rest(y))
        case n.Map(op="div", args=(x, y)) if not _is_one(x):
            return _times(rest(x), (Product((arena.div(arena.const(1), y),)),))
        case n.Map(op="where", args=(c, x, y)) if _is_zero(x) or _is_zero(y):
            zero, one = arena.const(0.0), arena.const(1.0)
            mask = arena.where(c, one, zero) if _is_zero(y) else arena.where(c, zero, one)
            return _times((Product((mask,)),), rest(x if _is_zero(y) else y))
        case n.Map(op="where", args=(_, x, y)) if x is y:  # a broadcast
            return rest(x)
        case n.Map(op="cast_real" | "cast_complex" | "cast_int", args=(x,)):
            return rest(x)
        case n.Rename(arg=x, pairs=pairs):
            found = _terms(arena, x, lambda inner: False)
            if found is None or any(p.summed for p in found):
                return (Product((node,)),)
            return tuple(Product(tuple(arena.rename(f, dict(pairs)) for f in p.factors)) for p in found)
        case n.Reduce(op="sum", arg=x, over=over):
            return _reduced(node, rest(x), over)
        case _:
            return (Product((node,)),)


def _added(x: tuple[Product, ...] | None, y: tuple[Product, ...] | None) -> tuple[Product, ...] | None:
    if x is None or y is None or len(x) + len(y) > LIMIT:
        return None
    return x + y


def _times(x: tuple[Product, ...] | None, y: tuple[Product, ...] | None) -> tuple[Product, ...] | None:
    if x is None or y is None or len(x) * len(y) > LIMIT:
        return None
    if any(set(p.summed) & set(q.summed) for p in x for q in y):
        return None
    return tuple(Product(p.factors + q.factors, p.summed + q.summed) for p in x for q in y)


def _reduced(node: Node, terms: tuple[Product, ...] | None, over: Axes) -> tuple[Product, ...] | None:
    if terms is None or any(set(p.summed) & set(over) for p in terms):
        return (Product((node,)),)
    if any(a not in {b for f in p.factors for b in f.axes} for p in terms for a in over):
        return (Product((node,)),)
    return tuple(Product(p.factors, (*p.summed, *over)) for p in terms)


def _is_zero(node: Node) -> bool:
    return isinstance(node, n.Const) and node.kind != "bool" and node.value == 0


def _is_one(node: Node) -> bool:
    return isinstance(node, n.Const) and node.kind != "bool" and node.value == 1
