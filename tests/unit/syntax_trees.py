"""Generated trees for the tests of the syntax level: every construct, small, with names that say nothing."""

from __future__ import annotations

from hypothesis import strategies as st

from ssmc.source import Source, Span
from ssmc.syntax import nodes

NOWHERE = Span(Source("<none>", ""), 0, 0)
VALUES = ("a", "b", "h", "x1", "λ", "step", "sum", "complex", "reverse", "not_", "if_")
AXES = ("D", "N", "K", "t", "sum", "input", "and", "not", "using", "Δ")
FUNCTIONS = ("f", "sum", "exp", "input", "using", "t")

values = st.sampled_from(VALUES)
axes = st.sampled_from(AXES)


def name(text: str) -> nodes.Identifier:
    return nodes.Identifier(text, NOWHERE)


names = values.map(name)
axis_names = axes.map(name)
axis_lists = st.lists(axis_names, min_size=1, max_size=3).map(tuple)

numbers = st.one_of(
    st.integers(0, 10**18 - 1),
    st.floats(0, allow_nan=False, allow_infinity=False),
    st.floats(0, allow_nan=False, allow_infinity=False).map(lambda x: complex(0, x)),
).map(lambda v: nodes.Number(v, NOWHERE))
leaves: st.SearchStrategy[nodes.Expr] = st.one_of(
    numbers,
    st.sampled_from((*VALUES, "t", "pi", "hippo.legs.B", "a.input")).map(lambda n: nodes.Name(n, NOWHERE)),
    st.builds(lambda f, a: nodes.AxisQuery(name(f), a, NOWHERE), st.sampled_from(("size", "index")), axis_names),
)
BINARY = ("+", "-", "*", "/", "**", "@", "·", "⊗", "<", "<=", ">", ">=", "==", "!=", "and", "or")


def _above(inner: st.SearchStrategy[nodes.Expr]) -> st.SearchStrategy[nodes.Expr]:
    return st.one_of(
        st.builds(lambda op, e: nodes.Unary(op, e, NOWHERE), st.sampled_from(("-", "not")), inner),
        st.builds(lambda op, a, b: nodes.Binary(op, a, b, NOWHERE, NOWHERE), st.sampled_from(BINARY), inner, inner),
        st.builds(
            lambda f, a, args: nodes.Call(name(f), a, tuple(args), NOWHERE),
            st.sampled_from(FUNCTIONS),
            st.none() | axis_lists,
            st.lists(inner, max_size=3),
        ),
        st.builds(lambda e, a, i: nodes.Pick(e, a, i, NOWHERE), inner, axis_names, st.integers(-99, 99)),
        st.builds(
            lambda e, pairs: nodes.Renamed(e, tuple(pairs), NOWHERE),
            inner,
            st.lists(st.tuples(axis_names, axis_names), min_size=1, max_size=2),
        ),
        st.builds(lambda e: nodes.Paren(e, NOWHERE), inner),
    )


expressions = st.recursive(leaves, _above, max_leaves=12)

kinds = st.none() | st.sampled_from(("complex", "bool", "int")).map(name)
optional = st.none() | expressions
bracket = st.none() | axis_lists
statements: st.SearchStrategy[nodes.Statement] = st.one_of(
    st.builds(lambda n, e: nodes.AxisDecl(n, e, NOWHERE), axis_names, optional),
    st.builds(lambda ns: nodes.EachDecl(ns, NOWHERE), axis_lists),
    st.builds(lambda n, a, k: nodes.Declaration("input", n, a, k, None, False, NOWHERE), names, bracket, kinds),
    st.builds(
        lambda r, n, a, k, e: nodes.Declaration(r, n, a, k, e, False, NOWHERE),
        st.sampled_from(("param", "output")),
        names,
        bracket,
        kinds,
        optional,
    ),
    st.builds(
        lambda n, a, k, e, r: nodes.Declaration("state", n, a, k, e, r, NOWHERE),
        names,
        bracket,
        kinds,
        optional,
        st.booleans(),
    ),
    st.builds(lambda n, e: nodes.Assign(n, e, NOWHERE), names, expressions),
    st.builds(
        lambda f, a, formals, e: nodes.Macro(name(f), a, tuple(map(name, formals)), e, NOWHERE),
        st.sampled_from(FUNCTIONS),
        bracket,
        st.lists(values, min_size=1, max_size=3, unique=True),
        expressions,
    ),
    st.builds(
        lambda n, e, m, options: nodes.Equation(n, e, name(m), tuple(options), NOWHERE),
        names,
        expressions,
        st.sampled_from(("zoh", "euler", "step")),
        st.lists(st.tuples(st.sampled_from(("step", "alpha")).map(name), expressions), max_size=2),
    ),
)
specs = st.builds(
    lambda n, ss: nodes.Spec(name(n), tuple(ss), NOWHERE),
    st.sampled_from(("mamba", "input", "s_1")),
    st.lists(statements, max_size=6),
)
