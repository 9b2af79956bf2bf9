"""What an expression of the spec is elaborated to, and the masks of `past`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.nodes import Axes, Kind, Node, base_axis
from ssmc.syntax import nodes as syn

Masks = tuple[tuple[str, Node], ...]


@dataclass(frozen=True)
class Value:
    """A typed expression. `axes` are the node's in the order that `@` sees: written for a declared name.

    `past` has, for each axis of earlier steps, which of its positions hold a step since the start (a bool expression).
    """

    node: Node
    axes: Axes
    past: Masks = ()

    @property
    def kind(self) -> Kind:
        return self.node.kind

    @property
    def squares(self) -> Axes:
        """The axes that this value has as rows and as columns."""
        return tuple(a for a in self.axes if a == base_axis(a) and f"{a}'" in self.axes)


Result = Value | None
"""None: a mistake that was reported, or a value whose type is not known yet."""


@dataclass(eq=False)
class Scope:
    """The formals of one call of a macro. `path` names the call: the places of the calls that led here.

    `values` are the arguments as they are at the call. Inside a delay an argument is looked at again, in its own
    scope, as it was at the earlier step.
    """

    macro: syn.Macro
    path: tuple[int, ...]
    args: Mapping[str, tuple[syn.Expr, Scope | None]]
    values: dict[str, Result]
    axes: Mapping[str, str | None]
    final: bool


def value(node: Node, past: Masks = ()) -> Value:
    return Value(node, node.axes, past)


def once(axes: Axes) -> Axes:
    """The axes without the columns of squares."""
    return tuple(a for a in axes if a == base_axis(a))


# -- masks ---------------------------------------------------------------------------------------------------------


def conjunction(arena: Arena, masks: Iterable[Node]) -> Node | None:
    """The masks joined by `and`, each once; None if there are none."""
    joined: Node | None = None
    for m in dict.fromkeys(masks):
        joined = m if joined is None else arena.map("and", joined, m)
    return joined


def merge(arena: Arena, parts: Sequence[Masks]) -> Masks:
    """The masks of an elementwise result: a position counts where it does in every operand."""
    axes = dict.fromkeys(a for p in parts for a, _ in p)
    found: list[tuple[str, Node]] = []
    for a in axes:
        joined = conjunction(arena, (m for p in parts for b, m in p if a == b))
        assert joined is not None
        found.append((a, joined))
    return tuple(found)


def without(arena: Arena, masks: Masks, over: Sequence[str]) -> Masks:
    """The masks of a reduction over some axes."""
    gone = [m for a, m in masks if a in over]
    kept: list[tuple[str, Node]] = []
    for a, m in masks:
        if a in over:
            continue
        shared = [x for x in m.axes if x in over]
        if shared:
            both = conjunction(arena, [m, *(g for g in gone if set(g.axes) & set(shared))])
            assert both is not None
            m = arena.reduce("any", both, shared)
        kept.append((a, m))
    return tuple(kept)


def through(masks: Masks, f: Callable[[Node], Node]) -> Masks:
    return tuple((a, f(m)) for a, m in masks)


def delayed(arena: Arena, masks: Masks, earlier: Node) -> Masks:
    """The masks as they are at step `earlier`, an expression of `t`."""
    at = lambda node: earlier if isinstance(node, n.Time) else None  # noqa: E731
    return through(masks, lambda m: arena.substitute([m], at)[0])
