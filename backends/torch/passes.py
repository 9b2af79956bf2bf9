"""A pass as PyTorch code: a loop over chunks whose body is a function of its own, or plain lines where it is not cut.

The body is a function so that the backward can keep the carries alone and run it again. It reads parameters, sizes and
values computed once from the function around it.
"""

from __future__ import annotations

from dataclasses import dataclass

from ssmc.backends.torch.expressions import method
from ssmc.backends.torch.scope import INDENT, Names, Scope, assign, indented, names_in, tuple_of, values_of, viewed

from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Local, Node
from ssmc.kernel import nodes as k
from ssmc.source import Span

BEGUN = ("boundary", "saved")  # of what a chunk begins with


def print_pass(scope: Scope, number: int, p: k.Pass, names: Names) -> list[str]:
    """The lines of a pass, inside `sequence`."""
    return _Pass(scope, number, p, names).lines()


@dataclass
class _Pass:
    scope: Scope
    number: int
    p: k.Pass
    names: Names

    def __post_init__(self) -> None:
        self.loop = self.p.loop
        self.buffers = self.scope.buffers
        self.carried = [c.target.name for c in self.loop.carries]
        stores = [s for s in self.loop.body if isinstance(s, k.Store)]
        self.stores = [s.buffer for s in stores if self.buffers[s.buffer].role not in BEGUN]
        inner = {c.target.name for s in self.loop.body if isinstance(s, k.For) for c in s.carries}
        begun = [s for s in stores if self.buffers[s.buffer].role in BEGUN]
        # what a loop over the steps leaves is known when a chunk is done; the rest is what it begins with
        self.ends = [s.buffer for s in begun if isinstance(s.value, Local) and s.value.name in inner]
        self.begun = [s for s in begun if s.buffer not in self.ends]
        loads = self._loads(self.loop.body)
        self.sequences = [x for x in loads if self.buffers[x].role in ("input", "workspace")]
        self.boundaries = [x for x in loads if self.buffers[x].role in BEGUN]
        self.timed = "t" in loads
        self.function = f"chunk_{self.number}"
        self.spans: dict[str, Span | None] = {}  # of what is stored

    def lines(self) -> list[str]:
        scope, ex = self.scope, self.scope.expressions(self.names)
        out = ["", f"# --- {self.p.title}"]
        for s in self.p.before:
            assert isinstance(s, k.Let)
            out.append(assign(s.target.name, ex.code(s.value), s.span))
        init = [f"{c.target.name} = {ex.code(c.init)}" for c in self.loop.carries]
        out += ["", *self._function(), "", *init, *self._run()] if self.loop.block else [*init, *self._at_once()]
        for s in self.p.final:
            b = self.buffers[s.buffer]
            inner = scope.expressions({**self.names, ("size", n.LAG): "1"})
            out.append(f'new_state["{b.entry}"] = {scope.stored(inner, s.value, b.axes, b.kind)}')
        return out

    # -- the whole sequence at once ------------------------------------------------------------------------------

    def _at_once(self) -> list[str]:
        names = self._inside(self.names)
        begin: list[str] = []
        if self.timed:
            names["load", "t"] = "t_tile"
            begin.append("t_tile = torch.arange(t0 + 1, t0 + length + 1, device=device)")
        body, sets, stored = self._body(names)
        given = self._views()
        for buffer, code in stored.items():
            if buffer in given:
                body.append(assign(buffer, method(code, "clone()") + "  # the caller's otherwise", None))
            elif code != buffer:
                body.append(assign(buffer, code, self.spans[buffer]))
        changed = {c: code for c, code in sets.items() if code != c}
        if changed:
            body.append(f"{', '.join(changed)} = {', '.join(changed.values())}")
        if "steps" in names_in("\n".join(body)):
            begin.insert(0, "steps = length")
        return [*begin, *body]

    def _views(self) -> set[str]:
        """The outputs that would be views of what the caller gave."""
        made: dict[str, Node] = {}
        found: set[str] = set()
        for s in self.loop.body:
            if isinstance(s, k.Let | k.Store):
                root = viewed(s.value)
                root = made.get(root.name, root) if isinstance(root, n.Local) else root
                if isinstance(s, k.Let):
                    made[s.target.name] = root
                elif self.buffers[s.buffer].role == "output" and isinstance(root, n.Load):
                    found.add(s.buffer)
        return found

    # -- the loop over chunks ------------------------------------------------------------------------------------

    def _run(self) -> list[str]:
        """The calls of the chunk's function, and the outputs from their parts."""
        out: list[str] = []
        chunk = self.loop.block
        arguments: list[str] = []
        if self.timed:
            arguments.append("torch.arange(t0 + start + 1, t0 + start + steps + 1, device=device)")
        arguments += self.carried
        for x in self.sequences:
            out.append(f"{x}_tiles = {x}.split({chunk}, 1)")
            arguments.append(f"{x}_tiles[i]")
        out += [
            f'{x}_parts = saved["{self.buffers[x].entry}"].unbind(1)'
            for x in self.boundaries
            if self.buffers[x].role == "saved"
        ]
        arguments += [f"{x}_parts[i]" for x in self.boundaries]
        out += [f"{x}_parts: list[Tensor] = []" for x in (*(s.buffer for s in self.begun), *self.ends)]
        recorded = self.scope.recorded
        for name in self.stores:
            whole = (
                f"{name}_parts: list[Tensor] = []" if recorded else f"{name} = {self.scope.empty(self.buffers[name])}"
            )
            out.append(whole)
        starts = f"range(0, length, {chunk})"
        numbered = bool(self.sequences or self.boundaries)
        starts = f"enumerate({starts})" if numbered else starts
        if self.loop.reverse:
            starts = f"reversed([*{starts}])" if numbered else f"reversed({starts})"
        out.append(f"for {'i, start' if numbered else 'start'} in {starts}:")
        out.append(f"{INDENT}steps = min({chunk}, length - start)")
        ex = self.scope.expressions(self.names)
        inner = self.scope.expressions({**self.names, ("size", n.LAG): "1"})
        for s in self.begun:
            b = self.buffers[s.buffer]
            code = ex.code(s.value) if b.role == "boundary" else self.scope.stored(inner, s.value, b.axes, b.kind)
            out.append(f"{INDENT}{s.buffer}_parts.append({code})")
        call = f"{self.function}({', '.join(['steps', *arguments])})"
        if self.loop.recompute and recorded:
            self.scope.used.add("_recomputed")
            call = f"_recomputed({self.function}, {', '.join(['steps', *arguments])})"
        # autograd follows the parts of a sequence; written where they belong they leave no gaps in the memory between
        parts = [f"{s}_part" if recorded else f"{s}[:, start : start + steps]" for s in self.stores]
        results = [*self.carried, *parts, *(f"{x}_part" for x in self.ends)]
        out.append(f"{INDENT}{tuple_of(results)} = {call}" if results else f"{INDENT}{call}")
        out += [f"{INDENT}{s}_parts.append({s}_part)" for s in (*(self.stores if recorded else ()), *self.ends)]
        order = "[::-1]" if self.loop.reverse else ""
        out += [f"{x}_parts.reverse()" for x in (*(s.buffer for s in self.begun), *self.ends) if self.loop.reverse]
        saved = [self.buffers[s.buffer] for s in self.begun if self.buffers[s.buffer].role == "saved"]
        out += [f'saved["{b.entry}"] = torch.stack({b.name}_parts, 1)' for b in saved]
        return [*out, *(f"{s} = torch.cat({s}_parts{order}, 1)" for s in self.stores if recorded)]

    # -- the body of a chunk -------------------------------------------------------------------------------------

    def _function(self) -> list[str]:
        loads = [*(["t"] if self.timed else []), *self.carried, *self.sequences, *self.boundaries]
        params = ", ".join(["steps: int", *(f"{x}: Tensor" for x in loads)])
        body, sets, stored = self._body(self._inside(self.names))
        for buffer, code in stored.items():
            if not code.isidentifier():
                body.append(assign(f"{buffer}_tile", code, self.spans[buffer]))
                stored[buffer] = f"{buffer}_tile"
        results = [*(sets.get(c, c) for c in self.carried), *(stored[s] for s in (*self.stores, *self.ends))]
        body.append(f"return {tuple_of(results)}" if results else "return ()")
        return [f"def {self.function}({params}) -> tuple[Tensor, ...]:", *indented(body)]

    def _inside(self, outside: Names) -> Names:
        """The names inside the loop over time."""
        return {**outside, ("size", n.TIME): "steps", ("size", n.SOURCE): "steps"}

    def _body(self, names: Names) -> tuple[list[str], dict[str, str], dict[str, str]]:
        """The lines; the code of each carry's next value and of each value to be stored."""
        scope, ex = self.scope, self.scope.expressions(names)
        out: list[str] = []
        sets: dict[str, str] = {}
        stored: dict[str, str] = {}
        lets: dict[str, Axes] = {}
        for s in self.loop.body:
            out += scope.prefixes(values_of(s), names)
            match s:
                case k.Section(title=title):
                    out.append(f"# --- {title}")
                case k.Let(target=target, value=value, span=span):
                    lets[target.name] = target.axes
                    out.append(assign(target.name, ex.code(value), span))
                case k.Set(target=target, value=value):
                    sets[target.name] = scope.kept(ex, value, target.axes, target.kind)
                case k.Store(buffer=buffer) if buffer not in (*self.stores, *self.ends):
                    pass
                case k.Store(buffer=buffer, value=value, span=span):
                    b = self.buffers[buffer]
                    stored[buffer] = scope.stored(ex, value, b.axes, b.kind)
                    self.spans[buffer] = span
                case k.For():
                    out += self._steps(s, names, lets)
        return out, sets, stored

    # -- one step after the other --------------------------------------------------------------------------------

    def _steps(self, loop: k.For, names: Names, lets: dict[str, Axes]) -> list[str]:
        affine = self._affine(loop, names, lets)
        if affine is not None:
            return affine
        scope, inner = self.scope, dict(names)
        scratch = [self.buffers[s.buffer] for s in loop.body if isinstance(s, k.Store)]
        sequences: dict[str, Axes] = {}
        for node in n.postorder([v for s in loop.body for v in values_of(s)]):
            if isinstance(node, n.Local) and n.TIME in lets.get(node.name, ()):
                sequences[node.name] = lets[node.name]
                inner["local", node.name] = f"{node.name}_t"
            elif isinstance(node, n.Load) and n.TIME in self.buffers[node.buffer].axes:
                code = names["load", node.buffer]
                sequences[code] = self.buffers[node.buffer].axes
                inner["load", node.buffer] = f"{code}_t"
        ex = scope.expressions(names)
        out = [f"{c.target.name} = {scope.stored(ex, c.init, c.target.axes, c.target.kind)}" for c in loop.carries]
        out += [f"{b.name}_steps: list[Tensor] = []" for b in scratch]
        slices = [f"{x}.unbind({axes.index(n.TIME)})" for x, axes in sequences.items()]
        slices = [f"reversed({x})" for x in slices] if loop.reverse else slices
        targets = ", ".join(f"{x}_t" for x in sequences)
        if not slices:
            out.append("for _ in range(steps):")
        elif len(slices) == 1:
            out.append(f"for {targets} in {slices[0]}:")
        else:
            out.append(f"for {targets} in zip({', '.join(slices)}, strict=True):")
        out += indented(self._step(loop, inner))
        order = "[::-1]" if loop.reverse else ""
        out += [f"{b.name} = torch.stack({b.name}_steps{order}, 1)" for b in scratch]
        return out

    def _affine(self, loop: k.For, names: Names, lets: dict[str, Axes]) -> list[str] | None:
        """The lines of a loop that only does  h = decay * h + drive, or  h = decay * (h + drive), elementwise."""
        match loop.carries, loop.body:
            case (
                (k.Carry(target=h, init=init),),
                (*named, k.Set(value=set_to), k.Store(buffer=scratch, value=stored, span=span)),
            ) if set_to is stored:
                pass
            case _:
                return None
        arena, inner = self.scope.graph.arena, dict[Node, Node]()
        for s in named:
            if not isinstance(s, k.Let):
                return None
            inner[s.target] = arena.substitute([s.value], inner.get)[0]
            span = s.span if s.target is stored else span
        found = _decay_and_drive(inner.get(stored, stored), h)
        b = self.buffers[scratch]
        if found is None or b.axes != (n.BATCH, n.TIME, *h.axes[1:]) or h.axes[:1] != (n.BATCH,):
            return None
        scope, ex = self.scope, self.scope.expressions(names)
        decay, drive = (self._tile(x, lets) for x in found[:2])
        scaled = arena.mul(decay, drive) if found[2] else drive
        tiles = [scope.stored(ex, x, b.axes, b.kind) for x in (decay, scaled)]
        last = "0" if loop.reverse else "-1"
        if not scope.recorded:
            scope.used.add("_affine_loop")
            code = f"_affine_loop({', '.join([*tiles, ex.code(init), *(['True'] if loop.reverse else [])])})"
        else:
            scope.used.update(("_AffineSteps", "_apply", "_affine_steps"))
            tiles = [method(x, "flip(1)") for x in tiles] if loop.reverse else tiles
            code = f"_affine_steps({', '.join([*tiles, ex.code(init)])}){'.flip(1)' if loop.reverse else ''}"
        return [assign(scratch, code, span), f"{h.name} = {scratch}[:, {last}].clone()  # a view would keep the tile"]

    def _tile(self, leaf: Node, lets: dict[str, Axes]) -> Node:
        """What a name of the inner loop stands for outside of it."""
        arena = self.scope.graph.arena
        match leaf:
            case n.Local(name=name) if name in lets:
                return arena.local(name, lets[name], leaf.kind)
            case n.Load(buffer=buffer):
                return arena.load(buffer, self.buffers[buffer].axes, leaf.kind)
            case _:
                return leaf

    def _step(self, loop: k.For, names: Names) -> list[str]:
        scope, ex = self.scope, self.scope.expressions(names)
        ex.fuse = True
        out: list[str] = []
        for axis, registers in scope.growing.items():
            grown = [c.target.name for c in loop.carries if self._grows(c, registers)]
            if grown:
                names["size", axis] = f"{scope.size(axis)}_now"
                out.append(f"{scope.size(axis)}_now = {grown[0]}.shape[1] + 1")
        names_of, values = [], []
        targets = {c.target.name: c.target for c in loop.carries}
        in_place = _in_place(loop)
        names.update({("local", value.name): carry.name for value, carry in in_place.items()})
        for s in loop.body:
            match s:
                case k.Let(target=target, value=value, span=span):
                    out.append(assign(names.get(("local", target.name), target.name), ex.code(value), span))
                case k.Set(value=value) if value in in_place:
                    pass
                case k.Set():
                    target = targets[s.target.name]
                    names_of.append(target.name)
                    values.append(scope.stored(ex, s.value, target.axes, target.kind))
                case k.Store(buffer=buffer, value=value):
                    b = self.buffers[buffer]
                    code = scope.stored(ex, value, tuple(a for a in b.axes if a != n.TIME), b.kind)
                    out.append(f"{buffer}_steps.append({code})")
        if names_of:
            out.append(f"{', '.join(names_of)} = {', '.join(values)}")
        return out

    def _grows(self, carry: k.Carry, registers: set[str]) -> bool:
        """Whether an inner loop's carry, which starts from the chunk's, is the whole past of one of the registers."""
        for c in self.loop.carries:
            if carry.init is c.target and n.LAG in carry.target.axes:
                loads = [x for x in n.postorder([c.init]) if isinstance(x, n.Load)]
                return any(self.buffers[x.buffer].entry in registers for x in loads)
        return False

    def _loads(self, body: tuple[k.Statement, ...]) -> list[str]:
        found: dict[str, None] = {}
        for s in body:
            for node in n.postorder(list(values_of(s))):
                if isinstance(node, n.Load):
                    found[node.buffer] = None
            if isinstance(s, k.For):
                found.update(dict.fromkeys(self._loads(s.body)))
        return list(found)


def _in_place(loop: k.For) -> dict[Local, Local]:
    """The values that may take their carry's name as soon as they are known: nothing after them reads the old one."""
    at = {s.target: i for i, s in enumerate(loop.body) if isinstance(s, k.Let)}
    found: dict[Local, Local] = {}
    for s in loop.body:
        if not (isinstance(s, k.Set) and isinstance(s.value, Local) and s.value in at):
            continue
        same = (s.value.axes, s.value.kind) == (s.target.axes, s.target.kind)
        # the other Sets come after everything, wherever they stand
        after = [x for i, x in enumerate(loop.body) if i > at[s.value] or isinstance(x, k.Set)]
        later = n.postorder([v for x in after for v in values_of(x)])
        if same and s.target not in later and s.value not in found:
            found[s.value] = s.target
    return found


def _decay_and_drive(value: Node, h: Local) -> tuple[Node, Node, bool] | None:
    """The leaves a and b of  a * h + b, or of  a * (h + b): then with True. None where it is anything else."""
    if not (isinstance(value, n.Map) and value.kind in ("real", "complex")):
        return None
    inner = {"add": "mul", "mul": "add"}.get(value.op)
    for part, other in (value.args, value.args[::-1]) if inner else ():
        if isinstance(part, n.Map) and part.op == inner and h in part.args:
            beside = part.args[1 - part.args.index(h)]
            if all(isinstance(x, n.Local | n.Load) and x is not h and x.kind == h.kind for x in (beside, other)):
                return (beside, other, False) if value.op == "add" else (other, beside, True)
    return None
