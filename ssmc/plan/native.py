"""What a component costs as generated C++, in closed form, and the seconds that takes on a machine.

Generated code keeps in registers what PyTorch writes down, so other things count than there: what the caller's tensors
hold, once; operations of vectors, of which fused ones count once; exponentials; and of a state that is more than
registers hold, that each step reads and writes it, in the nearest cache, tile by tile.

    seconds = begin + max(bytes / bandwidth, (operations / rate + exponentials / rate, states / cache) / busy cores)

The factors were fitted to the examples on one machine; what a machine reaches is measured (`ssmc doctor --calibrate`).
"""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node, children, postorder
from ssmc.plan.machines import Machine
from ssmc.plan.nodes import FormName
from ssmc.plan.segments import REGISTERS, cells
from ssmc.plan.work import EXP, Quantities, state_elements, work_of
from ssmc.recurrence.nodes import Analysis, Component
from ssmc.step.nodes import reads_of

WORD = 4
# Of elementwise operations, some are fused with another; of what units could do in a second, loops do this part, and of
# what memory could give, several streams get this.
FUSED, REACHED, STREAMS = 0.7, 0.55, 0.7
NATIVE: tuple[FormName, ...] = ("recurrent", "scan", "chunked")  # the forms that C++ has code for


@dataclass(frozen=True)
class Native:
    """`simple` elementwise operations, `dots` in sums of products, `exps` exponentials or what takes as long; `bytes`
    of the caller's tensors; `held` bytes of states read and written beyond registers. `cells` can run at once.
    """

    simple: float
    dots: float
    exps: float
    bytes: float
    held: float
    cells: float

    def seconds(self, m: Machine) -> float:
        """On so many cores as the machine has."""
        operations = FUSED * self.simple + self.dots / 2
        computing = operations / (REACHED * m.flops / 2) + self.exps / m.exps
        near = m.caches[0].bandwidth * m.cores if m.caches else m.cache_bandwidth
        busy = min(1.0, self.cells / m.cores)
        return m.starting + max(self.bytes / (STREAMS * m.bandwidth), max(computing, self.held / near) / busy)


def native(
    form: FormName, analysis: Analysis, component: Component, q: Quantities, products: tuple[float, float] = (0, 0)
) -> Native | None:
    """The counts of a form at sizes that are numbers; None for a form that C++ has no code for. `products`: elementwise
    operations, and those in sums of products, of a form that works in such."""
    if form not in NATIVE:
        return None
    graph = analysis.graph
    mine = set(component.registers)
    sources = [graph.register[name].source for name in component.registers]
    outputs = [o for o in graph.outputs if _depends(o.value, mine)]
    every = [x for x in _varying([*sources, *(o.value for o in outputs)]) if children(x)]
    work = work_of(every, q)
    steps = q.batch * q.length
    inputs = {x for x in postorder([*sources, *(o.value for o in outputs)]) if isinstance(x, n.Input)}
    caller = sum(q.elements(x.axes) for x in inputs) + sum(q.elements(o.axes) for o in outputs)
    state = state_elements(analysis, component, q)
    parallel = cells(analysis, component, q)
    far = state > REGISTERS * 16 * max(1, parallel / q.batch)
    simple, dots, exps = work.flops - EXP * work.exps, work.dots, work.exps
    if form == "scan":
        assert component.monoid is not None
        made = [x for x in postorder(list(component.monoid.element)) if children(x)]
        more = work_of([*made, *postorder(list(component.monoid.combined))], q)
        simple, dots, exps = simple + more.flops - EXP * more.exps, dots + more.dots, exps + more.exps
        parallel = max(parallel, q.length // 64)
    if form == "chunked":
        return Native(
            float(products[0]), float(products[1]), float(steps * exps), float(WORD * steps * caller), 0.0,
            float(max(1, parallel)),
        )  # fmt: skip
    return Native(
        float(steps * simple), float(steps * dots), float(steps * exps), float(WORD * steps * caller),
        float(2 * WORD * steps * state) if far else 0.0, float(max(1, parallel)),
    )  # fmt: skip


def _depends(value: Node, registers: set[str]) -> bool:
    return any(r in registers for x in postorder([value]) for r in reads_of(x))


def _varying(roots: list[Node]) -> list[Node]:
    """What is computed at every step: not what depends on params alone."""
    found: dict[Node, bool] = {}
    for x in postorder(roots):
        found[x] = isinstance(x, n.Input | n.Read | n.Time | n.Window) or any(found[c] for c in children(x))
    return [x for x, varies in found.items() if varies]
