"""Going over a tree without recursion."""

from __future__ import annotations

from collections.abc import Iterator

from ssmc.syntax import nodes


def children(node: nodes.Expr) -> tuple[nodes.Expr, ...]:
    """The expressions directly below one, left to right."""
    match node:
        case nodes.Binary(_, left, right):
            return (left, right)
        case nodes.Unary(_, operand) | nodes.Pick(operand) | nodes.Renamed(operand) | nodes.Paren(operand):
            return (operand,)
        case nodes.Call(args=args):
            return args
    return ()


def expressions(statement: nodes.Statement) -> tuple[nodes.Expr, ...]:
    """The expressions of a statement, in the order written."""
    match statement:
        case nodes.AxisDecl(size=expr) | nodes.Declaration(init=expr):
            return () if expr is None else (expr,)
        case nodes.Assign(value=expr) | nodes.Macro(body=expr):
            return (expr,)
        case nodes.Equation(right=right, options=options):
            return (right, *(value for _, value in options))
    return ()


def walk(root: nodes.Expr) -> Iterator[tuple[nodes.Expr, int]]:
    """Every expression of a tree with its depth (from 1), a parent before its children."""
    stack = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        yield node, depth
        stack.extend((child, depth + 1) for child in reversed(children(node)))
