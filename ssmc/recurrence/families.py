"""The class of a component (K0 … K14): what published models call it, and which forms pay.

K1  affine, the same at every step        K2  affine, varying with the step number only
K3  a factor an element, from the data    K4  matrix state, outer-product writes, a scalar decay a head
K5  the same, log-decay = row part + column part; K3 with the note "K5x" where the decay does not separate
K6  a matrix from the data: diagonal plus low rank (or, rarely, full)
K7  a closed algebra other than affine (max-plus, log-sum-exp, boolean, clamps, linear-fractional), and what is
    scaled by a running maximum
K8  delay lines; an affine component enlarged by delays or momentum
K9  nonlinear, frozen within blocks       K10  nonlinear with an elementwise or small-block Jacobian
K11 nonlinear, an axis mixed              K12  a state that grows
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.arena import Arena
from ssmc.expr.linear import Affine
from ssmc.expr.nodes import postorder
from ssmc.recurrence.nodes import Analysis, TimeDependence
from ssmc.recurrence.separable import (
    INSEPARABLE,
    MatrixForm,
    data_on_every_axis,
    find_matrix_form,
    read_as_matrix,
)
from ssmc.recurrence.structure import low_rank, rank_of
from ssmc.step.nodes import Register, StepGraph


@dataclass(frozen=True)
class Family:
    structure: str
    kclass: str
    notes: tuple[str, ...] = ()


def affine_class(
    graph: StepGraph,
    arena: Arena,
    registers: tuple[Register, ...],
    maps: tuple[Affine, ...],
    structure: str,
    time: TimeDependence,
    stabilised: bool,
) -> Family:
    if len(registers) > 1:
        by_time = {"invariant": "K1", "index": "K2", "data": "K7" if stabilised else "K8"}
        return Family(structure, by_time[time])
    register, form = registers[0], maps[0]
    if any(t.mixed for t in form.terms):
        notes: tuple[str, ...] = ()
        found = low_rank(arena, form)
        if structure == "low_rank" and found is not None:
            notes = (f"rank {rank_of(found)} over {' '.join(found.mixed)}",)
        if time == "data" and register.line is not None:
            return Family(structure, "K8", notes)
        return Family(structure, {"invariant": "K1", "index": "K2", "data": "K6"}[time], notes)
    matrix = find_matrix_form(graph, register, form)
    if (
        isinstance(matrix, MatrixForm)
        and read_as_matrix(graph, register, matrix)
        and (time == "data" or data_on_every_axis(matrix))
    ):
        scalar = matrix.kclass == "K4" and structure == "diagonal"
        return Family("scalar" if scalar else structure, matrix.kclass)
    if stabilised:
        return Family(structure, "K7")
    if time != "data":
        return Family(structure, "K1" if time == "invariant" else "K2")
    return Family(structure, "K3", (f"{_K5X}: {matrix}",) if matrix == INSEPARABLE else ())


def nonlinear_class(arena: Arena, registers: tuple[Register, ...], structure: str) -> str:
    if structure == "growing":
        return "K12"
    if _frozen(registers):
        return "K9"
    return "K11" if structure == "dense" else "K10"


def _frozen(registers: tuple[Register, ...]) -> bool:
    """Whether a register keeps its value except at certain step numbers: the start of a block."""
    for r in registers:
        match r.source:
            case n.Map(op="where", args=(c, x, y)):
                kept = any(isinstance(b, n.Read) and b.register == r.name for b in (x, y))
                leaves = [leaf for leaf in postorder([c]) if not n.children(leaf)]
                if (
                    kept
                    and any(isinstance(leaf, n.Time) for leaf in leaves)
                    and all(isinstance(leaf, (n.Time, n.Const, n.Size)) for leaf in leaves)
                ):
                    return True
            case _:
                pass
    return False


# a class on the left says nothing new beside one on the right
_INSIDE = {
    "K1": ("K2", "K3", "K4", "K5", "K6"),
    "K2": ("K3", "K4", "K5", "K6"),
    "K3": ("K4", "K5", "K6"),
}
_MATRIX = ("K4", "K5", "K6")
_K5X = "K5x"


def spec_class(analysis: Analysis) -> str:
    """The classes of a spec in a line, such as "K3", "K4 + K7" or "2 x K5".

    Several matrix states of one class are counted; a class contained in another that is there is left out; a spec
    without a recurrent component is K0 if it only convolves, K12 if it looks at the whole past.
    """
    graph = analysis.graph
    counts: Counter[str] = Counter()
    for c in analysis.components:
        counts[c.kclass] += 1
    recurrent = any(c.recurrent for c in analysis.components)
    if not recurrent and "K12" not in counts:
        return "K0" if any(r.origin in ("conv", "transfer") for r in graph.registers) else "K8" if counts else "none"
    shown = [k for k in counts if not any(outer in counts for outer in _INSIDE.get(k, ()))]
    shown.sort(key=lambda k: (k == "K8", int(k[1:])))
    inseparable = any(note.startswith(_K5X) for c in analysis.components for note in c.notes)

    def word(k: str) -> str:
        if k in _MATRIX and counts[k] > 1:
            return f"{counts[k]} x {k}"
        return f"{k} ({_K5X})" if k == "K3" and inseparable else k

    return " + ".join(map(word, shown))
