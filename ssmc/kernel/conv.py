"""The form `conv`: a diagonal, time-invariant component as a convolution over the whole sequence.

    h_t = a h_{t-1} + sum_w f_w u_w[t]        a, f of parameters only; each reading  y = l * sum_n r h
    y[t] = l * ( sum_w (k_w conv u_w)[t] + sum_n r a^(t+1) h_0 ),      k_w[s] = sum_n r f_w a^s

A reading of the state before the update is the same, one step later. The kernel is made without ever holding
states times steps; the last state is a moment of the inputs, so the component can be cut anywhere.
"""

from __future__ import annotations

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.kernel.lower import InOrder, Tiles
from ssmc.recurrence.drives import drives, transition
from ssmc.recurrence.invariant import invariant_readings
from ssmc.recurrence.nodes import Component
from ssmc.recurrence.readout import Reading


def lower_conv(in_time: Tiles, component: Component, chunk: int) -> None:
    tiles = InOrder(in_time, component)
    graph, ar = tiles.graph, tiles.arena
    (name,) = component.registers
    register = graph.register[name]
    taps = invariant_readings(tiles.analysis, component)
    if not isinstance(taps, tuple):
        raise CompilerBug(f"conv was chosen for {name}, whose state is read whole")
    base = tiles.tile(transition(graph, component))
    carry = tiles.carries[name]
    parts = [(tiles.tile(d.factor), tiles.timed(tiles.tile(d.signal))) for d in drives(graph, component)]
    for tap in taps:
        terms = [tiles.tile(tap.constant)] if tap.constant is not None else []
        terms += [_reading(tiles, r, base, carry, parts) for r in tap.readings]
        tiles.give(tap.node, ar.labels.get(tap.node, f"{name}_read"), ar.total(terms))
    # the state after the tile: the first moment carries h_0 on, the others start from nothing
    zero = ar.mul(carry, ar.const(0.0))
    moments = [
        ar.moment(signal, base, factor, carry if i == 0 else zero)
        for i, (factor, signal) in enumerate(parts or [(ar.const(0.0), tiles.timed(ar.const(0.0)))])
    ]
    tiles.carry_on(register, ar.total(moments))


def _reading(tiles: InOrder, reading: Reading, base: Node, carry: Node, parts: list[tuple[Node, Node]]) -> Node:
    """One linear term of a tap; on the state's side its mixed axes are `a~`, as in `reading.right`."""
    ar = tiles.arena
    side = {a: f"{a}~" for a in reading.mixed}
    mixed = tuple(side.values())
    right, left = tiles.tile(reading.right), tiles.tile(reading.left)
    base, carry = ar.rename(base, side), ar.rename(carry, side)
    late = reading.when == "old"
    total: list[Node] = []
    for factor, signal in parts:
        signal = ar.rename(signal, side)
        inside = tuple(a for a in mixed if a not in signal.axes)
        outer = tuple(a for a in mixed if a in signal.axes)
        if not inside and set(right.axes) - {*signal.axes, *base.axes, *factor.axes}:
            # more is read from the states than there are states: one transform for each of those, and a product
            states = ar.fft_conv(ar.geometric(ar.rename(factor, side), base, (), 0), signal, ())
            value: Node = ar.contract(right, states, mixed)
            total.append(ar.shift(value, n.TIME, 1) if late else value)
            continue
        # an axis that no factor has is summed all the same: the weight is the same for each of its elements
        weight = ar.broadcast(ar.mul(right, ar.rename(factor, side)), inside)
        value = ar.fft_conv(ar.geometric(weight, base, inside, 0), signal, outer)
        total.append(ar.shift(value, n.TIME, 1) if late else value)
    total.append(ar.geometric(ar.mul(right, carry), base, mixed, 0 if late else 1))
    return ar.mul(left, ar.total(total))
