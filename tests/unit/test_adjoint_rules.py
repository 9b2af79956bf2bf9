"""The transpose of every operator and node, beside torch's autograd of what it computes."""

from __future__ import annotations

import pytest
import torch

from ssmc.adjoint.rules import Rules
from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.arrays import TorchArrays
from ssmc.expr.evaluate import Named, evaluate
from ssmc.expr.nodes import Kind, Node
from ssmc.expr.ops import OPS

SIZES = {"N": 3, "M": 2, "NN": 6}
# where an operator is smooth and finite
RANGE = {"log": (0.2, 2), "sqrt": (0.2, 2), "rsqrt": (0.2, 2), "log1p": (-0.5, 2), "pow": (0.3, 2), "mod": (0.6, 5)}


def _arena() -> Arena:
    return Arena(("M", "N", "NN"))


def _check(ar: Arena, root: Node, leaves: list[Node], low: float = -2.0, high: float = 2.0) -> None:
    """Cotangents by the rules, taken down to the leaves, against autograd; the cotangent of the root is drawn."""
    g = torch.Generator().manual_seed(7)

    def draw(node: Node) -> torch.Tensor:
        shape = [SIZES[a.rstrip("'")] for a in node.axes]
        x = torch.rand(shape, generator=g, dtype=torch.float64) * (high - low) + low
        if node.kind == "complex":
            return x + 1j * (torch.rand(shape, generator=g, dtype=torch.float64) * (high - low) + low)
        if node.kind == "bool":
            return x > 0
        return torch.floor(x * 3).to(torch.int64) if node.kind == "int" else x

    values = {x: draw(x) for x in leaves}
    for x, v in values.items():
        if x.kind in ("real", "complex"):
            v.requires_grad_()
    cot = ar.input("cot", root.axes, root.kind)
    weight = draw(cot)
    given = {**values, cot: weight}

    def leaf(node: Node) -> Named:
        return Named(node.axes, given[node])

    rules = Rules(ar, lambda axis: "NN")
    found: dict[Node, Node] = {root: cot}
    for node in reversed(n.postorder([root])):
        if node in found:
            for x, c in rules.operands(node, found[node]):
                assert set(c.axes) <= set(x.axes)
                assert c.kind == x.kind
                found[x] = ar.add(found[x], c) if x in found else c
    smooth = [x for x in leaves if x.kind in ("real", "complex")]
    (out,) = evaluate([root], leaf, TorchArrays(), SIZES)
    data = out.data.permute([out.axes.index(a) for a in root.axes])
    wanted = torch.autograd.grad(data, [values[x] for x in smooth], weight, allow_unused=True)
    for x, want in zip(smooth, wanted, strict=True):
        if want is None or x not in found:
            assert x not in found or want is None or not want.any()
            continue
        with torch.no_grad():
            (got,) = evaluate([ar.broadcast(found[x], x.axes)], leaf, TorchArrays(), SIZES)
        torch.testing.assert_close(got.data.permute([got.axes.index(a) for a in x.axes]), want)


def _kinds(op: str, kind: Kind) -> list[Kind]:
    """Kinds of operands, the first of them (the second of `where`) `kind`."""
    if op in ("not", "and", "or", "cast_int"):
        return ["bool"] * OPS[op].arity
    if op == "where":
        return ["bool", kind, kind]
    if op == "phi":
        return [kind]
    return [kind, "real"][: OPS[op].arity]


CASES = [
    (op, kind)
    for op in OPS
    for kind in ("real", "complex")
    if OPS[op].rule(*_kinds(op, kind), *(["int"] if op == "phi" else [])) in ("real", "complex")
]


@pytest.mark.parametrize(("op", "kind"), CASES)
def test_operators(op: str, kind: Kind) -> None:
    ar = _arena()
    axes = [("M", "N"), ("N",), ("M",)]
    leaves = [ar.input(f"x{i}", axes[i], k) for i, k in enumerate(_kinds(op, kind))]
    root = ar.map(op, *leaves, *([ar.const(2)] if op == "phi" else []))
    _check(ar, root, list(leaves), *RANGE.get(op, (-2, 2)))


def _x(ar: Arena, axes: tuple[str, ...] = ("M", "N"), kind: Kind = "real") -> Node:
    return ar.input("x", axes, kind)


NODES = {
    "sum": lambda ar, x: ar.reduce("sum", x, ("N",)),
    "sum of all": lambda ar, x: ar.reduce("sum", x, ("M", "N")),
    "prod": lambda ar, x: ar.reduce("prod", x, ("N",)),
    "prod of all": lambda ar, x: ar.reduce("prod", x, ("M", "N")),
    "prod with a zero": lambda ar, x: ar.reduce(
        "prod", ar.where(ar.map("eq", ar.index("N"), ar.const(1)), ar.mul(x, ar.const(0.0)), x), ("N",)
    ),
    "cumsum": lambda ar, x: ar.cumulative("sum", x, "N"),
    "cumsum backwards": lambda ar, x: ar.cumulative("sum", x, "N", True),
    "cumprod": lambda ar, x: ar.cumulative("prod", x, "N"),
    "cumprod backwards": lambda ar, x: ar.cumulative("prod", x, "N", True),
    "rename": lambda ar, x: ar.mul(ar.rename(x, {"N": "N'"}), x),
    "pick": lambda ar, x: ar.pick(x, "N", 1),
    "pick from the end": lambda ar, x: ar.pick(x, "N", -1),
    "shift": lambda ar, x: ar.shift(x, "N", 1),
    "shift down": lambda ar, x: ar.shift(x, "N", -2),
    "a product": lambda ar, x: ar.contract(x, ar.rename(x, {"N": "N'"}), ("M",)),
    "a cumulative sum of a broadcast": lambda ar, x: ar.cumulative("sum", ar.reduce("sum", x, ("M",)), "N"),
    "solve": lambda ar, x: ar.solve(_regular(ar, x), x, "N", "N'"),
    "expm": lambda ar, x: ar.expm(_square(ar, x), "N", "N'"),
    "phi of a matrix": lambda ar, x: ar.expm(_square(ar, x), "N", "N'", 1),
}  # fmt: skip
REAL_NODES = {
    "max": lambda ar, x: ar.reduce("max", x, ("N",)),
    "min of ties": lambda ar, x: ar.reduce("min", ar.map("relu", x), ("M", "N")),
    "logsumexp": lambda ar, x: ar.reduce("logsumexp", x, ("N",)),
    "logsumexp of nothing": lambda ar, x: ar.reduce(
        "logsumexp", ar.where(ar.map("gt", x, ar.const(0)), x, ar.const(float("-inf"))), ("N",)
    ),
    "a logarithm behind a mask": lambda ar, x: ar.where(
        ar.map("gt", x, ar.const(0)), ar.map("log", ar.map("relu", x)), ar.const(0.5)
    ),
}


def _square(ar: Arena, x: Node) -> Node:
    return ar.mul(ar.const(0.3), ar.mul(x, ar.rename(ar.map("conj", x), {"N": "N'"})))


def _regular(ar: Arena, x: Node) -> Node:
    return ar.add(ar.mul(ar.const(3.0), ar.eye("N", "N'")), _square(ar, x))


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("kind", ["real", "complex"])
def test_nodes(name: str, kind: Kind) -> None:
    ar = _arena()
    x = _x(ar, kind=kind)
    _check(ar, NODES[name](ar, x), [x])


@pytest.mark.parametrize("name", REAL_NODES)
def test_real_nodes(name: str) -> None:
    ar = _arena()
    x = _x(ar)
    root = REAL_NODES[name](ar, x)
    if name == "a logarithm behind a mask":
        return _check_masked(ar, root, x)
    return _check(ar, root, [x])


def _check_masked(ar: Arena, root: Node, x: Node) -> None:
    """Where autograd gives NaN: 0 times infinity, from the branch not taken."""
    cot = ar.const(1.0)
    found: dict[Node, Node] = {root: cot}
    rules = Rules(ar, lambda axis: "NN")
    for node in reversed(n.postorder([root])):
        if node in found:
            for y, c in rules.operands(node, found[node]):
                found[y] = ar.add(found[y], c) if y in found else c
    data = torch.tensor([[0.0, 2.0, -1.0], [0.5, 0.0, 1.0]], dtype=torch.float64)
    (got,) = evaluate([found[x]], lambda node: Named(node.axes, data), TorchArrays(), SIZES)
    wanted = torch.where(data > 0, 1 / data, 0.0)
    torch.testing.assert_close(got.data, wanted)
