"""The gradient of a decay, without the states of every step.

A register S and the register D of its adjoint, with a the decay, U what a step writes, W and V what comes to S's value
after a step and before it:

    forward    S_t = a_t S_{t-1} + U_t
    backward   X_t = D_t + W_t,   D_{t-1} = a_t X_t + V_t          X_t: all that comes to S_t

The gradient of log a_t is  g_t = sum of X_t a_t S_{t-1}  over the axes that a lacks, a product of two whole states.
With

    R_t = sum of S_t D_t:      g_t = R_t + sum of a_t W_t S_{t-1} - sum of D_t U_t       since a_t S_{t-1} = S_t - U_t
                               R_{t-1} = g_t + sum of V_t S_{t-1}

so R is a running sum, against time, of readouts: W, U and V are outer products. No factor is divided by, so this is
exact for any real decay, zero too: for what is computed from g, which has the factor a in it wherever the decay is an
exponential, a sigmoid and the like. The gradient of a itself, of a decay that is the same at every step, is the sum of
g over a, where a is above zero by what it is computed with.

Every term has a decay in it, a_t or the one of the step after (in D), and what a step writes and reads at once is in
none: where the decay is strong throughout, all are as small as g. What R rounds is relative to the largest of its terms
since the sum began. So who runs it begins anew at the end of each chunk, where S and D are known, with the sum of their
product (kernel/lower.py). It pays where neither state is wanted otherwise, in the chunked form.

before   g = sum[V](X * prev(S)) * a * rest
after    R reverse, R = R + e;   g = (prev(R) + w - u) * rest

Readouts whose weights were computed from readouts of S, as those of the cotangents of a norm of what was read, are of a
second register, a copy of S: each is a matrix product of its own in any case, and of its chunks nothing is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.affine import affine
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Affine
from ssmc.expr.nodes import Axes, Node
from ssmc.expr.ranges import Ranges
from ssmc.recurrence.graph import leaves_time
from ssmc.recurrence.logs import log_of
from ssmc.recurrence.products import sum_of_products
from ssmc.recurrence.separable import find_matrix_form
from ssmc.step.functions import free_name
from ssmc.step.nodes import Depth, Output, Register, StepGraph, depending, reads_of


@dataclass(frozen=True)
class Telescope:
    """The register `sum` holds the sum over `over` of `state`, a copy of the register `copy_of`, times `cotangent`."""

    sum: str
    state: str
    copy_of: str
    cotangent: str
    over: Axes


def step_of(graph: StepGraph, telescope: Telescope) -> Node:
    """What the sum takes more at each step."""
    register = graph.register[telescope.sum]
    before = graph.arena.read(register.name, register.axes, register.kind)
    match register.source:
        case n.Map(op="add", args=(x, y)) if before in (x, y):
            return y if x is before else x
        case source if source is before:
            return graph.arena.const(0.0)
        case source:
            raise CompilerBug(f"{register.name} is no running sum: {source!r}")


def telescoped(graph: StepGraph) -> tuple[StepGraph, tuple[Telescope, ...]] | None:
    """The graph with the gradients of decays as running sums; None where it has none that can be."""
    found: list[Telescope] = []
    for state, cotangent in _pairs(graph):
        made = _Rewrite(graph, state, cotangent).run()
        if made is not None:
            graph, sums = made
            found += sums
            graph = _in_turn(graph, {state.name, cotangent.name, sums[0].state}, cotangent)
    return (graph, tuple(found)) if found else None


def _in_turn(graph: StepGraph, names: set[str], of: Register) -> StepGraph:
    """The graph with sums over both sides of the states one side after the other, the first of which is a readout."""
    ar = graph.arena
    form = affine(ar, graph.register[of.name].source, [ar.read(of.name, of.axes, of.kind)])
    matrix = find_matrix_form(graph, graph.register[of.name], form) if isinstance(form, Affine) else ""
    if isinstance(matrix, str):
        return graph
    depends = depending(graph.roots, names)

    def at(node: Node) -> Node | None:
        if not (isinstance(node, n.Reduce) and node.op == "sum" and node in depends):
            return None
        factors = n.factors(node.arg)
        wide = [f for f in factors if f in depends and set(of.axes) <= set(f.axes)]
        for side, other in ((matrix.rows, matrix.cols), (matrix.cols, matrix.rows)):
            first = tuple(a for a in node.over if a in side)
            rest = tuple(a for a in node.over if a not in side)
            inner = [f for f in factors if f in wide or set(f.axes) & set(first)]
            if not first or not rest or len(wide) != 1 or any(set(f.axes) & set(other) for f in inner if f not in wide):
                continue
            outer = ar.substitute([f for f in factors if f not in inner], at)
            return ar.reduce("sum", ar.product([*outer, ar.reduce("sum", ar.product(inner), first)]), rest)
        return None

    return _mapped(graph, at)


def _mapped(graph: StepGraph, at: Callable[[Node], Node | None]) -> StepGraph:
    """The graph with its expressions substituted."""
    outputs = graph.arena.substitute([o.value for o in graph.outputs], at)
    sources = graph.arena.substitute([r.source for r in graph.registers], at)
    return replace(
        graph,
        outputs=tuple(Output(o.name, o.axes, o.kind, v, o.span) for o, v in zip(graph.outputs, outputs, strict=True)),
        registers=tuple(replace(r, source=s) for r, s in zip(graph.registers, sources, strict=True)),
        names=(),
    )


def _pairs(graph: StepGraph) -> list[tuple[Register, Register]]:
    """States that run against each other, over the same axes, the first of which does not read the second."""
    states = [r for r in graph.states if r.kind == "real" and r.depth == Depth(1) and len(r.axes) >= 2]
    return [
        (s, d)
        for s in states
        for d in states
        if s.reverse != d.reverse
        and set(s.axes) == set(d.axes)
        and not any(d.name in reads_of(x) for x in n.postorder([s.source]))
    ]


@dataclass(frozen=True)
class _Parts:
    """What the two registers of a pair are made of; see the top of this file."""

    decay: tuple[Node, ...]  # its factors
    written: Node  # U
    whole: Node  # X
    after: Node | None  # W
    before: Node | None  # V


class _Rewrite:
    def __init__(self, graph: StepGraph, state: Register, cotangent: Register) -> None:
        self.graph, self.arena = graph, graph.arena
        self.state, self.cotangent = state, cotangent
        self.old = self.arena.read(state.name, state.axes, state.kind)
        self.later = self.arena.read(cotangent.name, cotangent.axes, cotangent.kind)
        self.taken = {r.name for r in graph.registers} | {p.name for p in (*graph.inputs, *graph.params)}
        self.taken |= {o.name for o in graph.outputs}

    def run(self) -> tuple[StepGraph, list[Telescope]] | None:
        products = self.bilinear()
        parts = self.parts(products) if products else None
        if parts is None:
            return None
        ar, state = self.arena, self.state
        copy = replace(state, name=self.fresh(f"{state.name}_again"))
        old = ar.read(copy.name, copy.axes, copy.kind)
        copy = replace(copy, source=ar.substitute([state.source], lambda x: old if x is self.old else None)[0])
        sums: list[Telescope] = []
        gradients: dict[Node, Node] = {}
        registers: list[Register] = []
        for over in dict.fromkeys(p.over for p in products):
            axes = tuple(a for a in state.axes if a not in over)
            name = self.fresh(f"{self.cotangent.name}_{state.name}")
            before = ar.read(name, axes, "real")
            came = self.summed(parts.after, old, over, parts.decay)
            wrote = self.summed(parts.written, self.later, over)
            gradient = ar.sub(ar.add(before, came), wrote)
            step = ar.add(ar.sub(came, wrote), self.summed(parts.before, old, over))
            source = ar.add(before, step)
            registers.append(
                Register(name, axes, "real", ar.const(0.0), source, self.cotangent.reverse, Depth(1), "state")
            )
            sums.append(Telescope(name, copy.name, state.name, self.cotangent.name, over))
            gradients.update((p, gradient) for p in products if p.over == over)
        changed = self.changed(parts, gradients, copy)
        if any(x in gradients for x in n.postorder(changed.roots)):
            decay = self.arena.product(parts.decay)
            if not _constant_and_positive(self.arena, decay):
                return None
            changed = _mapped(changed, lambda x: self.divided(gradients[x], decay) if x in gradients else None)
        return self.without_unread(replace(changed, registers=(*changed.registers, copy, *registers))), sums

    def fresh(self, wish: str) -> str:
        name = free_name(wish, self.taken)
        self.taken.add(name)
        return name

    def divided(self, gradient: Node, decay: Node) -> Node:
        """The gradient of a decay from that of its logarithm. One so small that it is 0 has none worth the name."""
        ar = self.arena
        gone = ar.map("eq", decay, ar.const(0))
        return ar.where(gone, ar.const(0.0), ar.div(gradient, ar.where(gone, ar.const(1.0), decay)))

    def without_unread(self, graph: StepGraph) -> StepGraph:
        """Without the state, where nothing but itself reads it any longer."""
        others = [r.source for r in graph.registers if r.name != self.state.name] + [o.value for o in graph.outputs]
        if self.state.name in {r for x in n.postorder(others) for r in reads_of(x)}:
            return graph
        return replace(graph, registers=tuple(r for r in graph.registers if r.name != self.state.name))

    # -- what there is -------------------------------------------------------------------------------------------

    def bilinear(self) -> list[n.Reduce]:
        """The sums of products of what the state was and what comes to it."""
        found: list[n.Reduce] = []
        for node in n.postorder(self.graph.roots):
            if isinstance(node, n.Reduce) and node.op == "sum" and self.old in n.factors(node.arg):
                rest = [f for f in n.factors(node.arg) if f is not self.old]
                if len(rest) == 1 and self.later in n.postorder(rest) and set(node.arg.axes) == set(self.state.axes):
                    found.append(node)
        return found

    def parts(self, products: list[n.Reduce]) -> _Parts | None:
        ar = self.arena
        forward = affine(ar, self.state.source, [self.old])
        decay = _diagonal(forward, ar)
        if decay is None or not isinstance(forward, Affine) or forward.constant is None:
            return None
        wholes = {f for p in products for f in n.factors(p.arg) if f is not self.old}
        if len(wholes) != 1:
            return None
        (whole,) = wholes
        here = affine(ar, whole, [self.later])
        if not isinstance(here, Affine) or _diagonal(here, ar) != ():
            return None
        # D = a X + V, with X a name
        name = ar.local(f"all of {self.cotangent.name}", whole.axes, whole.kind)
        source = ar.substitute([self.cotangent.source], lambda x: name if x is whole else None)[0]
        back = affine(ar, source, [name])
        if not isinstance(back, Affine) or _diagonal(back, ar) != decay:
            return None
        own = [x for x in (here.constant, back.constant, forward.constant, *decay) if x is not None]
        if any(self.later in n.postorder([x]) for x in own):
            return None
        return _Parts(decay, forward.constant, whole, here.constant, back.constant)

    # -- what it becomes -----------------------------------------------------------------------------------------

    def summed(self, x: Node | None, state: Node, over: Axes, times: Sequence[Node] = ()) -> Node:
        """The sum over `over` of x and other factors times a state: a readout for each product that x is a sum of."""
        ar = self.arena
        if x is None:
            return ar.const(0.0)
        axes = set(self.state.axes)
        terms: list[Node] = []
        for p in sum_of_products(ar, x, lambda node: not axes <= set(node.axes)):
            terms.append(ar.reduce("sum", ar.product([*p.factors, *times, state]), (*p.summed, *over)))
        return ar.total(terms)

    def changed(self, parts: _Parts, gradients: dict[Node, Node], copy: Register) -> StepGraph:
        """The graph with each such sum, times the decay, as its gradient; and with the copy where it is wanted."""
        ar = self.arena
        old = ar.read(copy.name, copy.axes, copy.kind)
        moved: dict[Node, Node] = {self.old: old, self.state.source: copy.source}
        depends = depending(self.graph.roots, {self.state.name})
        done: dict[Node, Node | None] = {}

        def at(node: Node) -> Node | None:
            if node not in done:
                done[node] = self.product(node, parts.decay, gradients, at) or second(node)
            return done[node]

        def second(node: Node) -> Node | None:
            """A product with the state whose other factors were computed from it."""
            if not (isinstance(node, n.Map) and node.op == "mul") or node not in depends:
                return None
            factors = n.factors(node)
            wide = [f for f in factors if f in depends and set(self.state.axes) <= set(f.axes)]
            if not wide or not any(f in depends and f not in wide for f in factors):
                return None
            new = [ar.substitute([f], moved.get)[0] if f in wide else ar.substitute([f], at)[0] for f in factors]
            return ar.product(new)

        return _mapped(self.graph, at)

    def product(
        self, node: Node, decay: tuple[Node, ...], gradients: dict[Node, Node], at: Callable[[Node], Node | None]
    ) -> Node | None:
        """A product of the decay and a sum with a gradient among its terms."""
        if not (isinstance(node, n.Map) and node.op == "mul"):
            return None
        ar, factors = self.arena, n.factors(node)
        rest = list(factors)
        for f in decay:
            if f not in rest:
                return None
            rest.remove(f)
        for i, factor in enumerate(rest):
            terms = sum_of_products(ar, factor, lambda x: x in gradients)
            if not any(f in gradients for p in terms for f in p.factors):
                continue
            made: list[Node] = []
            for p in terms:
                held = [f for f in p.factors if f in gradients]
                others = ar.substitute([f for f in p.factors if f not in gradients], at)
                if len(held) > 1 or (held and p.summed):
                    return None
                scale = [gradients[held[0]]] if held else ar.substitute(list(decay), at)
                made.append(ar.reduce("sum", ar.product([*others, *scale]), p.summed))
            return ar.product([*ar.substitute(rest[:i] + rest[i + 1 :], at), ar.total(made)])
        return None


def _constant_and_positive(arena: Arena, decay: Node) -> bool:
    """Whether a decay is the same at every step and above zero by what it is computed with, an exponential say."""
    return leaves_time([decay]) == "invariant" and log_of(arena, decay, Ranges()) is not None


def _diagonal(form: object, ar: Arena) -> tuple[Node, ...] | None:
    """The factors of the coefficient of an affine map of one atom that mixes nothing, in one order; else None."""
    if not isinstance(form, Affine) or len(form.terms) != 1 or form.terms[0].mixed:
        return None
    term = form.terms[0]
    factors = [f for f in n.factors(ar.mul(term.left, term.right)) if not (isinstance(f, n.Const) and f.value == 1)]
    return tuple(sorted(factors, key=id))
