"""The operator table: everything the compiler knows of an elementwise operator stands in its one entry.

Associativity detection, autodiff, interval analysis, the evaluators and the proofs ask this table; no other place
matches an operator by name to learn a property of it. A test fails if an entry lacks a column.

Evaluation goes through an array namespace `xp` (arrays.py: NumPy or torch with one vocabulary). Symbols for proofs go
through `sp`, the sympy module. A derivative gives, for each argument, the partial derivative as an expression (None: it
is zero almost everywhere); for complex arguments it is the complex derivative, and `holomorphic` says whether there is
one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssmc.expr import bounds as iv
from ssmc.expr.bounds import ANY, NONNEGATIVE, UNIT, Interval
from ssmc.expr.nodes import KINDS, Kind, Node

if TYPE_CHECKING:
    from ssmc.expr.arena import Arena

Partials = tuple["Node | None", ...]


def join_kinds(*kinds: Kind) -> Kind:
    return max(kinds, key=KINDS.index)


# -- type rules: kinds of the arguments -> kind of the result, or None if the operator does not take them ------------


def _numeric(*kinds: Kind) -> Kind | None:
    joined = join_kinds(*kinds)
    return "int" if joined == "bool" else joined


def _inexact(*kinds: Kind) -> Kind | None:
    joined = join_kinds(*kinds)
    return "complex" if joined == "complex" else "real"


def _real_inexact(*kinds: Kind) -> Kind | None:
    return None if "complex" in kinds else "real"


def _real_numeric(*kinds: Kind) -> Kind | None:
    return None if "complex" in kinds else _numeric(*kinds)


def _to_real(*kinds: Kind) -> Kind | None:
    joined = _numeric(*kinds)
    return "real" if joined == "complex" else joined


def _ordered(*kinds: Kind) -> Kind | None:
    return None if "complex" in kinds else "bool"


def _logical(*kinds: Kind) -> Kind | None:
    return "bool" if all(k == "bool" for k in kinds) else None


def _choice(*kinds: Kind) -> Kind | None:
    return join_kinds(*kinds[1:]) if kinds[0] == "bool" else None


@dataclass(frozen=True)
class Operator:
    """One elementwise operator.

    `monotone` has an entry an argument: +1 non-decreasing, -1 non-increasing, 0 neither. `distributes_over` names the
    operators `o` with op(x, o(y, z)) = o(op(x, y), op(x, z)) for every x; `distributes_if_nonnegative` those for which
    it holds where x >= 0. `adjoint` gives from the cotangent of the result (d L / d real + i d L / d imag) those of the
    arguments where the derivative alone does not: it is not complex, or a factor of 0 is to be a choice. `cost` is in
    floating-point operations, for the plan.
    """

    name: str
    arity: int
    rule: Callable[..., Kind | None]
    evaluate: Callable[..., Any]
    symbolic: Callable[..., Any]
    derivative: Callable[[Arena, tuple[Node, ...], Node], Partials]
    range: Callable[..., Interval]
    monotone: tuple[int, ...]
    adjoint: Callable[[Arena, tuple[Node, ...], Node, Node], Partials] | None = None
    associative: bool = False
    commutative: bool = False
    identity: bool | int | float | None = None
    annihilator: bool | int | float | None = None
    distributes_over: tuple[str, ...] = ()
    distributes_if_nonnegative: tuple[str, ...] = ()
    holomorphic: bool = True
    user: bool = True
    cost: int = 1


def _none(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
    return (None,) * len(args)


def _points(f: Callable[[float], float], increasing: bool = True) -> Callable[[Interval], Interval]:
    """The range of a monotone function from its values at the ends."""

    def at(x: float) -> float:
        try:
            return f(x)
        except (OverflowError, ValueError, ZeroDivisionError):
            return math.inf if (x > 0) == increasing else -math.inf

    def over(a: Interval) -> Interval:
        low, high = at(a.low), at(a.high)
        return Interval(low, high) if increasing else Interval(high, low)

    return over


def _exp(x: float) -> float:
    return math.inf if x > 709 else math.exp(x)


def _sigmoid(x: float) -> float:
    return 1 / (1 + _exp(-x)) if x > -700 else 0.0


def _softplus(x: float) -> float:
    return x if x > 40 else math.log1p(_exp(x))


def _log(x: float) -> float:
    return -math.inf if x <= 0 else math.log(x)


# -- derivatives ---------------------------------------------------------------------------------------------------
# each takes (arena, args, out) and gives one expression an argument


def _d_div(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
    return ar.div(ar.const(1), args[1]), ar.neg(ar.div(out, args[1]))


def _d_pow(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
    x, p = args
    by_x = ar.mul(p, ar.map("pow", x, ar.sub(p, ar.const(1))))
    # x**p log x, taken as 0 at x = 0 (the limit for p > 0), so that a masked branch cannot give 0 * inf
    positive = ar.map("ne", x, ar.const(0))
    safe = ar.where(positive, x, ar.const(1))
    return by_x, ar.where(positive, ar.mul(out, ar.map("log", safe)), ar.const(0.0))


def _d_sigmoid(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
    return (ar.mul(out, ar.sub(ar.const(1), out)),)


def _d_silu(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
    s = ar.map("sigmoid", args[0])
    return (ar.mul(s, ar.add(ar.const(1), ar.mul(args[0], ar.sub(ar.const(1), s)))),)


def _d_gelu(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
    x = args[0]
    cdf = ar.mul(ar.const(0.5), ar.add(ar.const(1), ar.map("erf", ar.mul(x, ar.const(math.sqrt(0.5))))))
    density = ar.mul(ar.const(1 / math.sqrt(2 * math.pi)), ar.exp(ar.mul(ar.const(-0.5), ar.mul(x, x))))
    return (ar.add(cdf, ar.mul(x, density)),)


def _step(ar: Arena, x: Node, above: Node, below: Node) -> Node:
    return ar.where(ar.map("gt", x, ar.const(0)), above, below)


def _d_extremum(op: str) -> Callable[[Arena, tuple[Node, ...], Node], Partials]:
    def rule(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
        # at a tie each side gets half, as torch does
        a, b = args
        half, one, zero = ar.const(0.5), ar.const(1.0), ar.const(0.0)
        tie = ar.map("eq", a, b)
        first = ar.where(tie, half, ar.where(ar.map(op, a, b), one, zero))
        return first, ar.sub(one, first)

    return rule


def _d_logaddexp(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
    a, b = args
    first = ar.map("sigmoid", ar.sub(a, b))
    return first, ar.map("sigmoid", ar.sub(b, a))


def _d_where(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
    c = args[0]
    return None, ar.where(c, ar.const(1.0), ar.const(0.0)), ar.where(c, ar.const(0.0), ar.const(1.0))


def _d_abs(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
    return (ar.map("sign", args[0]),)


def _d_phi(ar: Arena, args: tuple[Node, ...], out: Node) -> Partials:
    # phi_k' = phi_k - k phi_{k+1}
    x, k = args
    return ar.sub(out, ar.mul(k, ar.map("phi", x, ar.add(k, ar.const(1))))), None


# -- adjoints: where a derivative alone does not say it -------------------------------------------------------------
# each takes (arena, args, out, cotangent of out)


def _t_abs(ar: Arena, args: tuple[Node, ...], out: Node, cot: Node) -> Partials:
    return (ar.mul(cot, ar.map("sign", args[0])),)


def _t_sign(ar: Arena, args: tuple[Node, ...], out: Node, cot: Node) -> Partials:
    if out.kind != "complex":
        return (None,)
    # out = z / |z| moves only across itself
    across = ar.sub(cot, ar.mul(out, ar.map("real", ar.mul(ar.map("conj", out), cot))))
    return (_over_modulus(ar, args[0], across, 1),)


def _t_imag(ar: Arena, args: tuple[Node, ...], out: Node, cot: Node) -> Partials:
    return (ar.mul(ar.const(1j), cot) if args[0].kind == "complex" else None,)


def _t_angle(ar: Arena, args: tuple[Node, ...], out: Node, cot: Node) -> Partials:
    if args[0].kind != "complex":
        return (None,)
    return (_over_modulus(ar, args[0], ar.mul(ar.mul(ar.const(1j), args[0]), cot), 2),)


def _over_modulus(ar: Arena, z: Node, x: Node, power: int) -> Node:
    """x / |z|**power, 0 where z is."""
    nothing = ar.map("eq", z, ar.const(0))
    size = ar.where(nothing, ar.const(1.0), ar.map("abs", z))
    return ar.where(nothing, ar.const(0.0), ar.div(x, size if power == 1 else ar.mul(size, size)))


def _t_where(ar: Arena, args: tuple[Node, ...], out: Node, cot: Node) -> Partials:
    zero = ar.const(0.0)
    return None, ar.where(args[0], cot, zero), ar.where(args[0], zero, cot)


def _t_logaddexp(ar: Arena, args: tuple[Node, ...], out: Node, cot: Node) -> Partials:
    # nothing comes to two equal infinities, as nothing comes to the terms of a sum that has none
    a, b = args
    same = ar.map("and", ar.map("eq", a, b), ar.map("eq", ar.map("abs", a), ar.const(math.inf)))
    zero = ar.const(0.0)
    more = ar.where(same, zero, ar.sub(a, b))
    cot = ar.where(same, zero, cot)
    return ar.mul(cot, ar.map("sigmoid", more)), ar.mul(cot, ar.map("sigmoid", ar.neg(more)))


def _chain(f: Callable[[Arena, Node, Node], Node]) -> Callable[[Arena, tuple[Node, ...], Node], Partials]:
    return lambda ar, args, out: (f(ar, args[0], out),)


def _mod_range(a: Interval, b: Interval) -> Interval:
    return Interval(0.0, b.high) if b.low > 0 else ANY


# -- the table -----------------------------------------------------------------------------------------------------

# One entry, one paragraph: the formatter would give every column a line.
# fmt: off
_entries: list[Operator] = [
    # arithmetic
    Operator("neg", 1, _numeric, lambda xp, x: -x, lambda sp, x: -x,
             _chain(lambda ar, x, y: ar.const(-1)), iv.neg, (-1,)),
    Operator("add", 2, _numeric, lambda xp, x, y: x + y, lambda sp, x, y: x + y,
             lambda ar, a, o: (ar.const(1), ar.const(1)), iv.add, (1, 1),
             associative=True, commutative=True, identity=0, distributes_over=("max", "min", "logaddexp")),
    Operator("sub", 2, _numeric, lambda xp, x, y: x - y, lambda sp, x, y: x - y,
             lambda ar, a, o: (ar.const(1), ar.const(-1)), iv.sub, (1, -1)),
    Operator("mul", 2, _numeric, lambda xp, x, y: x * y, lambda sp, x, y: x * y,
             lambda ar, a, o: (a[1], a[0]), iv.mul, (0, 0),
             associative=True, commutative=True, identity=1, annihilator=0, distributes_over=("add", "sub"),
             distributes_if_nonnegative=("max", "min")),
    Operator("div", 2, _inexact, lambda xp, x, y: xp.true_divide(x, y), lambda sp, x, y: x / y, _d_div, iv.div, (0, 0),
             cost=4),
    Operator("pow", 2, _numeric, lambda xp, x, y: xp.power(x, y), lambda sp, x, y: x**y, _d_pow, iv.power, (0, 0),
             cost=20),
    # comparisons
    *(
        Operator(name, 2, rule, evaluate, symbolic, _none, lambda a, b: UNIT, monotone)
        for name, rule, evaluate, symbolic, monotone in (
            ("lt", _ordered, lambda xp, x, y: x < y, lambda sp, x, y: sp.StrictLessThan(x, y), (-1, 1)),
            ("le", _ordered, lambda xp, x, y: x <= y, lambda sp, x, y: sp.LessThan(x, y), (-1, 1)),
            ("gt", _ordered, lambda xp, x, y: x > y, lambda sp, x, y: sp.StrictGreaterThan(x, y), (1, -1)),
            ("ge", _ordered, lambda xp, x, y: x >= y, lambda sp, x, y: sp.GreaterThan(x, y), (1, -1)),
        )
    ),
    Operator("eq", 2, lambda a, b: "bool", lambda xp, x, y: x == y, lambda sp, x, y: sp.Eq(x, y), _none,
             lambda a, b: UNIT, (0, 0), commutative=True),
    Operator("ne", 2, lambda a, b: "bool", lambda xp, x, y: x != y, lambda sp, x, y: sp.Ne(x, y), _none,
             lambda a, b: UNIT, (0, 0), commutative=True),
    # logic
    Operator("not", 1, _logical, lambda xp, x: xp.logical_not(x), lambda sp, x: sp.Not(x), _none,
             lambda a: UNIT, (-1,)),
    Operator("and", 2, _logical, lambda xp, x, y: xp.logical_and(x, y), lambda sp, x, y: sp.And(x, y), _none,
             lambda a, b: UNIT, (1, 1), associative=True, commutative=True, identity=True, annihilator=False,
             distributes_over=("or", "and")),
    Operator("or", 2, _logical, lambda xp, x, y: xp.logical_or(x, y), lambda sp, x, y: sp.Or(x, y), _none,
             lambda a, b: UNIT, (1, 1), associative=True, commutative=True, identity=False, annihilator=True,
             distributes_over=("and", "or")),
    # exponentials
    Operator("exp", 1, _inexact, lambda xp, x: xp.exp(x), lambda sp, x: sp.exp(x),
             lambda ar, a, o: (o,), _points(_exp), (1,), cost=10),
    Operator("log", 1, _inexact, lambda xp, x: xp.log(x), lambda sp, x: sp.log(x),
             _chain(lambda ar, x, y: ar.div(ar.const(1), x)), _points(_log), (1,), cost=10),
    Operator("log1p", 1, _inexact, lambda xp, x: xp.log1p(x), lambda sp, x: sp.log(1 + x),
             _chain(lambda ar, x, y: ar.div(ar.const(1), ar.add(ar.const(1), x))),
             _points(lambda x: _log(1 + x)), (1,), cost=10),
    Operator("expm1", 1, _inexact, lambda xp, x: xp.expm1(x), lambda sp, x: sp.exp(x) - 1,
             _chain(lambda ar, x, y: ar.add(y, ar.const(1))), _points(lambda x: _exp(x) - 1), (1,), cost=10),
    Operator("phi", 2, _inexact, lambda xp, x, k: xp.phi(x, k), lambda sp, x, k: sp.Function("phi")(x, k), _d_phi,
             lambda a, k: NONNEGATIVE, (1, 0), user=False, cost=15),
    Operator("sqrt", 1, _inexact, lambda xp, x: xp.sqrt(x), lambda sp, x: sp.sqrt(x),
             _chain(lambda ar, x, y: ar.div(ar.const(0.5), y)), _points(lambda x: math.sqrt(max(x, 0.0))), (1,),
             cost=4),
    Operator("rsqrt", 1, _inexact, lambda xp, x: xp.rsqrt(x), lambda sp, x: 1 / sp.sqrt(x),
             _chain(lambda ar, x, y: ar.mul(ar.const(-0.5), ar.div(y, x))), lambda a: NONNEGATIVE, (-1,), cost=4),
    # parts
    Operator("abs", 1, _to_real, lambda xp, x: xp.abs(x), lambda sp, x: sp.Abs(x), _d_abs, iv.absolute, (0,),
             _t_abs, holomorphic=False),
    Operator("sign", 1, _numeric, lambda xp, x: xp.sign(x), lambda sp, x: sp.sign(x), _none,
             lambda a: Interval(-1.0, 1.0), (1,), _t_sign, holomorphic=False),
    Operator("real", 1, _to_real, lambda xp, x: xp.real(x), lambda sp, x: sp.re(x),
             lambda ar, a, o: (ar.const(1),), lambda a: a, (1,), lambda ar, a, o, cot: (cot,), holomorphic=False),
    Operator("imag", 1, _to_real, lambda xp, x: xp.imag(x), lambda sp, x: sp.im(x), _none, lambda a: ANY, (0,),
             _t_imag, holomorphic=False),
    Operator("conj", 1, _numeric, lambda xp, x: xp.conj(x), lambda sp, x: sp.conjugate(x),
             lambda ar, a, o: (ar.const(1),), lambda a: a, (1,), lambda ar, a, o, cot: (ar.map("conj", cot),),
             holomorphic=False),
    Operator("angle", 1, lambda k: "real", lambda xp, x: xp.angle(x), lambda sp, x: sp.arg(x), _none,
             lambda a: Interval(-math.pi, math.pi), (0,), _t_angle, holomorphic=False, cost=20),
    # trigonometry
    Operator("sin", 1, _inexact, lambda xp, x: xp.sin(x), lambda sp, x: sp.sin(x),
             _chain(lambda ar, x, y: ar.map("cos", x)), lambda a: Interval(-1.0, 1.0), (0,), cost=15),
    Operator("cos", 1, _inexact, lambda xp, x: xp.cos(x), lambda sp, x: sp.cos(x),
             _chain(lambda ar, x, y: ar.neg(ar.map("sin", x))), lambda a: Interval(-1.0, 1.0), (0,), cost=15),
    Operator("tan", 1, _inexact, lambda xp, x: xp.tan(x), lambda sp, x: sp.tan(x),
             _chain(lambda ar, x, y: ar.add(ar.const(1), ar.mul(y, y))), lambda a: ANY, (0,), cost=20),
    # activations
    Operator("tanh", 1, _inexact, lambda xp, x: xp.tanh(x), lambda sp, x: sp.tanh(x),
             _chain(lambda ar, x, y: ar.sub(ar.const(1), ar.mul(y, y))), _points(math.tanh), (1,), cost=15),
    Operator("sigmoid", 1, _real_inexact, lambda xp, x: xp.sigmoid(x), lambda sp, x: 1 / (1 + sp.exp(-x)), _d_sigmoid,
             _points(_sigmoid), (1,), cost=12),
    Operator("logsigmoid", 1, _real_inexact, lambda xp, x: -xp.softplus(-x), lambda sp, x: -sp.log(1 + sp.exp(-x)),
             _chain(lambda ar, x, y: ar.map("sigmoid", ar.neg(x))), _points(lambda x: -_softplus(-x)), (1,), cost=20),
    Operator("silu", 1, _real_inexact, lambda xp, x: x * xp.sigmoid(x), lambda sp, x: x / (1 + sp.exp(-x)), _d_silu,
             lambda a: Interval(0.0 if a.low >= 0 else -0.2784645427610738, max(a.high, 0.0)), (0,), cost=13),
    Operator("gelu", 1, _real_inexact, lambda xp, x: 0.5 * x * (1 + xp.erf(x * math.sqrt(0.5))),
             lambda sp, x: x * (1 + sp.erf(x / sp.sqrt(2))) / 2, _d_gelu,
             lambda a: Interval(0.0 if a.low >= 0 else -0.17, max(a.high, 0.0)), (0,), cost=20),
    # a choice, not a maximum: the derivative at 0 is 0, not half of one side's
    Operator("relu", 1, _real_numeric, lambda xp, x: xp.where(x <= 0, 0, x), lambda sp, x: sp.Max(x, 0),
             _chain(lambda ar, x, y: _step(ar, x, ar.const(1.0), ar.const(0.0))),
             lambda a: Interval(max(a.low, 0.0), max(a.high, 0.0)), (1,)),
    Operator("softplus", 1, _real_inexact, lambda xp, x: xp.softplus(x), lambda sp, x: sp.log(1 + sp.exp(x)),
             _chain(lambda ar, x, y: ar.map("sigmoid", x)), _points(_softplus), (1,), cost=20),
    Operator("elu", 1, _real_inexact, lambda xp, x: xp.where(x > 0, x, xp.expm1(xp.minimum(x, 0))),
             lambda sp, x: sp.Piecewise((x, x > 0), (sp.exp(x) - 1, True)),
             _chain(lambda ar, x, y: _step(ar, x, ar.const(1.0), ar.add(y, ar.const(1)))),
             _points(lambda x: x if x > 0 else _exp(x) - 1), (1,), cost=12),
    Operator("erf", 1, _real_inexact, lambda xp, x: xp.erf(x), lambda sp, x: sp.erf(x),
             _chain(lambda ar, x, y: ar.mul(ar.const(2 / math.sqrt(math.pi)), ar.exp(ar.neg(ar.mul(x, x))))),
             _points(math.erf), (1,), cost=15),
    # rounding
    Operator("floor", 1, _real_numeric, lambda xp, x: xp.floor(x), lambda sp, x: sp.floor(x), _none,
             lambda a: Interval(a.low - 1, a.high), (1,)),
    Operator("round", 1, _real_numeric, lambda xp, x: xp.round(x), lambda sp, x: sp.Function("round")(x), _none,
             lambda a: Interval(a.low - 1, a.high + 1), (1,)),
    Operator("mod", 2, _real_numeric, lambda xp, x, y: xp.mod(x, y), lambda sp, x, y: sp.Mod(x, y),
             lambda ar, a, o: (ar.const(1), ar.neg(ar.map("floor", ar.div(a[0], a[1])))), _mod_range, (0, 0), cost=8),
    # choice
    Operator("min", 2, _real_numeric, lambda xp, x, y: xp.minimum(x, y), lambda sp, x, y: sp.Min(x, y),
             _d_extremum("lt"), iv.minimum, (1, 1), associative=True, commutative=True, identity=math.inf,
             annihilator=-math.inf, distributes_over=("max", "min")),
    Operator("max", 2, _real_numeric, lambda xp, x, y: xp.maximum(x, y), lambda sp, x, y: sp.Max(x, y),
             _d_extremum("gt"), iv.maximum, (1, 1), associative=True, commutative=True, identity=-math.inf,
             annihilator=math.inf, distributes_over=("min", "max")),
    Operator("logaddexp", 2, _real_inexact, lambda xp, x, y: xp.logaddexp(x, y),
             lambda sp, x, y: sp.log(sp.exp(x) + sp.exp(y)), _d_logaddexp,
             lambda a, b: Interval(max(a.low, b.low), math.inf), (1, 1), _t_logaddexp, associative=True,
             commutative=True, identity=-math.inf, distributes_over=("max", "min"), cost=30),
    Operator("where", 3, _choice, lambda xp, c, x, y: xp.where(c, x, y),
             lambda sp, c, x, y: sp.Piecewise((x, c), (y, True)),
             _d_where, lambda c, a, b: iv.join(a, b), (0, 1, 1), _t_where),
    # conversions, inserted by the arena where an operator needs one kind
    Operator("cast_real", 1, lambda k: None if k == "complex" else "real", lambda xp, x: xp.to_real(x),
             lambda sp, x: x, lambda ar, a, o: (ar.const(1),), lambda a: a, (1,), user=False, cost=0),
    Operator("cast_complex", 1, lambda k: "complex", lambda xp, x: xp.to_complex(x), lambda sp, x: x,
             lambda ar, a, o: (ar.const(1),), lambda a: a, (1,), user=False, cost=0),
    Operator("cast_int", 1, lambda k: "int" if k in ("bool", "int") else None, lambda xp, x: xp.to_int(x),
             lambda sp, x: x, _none, lambda a: a, (1,), user=False, cost=0),
]
# fmt: on

OPS: dict[str, Operator] = {op.name: op for op in _entries}


@dataclass(frozen=True)
class Reduction:
    """A reduction is an associative operator folded over an axis; an empty axis gives its identity."""

    name: str
    operator: str
    rule: Callable[[Kind], Kind | None]


REDUCTIONS: dict[str, Reduction] = {
    r.name: r
    for r in (
        Reduction("sum", "add", _numeric),
        Reduction("prod", "mul", _numeric),
        Reduction("max", "max", _real_numeric),
        Reduction("min", "min", _real_numeric),
        Reduction("any", "or", _logical),
        Reduction("all", "and", _logical),
        Reduction("logsumexp", "logaddexp", _real_inexact),
    )
}
