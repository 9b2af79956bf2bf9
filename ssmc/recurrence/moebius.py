from __future__ import annotations
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Blocker
from ssmc.expr.nodes import Node
from ssmc.recurrence.nodes import Monoid
from ssmc.step.nodes import Register
def moebius(arena: Arena, register: Register, root: Node) -> tuple[Node, ...] | Blocker:
    return Blocker(root, "TODO")
def moebius_monoid(arena: Arena, register: Register, matrix: tuple[Node, ...]) -> Monoid:
    raise NotImplementedError
