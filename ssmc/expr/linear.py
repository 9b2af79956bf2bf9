"""Affine maps: an expression as a sum of terms, each linear in one atom, with coefficients kept factored."""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.expr.nodes import Axes, Node


@dataclass(frozen=True)
class Term:
    """One linear path from `atom` (a Read, say) to the result.

    The contribution at an element of the result is the sum over the `mixed` axes (atom axes, renamed `a~` on the
    atom's side) of left * right * atom[a -> a~ for a in mixed]; the atom's other axes are carried elementwise and are
    axes of the result too. `left` has only axes of the result; `right` holds every factor with a `~` axis.
    Diagonal: mixed is empty (then right is 1). Low rank: besides `~` axes, `right` has none of the result's mixed axes.
    Dense: it has (a matrix A[N, N~], a shift, a permutation).
    """

    atom: Node
    mixed: Axes
    left: Node
    right: Node


@dataclass(frozen=True)
class Affine:
    """The sum of the terms plus `constant` (None: zero)."""

    terms: tuple[Term, ...]
    constant: Node | None


@dataclass(frozen=True)
class Blocker:
    """Why an expression is not affine in the atoms: the smallest `node` at fault, and the reason in words."""

    node: Node
    reason: str
