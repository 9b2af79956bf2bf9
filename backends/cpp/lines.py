"""Delay lines: which sequence one delays, and what stood in it before the sequence or the chunk began."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any

from ssmc.backends.cpp.value import BEGUN, Line, NotPrintable, Value, label

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Node
from ssmc.kernel import nodes as k


class Lines:
    """What a pass knows of its delay lines.

    It is a part of Pass, whose attributes it takes for granted.
    """

    def chunk_lag(self: Any, node: n.Lag) -> Value | None:
        """The value of this chunk that is read some steps before, where it begins with a state and not with a line."""
        if self._line_carry(node.halo) or n.LAG in node.halo.axes:
            return None
        signal = self._signal(node)
        if isinstance(signal, n.Local):
            found = self.named.get(signal.name)
            return found if isinstance(found, Value) else None
        if isinstance(signal, n.Load) and signal.buffer in self.scratch:
            return self.scratch[signal.buffer]
        return None

    def begins(self: Any, halo: Node, carry: Value) -> bool:
        """Whether `halo` is a carry itself."""
        return carry.value is halo or (isinstance(halo, n.Local) and self.named.get(halo.name) is carry)

    def reversed(self: Any, halo: Node) -> bool:
        """Whether what began with `halo` runs from the last step to the first."""
        while True:
            match halo:
                case n.Local(name=name) if name in self.lines:
                    halo = self.lines[name]
                case n.Local(name=name):
                    found = self.named.get(name)
                    halo = found.value if isinstance(found, Value) else found
                case n.Load(buffer=buffer) if buffer in self.line_starts:
                    halo = self.line_starts[buffer]
                case n.Load(buffer=buffer):
                    entry = self.buffers[buffer].entry
                    return self.graph.register[entry].reverse
                case _:
                    kids = n.children(halo)
                    if not kids:
                        raise NotPrintable("a delay line that begins with nothing")
                    halo = kids[0]

    def _line_carry(self: Any, halo: Node) -> bool:
        if isinstance(halo, n.Load) and self.buffers[halo.buffer].role in BEGUN:
            return n.LAG in halo.axes
        return isinstance(halo, n.Local) and halo.name in self.lines

    def _line(self: Any, v: Value, node: n.Lag | n.Frames | n.Tail) -> None:
        if isinstance(node, n.Frames) and not self._line_carry(node.halo):
            # a window over what a loop over the steps carries, or over a state entry
            self._needs(v, node.arg)
            self._needs(v, node.halo)
            return
        signal = self._signal(node)
        if isinstance(signal, n.Load) and self.buffers[signal.buffer].role in ("input", "workspace"):
            return
        if isinstance(node.halo, n.Load) and self.buffers[node.halo.buffer].role in BEGUN:
            self._line_again(v, signal)
            return
        if self.inside or self.step:
            raise NotPrintable("a delay line inside a loop over the steps")
        if signal not in self.promoted:
            axes = (n.BATCH, n.TIME, *(a for a in signal.axes if a not in (n.BATCH, n.TIME)))
            name = self.fresh(f"{label(signal)}_line")
            self.spare[name] = self.buffers[name] = k.Buffer(name, axes, signal.kind, "workspace")
            made = self._stored(name, signal, v.span, 0)
            made.reverse = self.reversed(node.halo) if self.sequential else None
            store = self._place(made)
            self.promoted[signal] = self.arena.load(name, axes, signal.kind), store
        v.behind.append(self.promoted[signal][1])
        if self.at_once and self.reversed(node.halo) != self.reverse:
            raise NotPrintable(f"`{v.name}` looks on to what later chunks make")
        if self.sequential:  # steps before, or after, are there where the sweep has been
            reverse = self.reversed(node.halo)
            if v.reverse not in (None, reverse):
                raise NotPrintable(f"`{v.name}` looks both ways in one sweep")
            v.reverse = reverse

    def _line_again(self: Any, v: Value, signal: Node) -> None:
        """A delay line of what a chunk computes again: a sweep before keeps the chunk's own values."""
        if self.inside or not (self.sequential or self.at_once):
            raise NotPrintable("a delay line of what a loop over the steps computes")
        made = self.scratch.get(signal.buffer) if isinstance(signal, n.Load) else self._local_value(signal)
        if made is None:
            made = self._value(f"{label(signal)}_line", signal, v.span)
        self._stand(v, signal, made)
        if made not in v.spread:
            v.spread.append(made)

    def _turned(self: Any, arg: Node, reverse: bool) -> Node:
        """A tile in the order of a direction, in that of time."""
        while isinstance(arg, n.Local) and isinstance(self.named.get(arg.name), Node):
            arg = self.named[arg.name]
        if not reverse:
            return arg
        arg = arg.arg if isinstance(arg, n.Flip) and arg.axis == n.TIME else self.arena.flip(arg, n.TIME)
        while isinstance(arg, n.Local) and isinstance(self.named.get(arg.name), n.Local | n.Load):
            arg = self.named[arg.name]
        return arg

    def _local_value(self: Any, signal: Node) -> Value | None:
        found = self.named.get(signal.name) if isinstance(signal, n.Local) else None
        return found if isinstance(found, Value) else None

    def line(self: Any, node: n.Lag | n.Frames | n.Tail) -> Line:
        """What a delay line's value is read from."""
        signal = self._signal(node)
        if isinstance(node.halo, n.Load) and self.buffers[node.halo.buffer].role in BEGUN:
            return Line(signal, node.halo, self.reversed(node.halo))
        load = signal if isinstance(signal, n.Load) else self.promoted[signal][0]
        load = self.promoted[signal][0] if signal in self.promoted else load
        halo = node.halo
        if isinstance(halo, n.Local):
            halo = self.lines[halo.name]
        return Line(load, halo, self.reversed(node.halo))

    def _signal(self: Any, node: n.Lag | n.Frames | n.Tail) -> Node:
        """The sequence that a delay line delays, in the order of time."""
        arg = node.arg
        if self.at_once and self._line_carry(node.halo):
            return self._turned(arg, self.reversed(node.halo))
        while True:
            if isinstance(arg, n.Flip) and arg.axis == n.TIME:
                arg = arg.arg
            elif isinstance(arg, n.Local) and isinstance(self.named.get(arg.name), Node):
                arg = self.named[arg.name]
            else:
                return arg
