"""Products with the small factors first: `(delta * B) * u` over D and N as `(delta * u) * B`.

    a[D] * b[N] * c[D]   ->   (a * c) * b          one product over D, one over D and N, in place of two

Only the order of the factors of one product changes, so the value is the same up to rounding. A partial product that
the user named, or that is used elsewhere too, stays whole.
"""

from __future__ import annotations

from dataclasses import replace

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import KINDS, Node
from ssmc.kernel import nodes as k


def regroup_products(program: k.Program) -> k.Program:
    """The program with every product regrouped."""
    passes = tuple(
        replace(p, loop=replace(p.loop, body=_regrouped(program.arena, p.loop.body))) for p in program.passes
    )
    return replace(program, passes=passes, step=_regrouped(program.arena, program.step))


def _regrouped(ar: Arena, body: tuple[k.Statement, ...]) -> tuple[k.Statement, ...]:
    uses: dict[Node, int] = {}
    _count(body, uses, set())

    def inner(node: Node) -> bool:
        return _is_product(node) and uses[node] == 1 and node not in ar.labels

    def factors(node: Node) -> list[Node]:
        found: list[Node] = []
        stack = list(reversed(n.children(node)))
        while stack:
            x = stack.pop()
            if inner(x):
                stack.extend(reversed(n.children(x)))
            else:
                found.append(x)
        return found

    def at(node: Node) -> Node | None:
        if not _is_product(node) or len(parts := factors(node)) < 3:
            return None
        product = _smallest_first(ar, ar.substitute(parts, at))
        return ar.noted(product, node)

    def changed(statement: k.Statement) -> k.Statement:
        match statement:
            case k.Let() | k.Set() | k.Store():
                return replace(statement, value=ar.substitute([statement.value], at)[0])
            case k.For(body=inside):
                return replace(statement, body=tuple(changed(s) for s in inside))
            case _:
                return statement

    return tuple(changed(s) for s in body)


def _count(body: tuple[k.Statement, ...], uses: dict[Node, int], seen: set[Node]) -> None:
    for s in body:
        match s:
            case k.Let(value=value) | k.Set(value=value) | k.Store(value=value):
                uses[value] = uses.get(value, 0) + 1
                for node in n.postorder([value]):
                    if node not in seen:
                        seen.add(node)
                        for c in n.children(node):
                            uses[c] = uses.get(c, 0) + 1
            case k.For(body=inside):
                _count(inside, uses, seen)


def _is_product(node: Node) -> bool:
    return isinstance(node, n.Map) and node.op == "mul"


def _smallest_first(ar: Arena, factors: list[Node]) -> Node:
    """Again and again the two whose product has the fewest axes; where several do, the first as written."""
    while len(factors) > 1:
        pairs = ((i, j) for j in range(len(factors)) for i in range(j))
        i, j = min(pairs, key=lambda p: (_weight(factors[p[0]], factors[p[1]]), p))
        factors[i] = ar.mul(factors[i], factors.pop(j))
    return factors[0]


def _weight(x: Node, y: Node) -> tuple[int, int]:
    return len({*x.axes, *y.axes}), max(KINDS.index(x.kind), KINDS.index(y.kind))
