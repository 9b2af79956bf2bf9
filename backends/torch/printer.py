"""A kernel program as one self-contained PyTorch module.

    initial_state(*, sizes, batch, like, <params>)              every entry of the state before the start
    sequence(*, sizes, batch, length, state, <inputs>, <params>) outputs over the whole sequence, and the new state
    step(*, sizes, batch, state, <inputs>, <params>)             one token

Batch is one dimension, first; time the second. Every chunk loop becomes a loop over slices whose body is a function of
its own, so that the backward can keep the carries alone and run the body again.
"""

from __future__ import annotations

import inspect

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Node
from ssmc.kernel import nodes as k
from ssmc.kernel.naming import is_number

from ssmc.backends.torch import support
from ssmc.backends.torch.expressions import Expressions, prefix_key

INDENT = "    "


def print_program(program: k.Program) -> str:
    """The module's text."""
    return _Module(program).text()


class _Module:
    def __init__(self, program: k.Program) -> None:
        self.program = program
        self.graph = program.graph
        self.buffers = {b.name: b for b in program.buffers}
        self.used: set[str] = set()
        self.lines: list[str] = []
        self.functions: list[list[str]] = []  # chunk bodies, printed before `sequence`

    # -- the file ----------------------------------------------------------------------------------------------

    def text(self) -> str:
        self._sequence()
        sequence = self.lines
        self.lines = []
        self._initial()
        initial = self.lines
        self.lines = []
        if self.program.step:
            self._step()
        step = self.lines
        helpers = self._helpers()
        parts = [self._header(), *helpers, "\n".join(initial), *("\n".join(f) for f in self.functions), "\n".join(sequence)]
        if step:
            parts.append("\n".join(step))
        return "\n\n\n".join(p.rstrip() for p in parts) + "\n"

    def _header(self) -> str:
        source = self.graph.source
        out = [f"# {self.graph.name}, from {source.name.rsplit('/', 1)[-1]} (sha256 {source.sha256[:12]}), by ssmc."
               " Edit the spec, not this file."]
        out += [f"# {line}" for line in self.program.header]
        legend = [f"{p.name} [{', '.join(('batch', 'time', *p.axes))}]" for p in self.graph.inputs]
        legend += [f"{p.name} [{', '.join(p.axes)}]" for p in self.graph.params]
        legend += [f"-> {o.name} [{', '.join(('batch', 'time', *o.axes))}]" for o in self.graph.outputs]
        for i in range(0, len(legend), 4):
            out.append("# " + "   ".join(legend[i : i + 4]))
        out += ["", "from __future__ import annotations", ""]
        body = "\n".join([*self.lines, *("\n".join(f) for f in self.functions)])
        imports = ["import math"] if "math." in body or True else []
        imports += ["from collections.abc import Callable, Sequence", "from typing import Any", "", "import torch", "import torch.nn.functional as F",
                    "from torch import Tensor", "from torch.utils.checkpoint import checkpoint"]
        renamed = {b.entry: b.name for b in self.program.buffers if b.role in ("input", "param") and b.entry != b.name}
        mapping = ["", "# names of the spec that are not free in Python", f"ARGUMENTS = {renamed!r}"] if renamed else []
        return "\n".join([*out, *imports, *mapping])

    def _helpers(self) -> list[str]:
        wanted = [f for f in HELPERS if f.__name__ in self.used]
        return [inspect.getsource(f).rstrip() for f in wanted]

    # -- signatures --------------------------------------------------------------------------------------------

    def _ports(self, *roles: str) -> list[str]:
        return [b.name for b in self.program.buffers if b.role in roles]

    def _like(self) -> str:
        """A tensor of the call whose precision and device are the program's."""
        for role in ("input", "param"):
            for b in self.program.buffers:
                if b.role == role and b.kind in ("real", "complex"):
                    return b.name
        for b in self.program.buffers:
            if b.role == "state" and b.kind in ("real", "complex"):
                return f'state["{b.entry}"]'
        for b in self.program.buffers:
            if b.role in ("input", "param"):
                return b.name
        return f'next(v for v in state.values() if isinstance(v, Tensor))' if self.graph.registers else "torch.zeros(())"

    def _prologue(self, like: str) -> list[str]:
        axes = [a.name for a in self.graph.axes]
        extra = sorted({a for r in self.graph.registers for a in map(n.base_axis, r.axes)} - set(axes))
        lines = [f"{self._size(a)} = sizes[{a!r}]" for a in (*axes, *extra) if not self._is_unbounded(a)]
        return [*lines, f"real, cplx, device = _precision({like})"]

    def _is_unbounded(self, axis: str) -> bool:
        return any(r.depth.unbounded and any(
            isinstance(x, n.History) and x.register == r.name and x.axis == axis for x in n.postorder(self.graph.roots)
        ) for r in self.graph.registers)

    def _size(self, axis: str) -> str:
        return f"size_{axis}" if axis in self._value_names() or axis in ("F", "Tensor", "Any") else axis

    def _value_names(self) -> set[str]:
        if not hasattr(self, "_values"):
            self._values = {b.name for b in self.program.buffers} | {"t", "batch", "length", "sizes", "state", "device",
                                                                     "real", "cplx", "steps", "start", "like", "torch", "math"}
        return self._values

    def _names(self) -> dict[tuple[str, str], str]:
        names: dict[tuple[str, str], str] = {("size", n.BATCH): "batch"}
        for a in self.graph.axes:
            names["size", a.name] = self._size(a.name)
        for r in self.graph.registers:
            for a in map(n.base_axis, r.axes):
                names.setdefault(("size", a), self._size(a))
        for b in self.program.buffers:
            names["load", b.name] = f'state["{b.entry}"]' if b.role == "state" else b.name
        return names

    # -- initial_state -----------------------------------------------------------------------------------------

    def _initial(self) -> None:
        params = "".join(f", {p}: Tensor" for p in self._ports("param"))
        self.lines += [f"def initial_state(*, sizes: dict[str, int], batch: int, like: Tensor{params}) -> dict[str, Any]:",
                       f'{INDENT}"""Every entry of the state before the first step; `like` gives precision and device."""']
        self.lines += [INDENT + line for line in self._prologue("like")]
        self.used.add("_precision")
        ex = self._expressions(self._names())
        entries = []
        for name, value in self.program.initial:
            b = next(b for b in self.program.buffers if b.role == "state" and b.entry == name)
            shape = ", ".join(self._dim(b, a) for a in b.axes)
            rest = tuple(a for a in b.axes if a not in (n.BATCH, n.LAG))
            if is_number(value):
                code = f"torch.full(({shape},), {ex.code(value)}, dtype={dtype_of_kind(b.kind)}, device=device)"
            else:
                lead = b.axes[: len(b.axes) - len(rest)]
                code = f"({ex.as_axes(value, rest)}).to({dtype_of_kind(b.kind)})"
                ones = "".join("None, " for _ in lead)
                tail = self._fill(value.axes, rest)
                code = f"{code}[{ones}...]{tail}.expand({shape})"
            entries.append(f'{INDENT * 2}"{name}": {code},')
        self.lines += [f"{INDENT}return {{", *entries, f"{INDENT}}}"]

    def _fill(self, have: Axes, want: Axes) -> str:
        return ""  # as_axes has placed None where an axis is missing

    def _dim(self, b: k.Buffer, axis: str) -> str:
        if axis == n.BATCH:
            return "batch"
        if axis == n.LAG:
            depth = b.depth
            assert depth is not None
            if depth.unbounded:
                return "0"
            parts = [self._size(depth.axis)] if depth.axis else []
            if depth.steps or not parts:
                parts.append(str(depth.steps))
            return " + ".join(parts).replace("+ -", "- ")
        return self._size(n.base_axis(axis))

    # -- sequence ----------------------------------------------------------------------------------------------

    def _sequence(self) -> None:
        ports = "".join(f", {p}: Tensor" for p in self._ports("input", "param"))
        self.lines += [
            f"def sequence(*, sizes: dict[str, int], batch: int, length: int, state: dict[str, Any]{ports}"
            ") -> tuple[tuple[Tensor, ...], dict[str, Any]]:",
            f'{INDENT}"""All steps: the outputs in the order of the spec, and the state after the last step."""',
        ]
        self.used.add("_precision")
        body = self._prologue(self._like())
        body.append('t0 = state["t"]')
        for axis in (a.name for a in self.graph.axes):
            if self._is_unbounded(axis):
                body.append(f"{self._size(axis)} = t0 + length")
        body.append('new_state: dict[str, Any] = {"t": t0 + length}')
        names = self._names()
        ex = self._expressions(names)
        if self.program.once:
            body.append("# --- once: values of the parameters alone")
            for s in self.program.once:
                body += self._plain(s, ex)
        for number, p in enumerate(self.program.passes, 1):
            body += self._pass(number, p, names)
        outputs = ", ".join(b.name for b in self.program.buffers if b.role == "output")
        body.append(f"return ({outputs},), new_state" if outputs else "return (), new_state")
        self.lines += [INDENT + line if line else "" for line in body]

    def _pass(self, number: int, p: k.Pass, names: dict[tuple[str, str], str]) -> list[str]:
        loop = p.loop
        out = [f"# --- {p.title}"]
        for s in p.before:
            out += self._plain(s, self._expressions(names))
        stores = [s.buffer for s in loop.body if isinstance(s, k.Store)]
        loads = self._loads(loop.body)
        sequences = [x for x in loads if n.TIME in self.buffers[x].axes and self.buffers[x].role in ("input", "workspace")]
        ex = self._expressions(names)
        for c in loop.carries:
            out.append(f"{c.target.name} = {ex.code(c.init)}")
        outside = self._outside(loop)
        function = f"_pass_{number}"
        carried = [c.target.name for c in loop.carries]
        results = [f"{c}_next" for c in carried] + [f"{s}_tile" for s in stores]
        flip = ".flip(1)" if loop.reverse else ""
        chunked = loop.block > 0
        tiles = {}
        for x in sequences:
            name = self.buffers[x].name
            if chunked:
                out.append(f"{name}_tiles = {name}{flip}.split({loop.block}, 1)")
                tiles[x] = f"{name}_tiles[i]"
            else:
                tiles[x] = f"{name}{flip}"
        time = "t" in loads
        self.functions.append(self._chunk(function, loop, carried, sequences, outside, stores, names, time))
        args = ["sizes", "batch", "steps", *carried, *(tiles[x] for x in sequences), *outside]
        if time:
            first = "t0 + length - start" if loop.reverse else "t0 + start + 1"
            last = "t0 + length - start - steps, -1" if loop.reverse else "t0 + start + steps + 1"
            args.insert(3, f"torch.arange({first}, {last}, device=device)")
        out += [f"{s}_parts = []" for s in stores]
        step = str(loop.block) if chunked else "max(length, 1)"
        head = f"for i, start in enumerate(range(0, length, {step})):" if chunked and sequences else \
            f"for start in range(0, length, {step}):"
        out.append(head)
        out.append(f"{INDENT}steps = min({step}, length - start)")
        call = f"_recomputed({function}, {', '.join(args)})" if loop.recompute else f"{function}({', '.join(args)})"
        if loop.recompute:
            self.used.add("_recomputed")
        targets = [*carried, *(f"{s}_i" for s in stores)]
        left = ", ".join(targets) + ("," if len(targets) == 1 else "")
        out.append(f"{INDENT}{left} = {call}" if targets else f"{INDENT}{call}")
        out += [f"{INDENT}{s}_parts.append({s}_i)" for s in stores]
        for s in stores:
            b = self.buffers[s]
            shape = ", ".join("batch" if a == n.BATCH else "0" if a == n.TIME else names["size", n.base_axis(a)] for a in b.axes)
            empty = f"torch.zeros({shape}, dtype={dtype_of_kind(b.kind)}, device=device)"
            out.append(f"{s} = torch.cat({s}_parts, 1){flip} if {s}_parts else {empty}")
        final = self._expressions({**names})
        for s in p.final:
            b = self.buffers[s.buffer]
            names["size", n.LAG] = "1"
            out.append(f'new_state["{b.entry}"] = {self._expanded(final, s.value, b.axes, b.kind, names)}')
        del results
        return out

    def _chunk(self, function: str, loop: k.For, carried: list[str], sequences: list[str], outside: list[str],
               stores: list[str], names: dict[tuple[str, str], str], time: bool) -> list[str]:
        params = ["sizes: dict[str, int]", "batch: int", "steps: int", *(["t: Tensor"] if time else []),
                  *(f"{c}: Tensor" for c in carried), *(f"{self.buffers[x].name}: Tensor" for x in sequences),
                  *(f"{o}: Any" for o in outside)]
        lines = [f"def {function}({', '.join(params)}) -> tuple[Tensor, ...]:"]
        first = next(iter([*(self.buffers[x].name for x in sequences if self.buffers[x].kind in ("real", "complex")),
                           *carried, *(self.buffers[x].name for x in sequences)]), None)
        inner = dict(names)
        inner["size", n.TIME] = "steps"
        inner["size", n.SOURCE] = "steps"
        inner.update(self._pieces(loop.body))
        body = [x for x in self._prologue(first or "_none")[:-1]]
        body.append(f"real, cplx, device = _precision({first})" if first else "real, cplx, device = _default_precision()")
        if not first:
            self.used.add("_default_precision")
        for axis in (a.name for a in self.graph.axes):
            if self._is_unbounded(axis):
                used = next((x for x in outside if x.startswith("past")), None)
                body.append(f"{self._size(axis)} = {used}.shape[1]" if used else f"{self._size(axis)} = steps")
        body += self._body(loop.body, inner, carried, stores)
        lines += [INDENT + line if line else "" for line in body]
        return self._prune(lines)

    def _pieces(self, body: tuple[k.Statement, ...]) -> dict[tuple[str, str], str]:
        """The sizes of the axes that Split makes."""
        found: dict[tuple[str, str], str] = {}
        for s in body:
            for node in n.postorder(list(_values(s))):
                if isinstance(node, n.Split):
                    found["size", n.base_axis(node.outer)] = f"-(-steps // {node.size})"
                    found["size", node.inner] = str(node.size)
        return found

    def _prune(self, lines: list[str]) -> list[str]:
        """Without the size bindings that the function does not use."""
        kept = list(lines)
        for line in lines:
            text = line.strip()
            if text.endswith("]") and " = sizes[" in text:
                name = text.split(" = ")[0]
                if not any(_mentions(other, name) for other in kept if other is not line):
                    kept.remove(line)
        return kept

    def _body(self, body: tuple[k.Statement, ...], names: dict[tuple[str, str], str], carried: list[str],
              stores: list[str]) -> list[str]:
        out: list[str] = []
        sets: dict[str, str] = {}
        ex = self._expressions(names)
        timed: dict[str, Axes] = {}
        for s in body:
            match s:
                case k.Section(title=title):
                    out.append(f"# --- {title}")
                case k.Let():
                    timed[s.target.name] = s.target.axes
                    out += self._prefixes(s.value, ex, names)
                    out.append(self._assign(s.target.name, ex.code(s.value), s))
                case k.Set():
                    out += self._prefixes(s.value, ex, names)
                    sets[s.target.name] = self._expanded(ex, s.value, s.target.axes, s.target.kind, names)
                case k.Store():
                    b = self.buffers[s.buffer]
                    out += self._prefixes(s.value, ex, names)
                    out.append(self._assign(f"{s.buffer}_tile", self._expanded(ex, s.value, b.axes, b.kind, names), s))
                case k.For():
                    out += self._inner_loop(s, names, timed)
                    for c in s.carries:
                        timed[c.target.name] = c.target.axes
        results = [*(sets.get(c, c) for c in carried), *(f"{s}_tile" for s in stores)]
        out.append(f"return {', '.join(results)}{',' if len(results) == 1 else ''}" if results else "return ()")
        return out

    def _expanded(self, ex: Expressions, value: Node, axes: Axes, kind: str, names: dict[tuple[str, str], str]) -> str:
        sizes = {a: names.get(("size", n.base_axis(a)), "-1") for a in axes}
        code = ex.as_axes(value, axes, sizes)
        return code if value.kind == kind else f"({code}).to({dtype_of_kind(kind)})"

    def _assign(self, name: str, code: str, s: k.Let | k.Store) -> str:
        line = f"{name} = {code}"
        return f"{line}  # {s.span.where.rsplit('/', 1)[-1]}" if s.span is not None else line

    def _plain(self, s: k.Statement, ex: Expressions) -> list[str]:
        assert isinstance(s, k.Let)
        return [self._assign(s.target.name, ex.code(s.value), s)]

    # -- inner loops -------------------------------------------------------------------------------------------

    def _inner_loop(self, loop: k.For, names: dict[tuple[str, str], str], timed: dict[str, Axes]) -> list[str]:
        scratch = [s for s in loop.body if isinstance(s, k.Store)]
        inner = dict(names)
        out: list[str] = []
        ex = self._expressions(names)
        sequences: dict[str, tuple[str, Axes]] = {}
        for node in n.postorder([v for s in loop.body for v in _values(s)]):
            if isinstance(node, n.Local) and n.TIME in timed.get(node.name, ()):
                sequences[node.name] = (node.name, timed[node.name])
            elif isinstance(node, n.Load) and node.buffer in self.buffers and n.TIME in self.buffers[node.buffer].axes:
                code = names["load", node.buffer]
                sequences[code] = (code, self.buffers[node.buffer].axes)
                inner["load", node.buffer] = f"{code}_t"
        for c in loop.carries:
            out.append(f"{c.target.name} = {ex.code(c.init)}")
        for s in scratch:
            out.append(f"{s.buffer}_steps: list[Tensor] = []")
        for name, (code, _) in sequences.items():
            inner["local", name] = f"{code}_t"
        if not sequences:
            out.append("for _ in range(steps):")
        elif len(sequences) == 1:
            (code, axes), = sequences.values()
            out.append(f"for {code}_t in {code}.unbind({axes.index(n.TIME)}):")
        else:
            left = ", ".join(f"{c}_t" for c, _ in sequences.values())
            right = ", ".join(f"{c}.unbind({a.index(n.TIME)})" for c, a in sequences.values())
            out.append(f"for {left} in zip({right}, strict=True):")
        step = self._expressions(inner)
        step.fuse = True
        lines: list[str] = []
        sets: list[tuple[str, str]] = []
        kinds = {c.target.name: c.target for c in loop.carries}
        for s in loop.body:
            match s:
                case k.Let():
                    lines.append(self._assign(s.target.name, step.code(s.value), s))
                case k.Set():
                    target = kinds[s.target.name]
                    sets.append((target.name, self._expanded(step, s.value, target.axes, target.kind, names)))
                case k.Store():
                    load_axes, kind = self._scratch_type(s, loop)
                    code = self._expanded(step, s.value, tuple(a for a in load_axes if a != n.TIME), kind, names)
                    lines.append(f"{s.buffer}_steps.append({code})")
        if sets:
            lines.append(f"{', '.join(a for a, _ in sets)} = {', '.join(b for _, b in sets)}")
        out += [INDENT + line for line in lines]
        for s in scratch:
            axes, kind = self._scratch_type(s, loop)
            like = self._scratch_like(s, loop, axes, kind, names)
            out.append(f"{s.buffer} = {like}")
        return out

    def _scratch_type(self, s: k.Store, loop: k.For) -> tuple[Axes, str]:
        b = self.buffers[s.buffer]
        return b.axes, b.kind

    def _scratch_like(self, s: k.Store, loop: k.For, axes: Axes, kind: str, names: dict[tuple[str, str], str]) -> str:
        return f"torch.stack({s.buffer}_steps, 1)"

    def _prefixes(self, value: Node, ex: Expressions, names: dict[tuple[str, str], str]) -> list[str]:
        """The parallel prefixes below `value`, each computed once for all its slots."""
        out: list[str] = []
        for node in n.postorder([value]):
            if not isinstance(node, n.Prefix) or ("prefix", prefix_key(node)) in names:
                continue
            self.used.add("_prefix")
            number = sum(1 for key in names if key[0] == "prefix") + 1
            result = f"prefix_{number}"
            combine = f"combine_{number}"
            inside = dict(names)
            for side in (node.earlier, node.later):
                for local in side:
                    assert isinstance(local, n.Local)
            ex2 = self._expressions(inside)
            out.append(f"def {combine}(earlier: Any, later: Any) -> tuple[Tensor, ...]:")
            out.append(f"{INDENT}{', '.join(x.name for x in node.earlier)}{',' if len(node.earlier) == 1 else ''} = earlier")  # type: ignore[attr-defined]
            out.append(f"{INDENT}{', '.join(x.name for x in node.later)}{',' if len(node.later) == 1 else ''} = later")  # type: ignore[attr-defined]
            inside["size", n.TIME] = "-1"
            inside["size", n.BATCH] = "-1"
            slots = []
            for value_, local in zip(node.combined, node.later, strict=True):
                code = ex2.as_axes(value_, local.axes)
                slots.append(code if value_.kind == local.kind else f"({code}).to({dtype_of_kind(local.kind)})")
            out.append(f"{INDENT}return {', '.join(slots)}{',' if len(slots) == 1 else ''}")
            args = [self._expanded(ex, a, local.axes, local.kind, names) for a, local in zip(node.args, node.later, strict=True)]
            out.append(f"{result} = _prefix({combine}, ({', '.join(args)}{',' if len(args) == 1 else ''}))")
            names["prefix", prefix_key(node)] = result
            ex.names = names
        return out

    # -- step --------------------------------------------------------------------------------------------------

    def _step(self) -> None:
        ports = "".join(f", {p}: Tensor" for p in self._ports("input", "param"))
        self.lines += [
            f"def step(*, sizes: dict[str, int], batch: int, state: dict[str, Any]{ports}"
            ") -> tuple[tuple[Tensor, ...], dict[str, Any]]:",
            f'{INDENT}"""One step: inputs (batch, axes…), the outputs of this step, and the state after it."""',
        ]
        body = self._prologue(self._like())
        body.append('t = state["t"] + 1')
        for axis in (a.name for a in self.graph.axes):
            if self._is_unbounded(axis):
                body.append(f"{self._size(axis)} = t")
        names = self._names()
        names["load", "t"] = "torch.tensor(t, device=device)"
        ex = self._expressions(names)
        outputs: list[str] = []
        entries = ['"t": t']
        for s in self.program.step:
            match s:
                case k.Let():
                    body.append(self._assign(s.target.name, ex.code(s.value), s))
                case k.Store():
                    b = self.buffers[s.buffer]
                    axes = tuple(a for a in b.axes if a != n.TIME)
                    names["size", n.LAG] = "1"
                    code = self._expanded(ex, s.value, axes, b.kind, names)
                    if b.role == "output":
                        body.append(self._assign(b.name, code, s))
                        outputs.append(b.name)
                    else:
                        entries.append(f'"{b.entry}": {code}')
                case _:
                    raise CompilerBug(f"{type(s).__name__} in a step")
        body.append("new_state = {")
        body += [f"{INDENT}{e}," for e in entries]
        body += ["}", f"return ({', '.join(outputs)},), new_state" if outputs else "return (), new_state"]
        self.lines += [INDENT + line for line in body]
        self.lines = self._prune(self.lines)

    # -- pieces ------------------------------------------------------------------------------------------------

    def _expressions(self, names: dict[tuple[str, str], str]) -> Expressions:
        ex = Expressions(names)
        ex.used = self.used
        return ex

    def _loads(self, body: tuple[k.Statement, ...]) -> list[str]:
        found: dict[str, None] = {}
        for s in body:
            for node in n.postorder(list(_values(s))):
                if isinstance(node, n.Load) and node.buffer in self.buffers:
                    found[node.buffer] = None
            if isinstance(s, k.For):
                found.update(dict.fromkeys(self._loads(s.body)))
        return list(found)

    def _outside(self, loop: k.For) -> list[str]:
        """Names bound outside a chunk loop that its body uses: parameters and values computed once."""
        inside = {c.target.name for c in loop.carries}
        found: dict[str, None] = {}

        def visit(body: tuple[k.Statement, ...]) -> None:
            for s in body:
                for node in n.postorder(list(_values(s))):
                    if isinstance(node, n.Local) and node.name not in inside:
                        found[node.name] = None
                    if isinstance(node, n.Load) and node.buffer in self.buffers and self.buffers[node.buffer].role == "param":
                        found[node.buffer] = None
                    if isinstance(node, n.Prefix):
                        for c in node.combined:
                            for x in n.postorder([c]):
                                if isinstance(x, n.Load):
                                    found[x.buffer] = None
                if isinstance(s, k.Let):
                    inside.add(s.target.name)
                if isinstance(s, k.For):
                    inside.update(c.target.name for c in s.carries)
                    visit(s.body)

        visit(loop.body)
        return [x for x in found if x not in inside]


def dtype_of_kind(kind: str) -> str:
    return {"real": "real", "complex": "cplx", "int": "torch.int64", "bool": "torch.bool"}[kind]


def _values(statement: k.Statement) -> tuple[Node, ...]:
    match statement:
        case k.Let(value=value) | k.Set(value=value) | k.Store(value=value):
            return (value,)
        case k.For(carries=carries):
            return tuple(c.init for c in carries)
        case _:
            return ()


def _mentions(line: str, name: str) -> bool:
    at = line.find(name)
    while at >= 0:
        before, after = line[at - 1 : at], line[at + len(name) : at + len(name) + 1]
        if not (before.isidentifier() or before.isdigit()) and not (after.isidentifier() or after.isdigit()):
            return True
        at = line.find(name, at + 1)
    return False


HELPERS = (
    support._precision, support._default_precision, support._shift, support._solve, support._matrix_phi, support._lag, support._tail,
    support._frames, support._logsumexp, support._phi, support._split, support._join, support._prefix,
    support._powers, support._geometric, support._moment, support._fft_conv, support._recomputed,
)
