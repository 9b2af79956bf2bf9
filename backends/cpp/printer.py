"""A kernel program as one C++ file: what a call gives, what is computed once, the passes, and the two functions.

    support          types and mathematics, only what is used
    namespace        of `sequence` and of `step`: `Call`, the pointers, strides and sizes of a call, then its passes,
                     each a function of one cell and the loop over the cells
    extern "C"       ssmc_sequence, ssmc_step (signature.py)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ssmc.backends.cpp.cell import INDENT, Cell, _indented, _times
from ssmc.backends.cpp.nests import Nest
from ssmc.backends.cpp.point import SCALAR, Env, Index, Point
from ssmc.backends.cpp.reductions import identity, joined, reduction
from ssmc.backends.cpp.schedule import Schedule, choose
from ssmc.backends.cpp.signature import Printed, Signature, Slot
from ssmc.backends.cpp.library_text import names as support_names
from ssmc.backends.cpp.library_text import support_text
from ssmc.backends.cpp.values import BEGUN, NotPrintable, Pass, Value

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Node
from ssmc.kernel import nodes as k

KEYWORDS = set(
    """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr continue
    decltype default delete do double dynamic_cast else enum explicit export extern false float for friend goto if inline
    int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private protected public register return
    short signed sizeof static struct switch template this throw true try typedef typeid typename union unsigned using
    virtual void volatile wchar_t while xor xor_eq real i64 bits vreal vmask vint cx c b t r q s start stop chunk last
    length batch t0 threads scratch rows steps load store fetch put get first splat room pad vectors main std linux unix
    once sequence step Call Scratch LANES INLINE RARE AVX512_POWERS""".split()
)

# Cells that add to common sums go in so many groups at most, whatever the number of threads: the sums do not depend on it.
GROUPS = 8

STORAGE = {"bfloat16": "bf16", "float16": "f16"}


def print_program(
    program: k.Program,
    *,
    real: str,
    lanes: int,
    sizes: Mapping[str, int] | None = None,
    storage: Mapping[str, str] | None = None,
    schedules: Mapping[int, Schedule] | None = None,
) -> Printed:
    """The C++ of a program. `sizes` are fixed in the text; the file takes any others as they come.

    Raises NotPrintable for what this backend has no code for.
    """
    return _Printer(program, real, lanes, dict(sizes or {}), dict(storage or {}), dict(schedules or {})).printed()


def printable(program: k.Program) -> bool:
    """Whether this backend has code for all of a program."""
    try:
        print_program(program, real="float", lanes=16)
    except NotPrintable:
        return False
    return True


class _Printer:
    def __init__(
        self,
        program: k.Program,
        real: str,
        lanes: int,
        sizes: dict[str, int],
        storage: dict[str, str],
        schedules: dict[int, Schedule],
    ) -> None:
        self.program, self.real, self.lanes, self.storage, self.schedules = program, real, lanes, storage, schedules
        self.width = 4 if real == "float" else 8
        self.graph = program.graph
        self.sizes = sizes
        self.made = {a.name: a.size for a in self.graph.axes if a.span is None and a.size is not None}
        for name, size in self.made.items():
            value = _product_of(size, sizes)
            if value is not None:
                self.sizes[name] = value
        self.axes = [a.name for a in self.graph.axes]
        for r in self.graph.registers:
            self.axes += [a for a in map(n.base_axis, r.axes) if a not in self.axes]
        self.names: dict[str, str] = {}
        self.fields: dict[str, tuple[str, tuple[str, ...]]] = {}  # of Call: name -> (element type, stride words)
        self.once: dict[str, k.Buffer] = {}
        self.packed: dict[str, tuple[str, Axes, Axes]] = {}
        self.spare: dict[str, k.Buffer] = {}
        self.stepping = False
        self.linear = False  # whether there is linear algebra
        self.integers = False  # whether there is arithmetic of integers
        self.roles = {b.name: b for b in program.buffers}

    # -- names ---------------------------------------------------------------------------------------------------

    def identifier(self, name: str) -> str:
        if name not in self.names:
            base = re.sub(r"\W", "_", name)
            base = f"v_{base}" if not base or base[0].isdigit() or base.startswith("__") else base
            taken = set(self.names.values()) | {self.size_name(a) for a in self.axes}
            wish, count = (f"{base}_" if base in KEYWORDS or base.startswith(("m_", "h")) and base in taken else base), 2
            while wish in KEYWORDS or wish in taken:
                wish, count = f"{base}_{count}", count + 1
            self.names[name] = wish
        return self.names[name]

    def size_name(self, axis: str) -> str:
        base = re.sub(r"\W", "_", axis)
        return f"size_{base}" if base in KEYWORDS or base.startswith(("_", "i_", "m_")) else base

    def size(self, axis: str) -> str:
        base = n.base_axis(axis)
        if base in self.sizes:
            return str(self.sizes[base])
        return self.size_name(base)

    def variable(self, axis: str) -> str:
        return f"i_{axis.replace(chr(39), '1').replace('~', 'x').lstrip('@')}"

    def stride(self, name: str, axis: str) -> str:
        strides = self.fields[name][1] if name in self.fields else ()
        word = f"{name}_{self.variable(axis)[2:]}"
        if name in self.fixed and axis in self.fixed[name]:
            return self.fixed[name][axis]
        if word not in strides:
            raise CompilerBug(f"no stride {word}")
        return word

    fixed: dict[str, dict[str, str]]

    # -- tensors -------------------------------------------------------------------------------------------------

    def source(self, cell: Cell, buffer: str, axes: Axes, env: Env) -> tuple[str, Axes, bool]:
        """The name and the dimensions of a tensor to read: packed with the lane innermost, where that pays."""
        b = cell.values.buffers.get(buffer) or self.once_buffers[buffer]
        mine = tuple(a for a in axes if not (self.stepping and a == n.TIME))
        if b.role in BEGUN:
            mine = (mine[0], n.TIME, *mine[1:])
            env_time = Index("chunk", "chunk")
            env[n.TIME] = env_time  # type: ignore[index]
        name = self.identifier(buffer)
        lane = next((a for a in mine if env[a].lane), None)
        constant = b.role == "param" or buffer in self.once_buffers
        if lane is not None and constant and lane != mine[-1] and len(mine) > 1 and not self.stepping:
            order = (*(a for a in mine if a != lane), lane)
            packed = f"{name}_by_{'_'.join(self.variable(a)[2:] for a in order)}"
            if packed not in self.packed:
                self.packed[packed] = (name, mine, order)
                self._contiguous(packed, order, b.kind)
            return packed, order, True
        return name, mine, False

    def target(self, buffer: str) -> str:
        b = self.roles.get(buffer)
        if b is not None and b.role == "state":
            return self.identifier(f"new_{buffer}")
        return self.identifier(buffer)

    def _contiguous(self, name: str, axes: Axes, kind: str, lengths: Mapping[str, str] | None = None) -> None:
        """A tensor of our own: its strides follow from the sizes."""
        strides: dict[str, str] = {}
        step = "1"
        for a in reversed(axes):
            strides[a] = step
            step = _times(step, (lengths or {}).get(a) or self._length(a))
        self.fixed[name] = strides
        self.fields[name] = (SCALAR[kind], ())  # type: ignore[index]
        self.own[name] = step

    def _length(self, axis: str) -> str:
        if axis == n.TIME:
            return "length"
        if axis == n.BATCH:
            return "batch"
        return self.size(axis)

    # -- the file ------------------------------------------------------------------------------------------------

    def printed(self) -> Printed:
        for name, _ in self._slots(False):
            self.identifier(name.name)
        parts: list[str] = []
        functions = [("sequence", False)] + ([("step", True)] if self.program.step else [])
        for title, stepping in functions:
            self.packed, self.spare, self.once_buffers, self.fixed, self.own = {}, {}, {}, {}, {}
            self.part_size: dict[str, str] = {}
            self.part_axes: dict[str, Axes] = {}
            self.fields = {}
            self.stepping = stepping
            parts += self._namespace(title, stepping)
        body = "\n".join(parts)
        calls = set(re.findall(r"[A-Za-z_]\w*", body)) | {"load", "store", "load1", "store1"}
        access = ACCESS + (ACCESS_COMPLEX if "cx" in calls else "") + (ACCESS_INTEGER if "vint" in calls else "")
        if "lanes_from" in calls or self.integers:
            calls.add("vint")
            access = ACCESS + (ACCESS_COMPLEX if "cx" in calls else "") + ACCESS_INTEGER
        if self.linear:
            calls.add("m_abs")
        known = sorted(calls & support_names())
        support = support_text(known, self.real, self.lanes)  # type: ignore[arg-type]
        text = "\n".join([self._header(), support, OWN, access, *([LINEAR.replace("UNIT_COMPLEX", UNIT if "cx" in calls else "")] if self.linear else []), body, ""])
        slots = tuple(s for s, _ in self._slots(False))
        return Printed(text, Signature(slots, tuple(self.axes)))

    def _header(self) -> str:
        lines = [f"// {self.program.name}: generated from a spec; {self.real}, {self.lanes} lanes."]
        lines += [f"// {line}" for line in self.program.header]
        fixed = ", ".join(f"{a} = {self.sizes[a]}" for a in self.axes if a in self.sizes)
        if fixed:
            lines.append(f"// for the sizes {fixed}")
        return "\n".join(lines) + "\n"

    def _slots(self, stepping: bool) -> list[tuple[Slot, str]]:
        out: list[tuple[Slot, str]] = []
        stores = {s.buffer for p in self.program.passes for s in p.loop.body if isinstance(s, k.Store)}
        saves = any(b.role == "saved" and b.name in stores for b in self.program.buffers)
        order = [("input", "input"), ("param", "param"), ("state", "state"), ("saved", "given"), ("output", "output")]
        order += [("state", "new_state"), ("saved", "saved")]
        for role, as_role in order:
            if role == "saved" and (as_role == "saved") != saves:
                continue
            for b in self.program.buffers:
                if b.role != role:
                    continue
                name = b.name if as_role != "new_state" else f"new_{b.name}"
                dtype = self.storage.get(b.entry, "") if role in ("input", "param", "state") else ""
                if role == "output" or as_role == "new_state":
                    dtype = self.storage.get("@output", "") if role == "output" and b.kind == "real" else ""
                axes = (b.axes[0], n.TIME, *b.axes[1:]) if role == "saved" else b.axes
                chunk = self.program.saving if role == "saved" else 0
                slot = Slot(name, b.entry, as_role, axes, b.kind, b.depth, dtype, chunk)  # type: ignore[arg-type]
                element = STORAGE.get(dtype) or {"bool": "bool", "int": "i64"}.get(b.kind) or SCALAR[b.kind]
                out.append((slot, element))
        return out

    def _namespace(self, title: str, stepping: bool) -> list[str]:
        unpack: list[str] = []
        fields: list[str] = []
        for slot, element in self._slots(stepping):
            name = self.identifier(slot.name)
            axes = [a for a in slot.axes if not (stepping and a == n.TIME)]
            words = tuple(f"{name}_{self.variable(a)[2:]}" for a in axes)
            self.fields[name] = (element, words)
            const = "" if slot.role in ("output", "new_state", "saved") else "const "
            fields.append(f"{const}{element} *{name};" + (f" i64 {', '.join(words)};" if words else ""))
            unpack.append(f"c.{name} = ({const}{element} *)*w++;")
            unpack += [f"c.{word} = *w++;" for word in words]
        sized = [self.size_name(a) for a in self.axes if a not in self.sizes]
        for a in self.axes:
            unpack.append("w++;" if a in self.sizes else f"c.{self.size_name(a)} = *w++;")
        sized += ["batch", "length", "t0", "threads"]
        unpack += [f"c.{x} = *w++;" for x in ("batch", "length", "t0", "threads")]
        once = self._once()
        line_starts: dict[str, Node] = {}
        passes: list[str] = []
        calls: list[str] = []
        if not stepping:
            for b in (b for b in self.program.buffers if b.role == "workspace"):
                self._contiguous(self.identifier(b.name), b.axes, b.kind)
        for number, p in enumerate(self._passes(stepping), 1):
            values = Pass(self.program, p, self.spare, line_starts, step=stepping)
            for s in p.loop.body:
                if isinstance(s, k.Store) and self.roles[s.buffer].role == "boundary":
                    self._boundary(self.roles[s.buffer], p.loop.block, line_starts)
            for name, b in self.spare.items():
                if self.identifier(name) not in self.fixed:
                    self._contiguous(self.identifier(name), b.axes, b.kind)
            schedule = self.schedules.get(number) or choose(values, self._known_sizes(), self.lanes)
            passes += self._pass(values, schedule, number, p.title)
            calls.append(f"pass_{number}(c)")
        names = [x for x in self.fixed if x not in self.part_size]
        prepared = self._prepared(once)
        fields += [f"{self.fields[x][0]} *{x};" for x in names]
        if sized:
            fields.append(f"i64 {', '.join(sized)};")
        out = ["", f"namespace {title} {{", "", "// What a call gives: pointers, strides in elements, sizes.", "struct Call {"]
        out += _indented(fields)
        out += ["};", "", "static Call unpacked(const i64 *w) {", f"{INDENT}Call c;", *_indented(unpack), f"{INDENT}return c;", "}", ""]
        out += prepared + passes
        out += self._run(names, calls, bool(prepared))
        out += [f"}}  // namespace {title}", ""]
        out += [f'extern "C" i64 ssmc_{title}(const i64 *call) {{ return {title}::run(call); }}']
        return out

    def _known_sizes(self) -> dict[str, int]:
        return self.sizes

    def _passes(self, stepping: bool) -> list[k.Pass]:
        if not stepping:
            return list(self.program.passes)
        loop = k.For(1, False, (), self.program.step)
        return [k.Pass("one step", (), loop, ())]

    def _boundary(self, b: k.Buffer, block: int, line_starts: Mapping[str, Node]) -> None:
        """Room for what each chunk of a pass begins with: (batch, chunks, …)."""
        chunks = f"((length + {block - 1}) / {block})" if block else "1"
        lengths = {n.TIME: chunks}
        if n.LAG in b.axes:
            (load,) = (x for x in n.postorder([line_starts[b.name]]) if isinstance(x, n.Load))
            depth = self.roles[load.buffer].depth
            assert depth is not None
            lengths[n.LAG] = f"({self.size(depth.axis)} + {depth.steps})" if depth.axis else str(depth.steps)
        self._contiguous(self.identifier(b.name), (b.axes[0], n.TIME, *b.axes[1:]), b.kind, lengths)

    # -- once ----------------------------------------------------------------------------------------------------

    def _once(self) -> list[tuple[k.Let, k.Buffer]]:
        out: list[tuple[k.Let, k.Buffer]] = []
        if self.stepping:
            needed = self._once_needed()
        for s in self.program.once:
            if not isinstance(s, k.Let):
                continue
            if self.stepping and s.target.name not in needed:
                continue
            b = k.Buffer(f"once_{s.target.name}", s.target.axes, s.target.kind, "workspace")
            self.once[s.target.name] = b
            self.once_buffers[b.name] = b
            self._contiguous(self.identifier(b.name), b.axes, b.kind)
            out.append((s, b))
        return out

    def once_value(self, name: str) -> Node:
        return next(s.value for s in self.program.once if isinstance(s, k.Let) and s.target.name == name)

    def _once_needed(self) -> set[str]:
        found: set[str] = set()
        todo = [s.value for s in self.program.step if isinstance(s, k.Let | k.Store | k.Set)]
        lets = {s.target.name: s.value for s in self.program.once if isinstance(s, k.Let)}
        while todo:
            for x in n.postorder([todo.pop()]):
                if isinstance(x, n.Local) and x.name in lets and x.name not in found:
                    found.add(x.name)
                    todo.append(lets[x.name])
        return found

    def _prepared(self, once: list[tuple[k.Let, k.Buffer]]) -> list[str]:
        """The function that computes what depends on params only, and lays tensors out for the lanes."""
        body: list[str] = []
        rooms: list[str] = []
        if once:
            body_ = (*(s for s, _ in once), *(k.Store(b.name, s.target) for s, b in once))
            p = k.Pass("once", (), k.For(1, False, (), body_), ())
            program = replace(self.program, buffers=(*self.program.buffers, *(b for _, b in once)))
            values = Pass(program, p, {}, {}, step=True)
            cell = Cell(self, values, Schedule(), 0)
            keep, self.stepping = self.stepping, True
            body += cell.text()
            rooms = cell.scratch
            self.stepping = keep
        for packed, (name, axes, order) in self.packed.items():
            env = {a: self.variable(a) for a in order}
            to = " + ".join(_term(env[a], self.fixed[packed][a]) for a in order)
            of = " + ".join(_term(env[a], self.stride(name, a)) for a in axes)
            lines = [f"{packed}[{to}] = load1(&{name}[{of}]);"]
            for a in reversed(order):
                size = self.size(a)
                lines = [f"for (i64 {env[a]} = 0; {env[a]} < {size}; {env[a]}++) {{", *_indented(lines), "}"]
            body += lines
        if not body:
            return []
        head = ["// What depends on params only, and tensors laid out for the lanes.", "static bool prepare(const Call &c) {"]
        if rooms:
            begin = [f"char *const memory = allocated({' + '.join(rooms)});", "if (!memory) return false;", "Scratch scratch{memory};"]
            body = [*begin, *body, "free(memory);"]
        return [*head, *_indented([*self._prologue(body), *body, "return true;"]), "}", ""]

    # -- a pass --------------------------------------------------------------------------------------------------

    def _pass(self, values: Pass, schedule: Schedule, number: int, title: str) -> list[str]:
        cell = Cell(self, values, schedule, number)
        body = cell.text()
        s = schedule
        extra: list[tuple[str, str, str]] = []  # (variable, count, first index from the cell's number)
        if s.batch == 1:
            extra.append(("b", "c.batch", "{}"))
        else:
            extra.append(("b", f"(c.batch + {s.batch - 1}) / {s.batch}", f"{{}} * {s.batch}"))
        if not values.sequential and not self.stepping:
            extra.append(("t", f"(c.length + {s.time - 1}) / {s.time}" if s.time > 1 else "c.length", f"{{}} * {s.time}" if s.time > 1 else "{}"))
        for a in s.grid:
            size = self._c(self.size(a))
            if a == s.lane and s.blocked:
                width = s.vectors * self.lanes
                extra.append((self.variable(a), f"({size} + {width - 1}) / {width}", f"{{}} * {width}"))
            else:
                extra.append((self.variable(a), size, "{}"))
        arguments = ", ".join(f"i64 {v}" for v, _, _ in extra)
        arguments += "".join(f", {self.fields[x][0]} *__restrict {x}" for x in cell.partials)
        locals_ = []
        if s.batch > 1:
            locals_.append(f"const i64 rows = b + {s.batch} < batch ? {s.batch} : batch - b;")
        if s.time > 1:
            locals_.append(f"const i64 steps = t + {s.time} < length ? {s.time} : length - t;")
        text = [*locals_, *body]
        out = [f"// --- {title}", f"// {s.words()}"]
        out += [f"static void cell_{number}(const Call &c, Scratch scratch, {arguments}) {{"]
        out += _indented([*self._prologue(text), *text])
        out += ["}", ""]
        if cell.afterwards:
            out += [f"static void after_{number}(const Call &c, i64 b) {{"]
            out += _indented([*self._prologue(cell.afterwards), *cell.afterwards])
            out += ["}", ""]
        if cell.partials:
            out += self._summed(cell, number)
        counts = [f"n_{v}" for v, _, _ in extra]
        lines = [f"const i64 {c} = {count};" for c, (_, count, _) in zip(counts, extra, strict=True)]
        lines.append(f"const i64 cells = {' * '.join(counts)};")
        rooms = [self._c(x) for x in cell.scratch]
        total = " + ".join(rooms) if rooms else "0"
        lines.append(f"const i64 bytes = {total};")
        lines.append("char *const memory = bytes ? allocated(bytes * c.threads) : nullptr;")
        lines.append("if (bytes && !memory) return false;")
        if cell.partials:
            lines += self._grouped(cell, number, extra, counts)
            out += [f"static bool pass_{number}(const Call &c) {{", *_indented(lines), "}", ""]
            return out
        lines.append("#pragma omp parallel for schedule(static) num_threads(c.threads) if (cells > 1)")
        decode = ["i64 rest = cell;"]
        values_: list[str] = []
        for c, (v, _, first) in list(zip(counts, extra, strict=True))[::-1]:
            decode.append(f"const i64 {v} = {first.format(f'(rest % {c})')};")
            decode.append(f"rest /= {c};")
        values_ = [v for v, _, _ in extra]
        decode.pop()
        decode.append(f"cell_{number}(c, Scratch{{memory + thread() * bytes}}, {', '.join(values_)});")
        lines += ["for (i64 cell = 0; cell < cells; cell++) {", *_indented(decode), "}"]
        if cell.afterwards:
            lines.append(f"for (i64 b = 0; b < c.batch; b++) after_{number}(c, b);")
        lines += ["free(memory);", "return true;"]
        out += [f"static bool pass_{number}(const Call &c) {{", *_indented(lines), "}", ""]
        return out

    def _grouped(
        self, cell: Cell, number: int, extra: list[tuple[str, str, str]], counts: list[str]
    ) -> list[str]:
        """The loop over cells that add to common sums: a group of cells adds to parts of its own, in order."""
        names = list(cell.partials)
        lines = [f"const i64 rows = n_b, inside = cells / (rows ? rows : 1), groups = inside < {GROUPS} ? inside : {GROUPS};"]
        for name in names:
            element = self.fields[name][0]
            size = self._c(self.part_size[name])
            lines.append(f"const i64 {name}_size = {size};")
            lines.append(f"{element} *const {name} = ({element} *)allocated(groups * {name}_size * i64(sizeof({element})));")
            lines.append(f"if (!{name}) return false;")
        lines.append("#pragma omp parallel for schedule(static) num_threads(c.threads) if (rows * groups > 1)")
        body = ["const i64 b = job / groups, group = job % groups;"]
        for name in names:
            body.append(f"{self.fields[name][0]} *const part_{name} = {name} + group * {name}_size;")
            body.append(f"cleared(part_{name} + b * ({name}_size / rows), {name}_size / rows);")
        body.append("for (i64 cell = group * inside / groups; cell < (group + 1) * inside / groups; cell++) {")
        decode = ["i64 rest = cell;"]
        for c, (v, _, first) in list(zip(counts, extra, strict=True))[:0:-1]:
            decode.append(f"const i64 {v} = {first.format(f'(rest % {c})')};")
            decode.append(f"rest /= {c};")
        decode.pop()
        arguments = ", ".join(["b", *(v for v, _, _ in extra[1:]), *(f"part_{name}" for name in names)])
        decode.append(f"cell_{number}(c, Scratch{{memory + thread() * bytes}}, {arguments});")
        body += [*_indented(decode), "}"]
        lines += ["for (i64 job = 0; job < rows * groups; job++) {", *_indented(body), "}"]
        for name, v in cell.partials.items():
            timed = n.TIME in self.part_axes[name]
            jobs = "rows * c.length" if timed else "rows"
            where = "job / c.length, job % c.length" if timed else "job, 0"
            lines.append("#pragma omp parallel for schedule(static) num_threads(c.threads)")
            lines.append(f"for (i64 job = 0; job < {jobs}; job++) sum_{name}(c, {name}, groups, {name}_size, {where});")
            lines.append(f"free({name});")
            del v
        return [*lines, "free(memory);", "return true;"]

    def _summed(self, cell: Cell, number: int) -> list[str]:
        """Functions that add up the parts of the groups, in order."""
        out: list[str] = []
        for name, v in cell.partials.items():
            b = cell.values.buffers[v.store]
            axes = b.axes
            env = {n.BATCH: "b", n.TIME: "t"} | {a: self.variable(a) for a in axes if a not in (n.BATCH, n.TIME)}
            of = " + ".join(_term(env[a], self.fixed[name][a]) for a in axes)
            target = self.target(v.store)
            to = " + ".join(_term(env[a], self.stride(target, a)) for a in axes)
            element = self.fields[name][0]
            start = f"{SCALAR[b.kind]} sum = {identity('sum', b.kind)};"
            if b.role == "state":
                begin = " + ".join(_term(env[a], self.stride(self.identifier(v.store), a)) for a in axes)
                start = f"{SCALAR[b.kind]} sum = load1(&{self.identifier(v.store)}[{begin}]);"
            lines = [start, f"for (i64 g = 0; g < groups; g++) sum = sum + {name}[g * size + {of}];", f"store1(&{target}[{to}], sum);"]
            for a in reversed([a for a in axes if a not in (n.BATCH, n.TIME)]):
                lines = [f"for (i64 {env[a]} = 0; {env[a]} < {self.size(a)}; {env[a]}++) {{", *_indented(lines), "}"]
            head = f"static void sum_{name}(const Call &c, const {element} *{name}, i64 groups, i64 size, i64 b, i64 t) {{"
            out += ["// The parts of the groups of cells, in order.", head, *_indented([*self._prologue(lines, {name}), *lines]), "}", ""]
        return out

    def part(self, v: Value, name: str, b: k.Buffer) -> None:
        """A tensor of parts: like the whole, once for each group of cells."""
        self._contiguous(name, b.axes, b.kind)
        self.part_size[name] = self.own.pop(name)
        self.part_axes[name] = b.axes

    def _c(self, text: str) -> str:
        """An expression of sizes, outside a cell."""
        names = {self.size_name(a) for a in self.axes} | {"batch", "length"}
        return re.sub(r"\b[A-Za-z_]\w*\b", lambda m: f"c.{m[0]}" if m[0] in names else m[0], text)

    def _prologue(self, body: list[str], given: Iterable[str] = ()) -> list[str]:
        """The parts of a call that a function uses, as variables of its own."""
        found = set(re.findall(r"[A-Za-z_]\w*", "\n".join(body)))
        out: list[str] = []
        stores = {s.buffer for p in self.program.passes for s in p.loop.body if isinstance(s, k.Store)}
        written = {self.target(b.name) for b in self.program.buffers if b.role in ("output", "state")}
        written |= {self.target(b.name) for b in self.program.buffers if b.role == "saved" and b.name in stores}
        for name, (element, words) in self.fields.items():
            if name in found and name not in self.part_size:
                const = "" if name in written or name in self.fixed else "const "
                restrict = "" if name in self.fixed else "__restrict "
                out.append(f"{const}{element} *{restrict}const {name} = c.{name};")
                found |= set()
            used = [w for w in words if w in found]
            if used:
                out.append(f"const i64 {', '.join(f'{w} = c.{w}' for w in used)};")
        strides = "\n".join(out)
        del strides
        sizes = [self.size_name(a) for a in self.axes if a not in self.sizes] + ["batch", "length"]
        used = [x for x in sizes if x in found]
        if used:
            out.append(f"const i64 {', '.join(f'{x} = c.{x}' for x in used)};")
        return out

    def _run(self, own: list[str], calls: list[str], prepared: bool) -> list[str]:
        lines = ["Call c = unpacked(call);"]
        if own:
            sizes = " + ".join(f"room({self._c(self.own[x])}, sizeof({self.fields[x][0]}))" for x in own)
            lines.append(f"char *const memory = allocated({sizes});")
            lines.append("if (!memory) return 1;")
            lines.append("Scratch scratch{memory};")
            lines += [f"c.{x} = scratch.take<{self.fields[x][0]}>({self._c(self.own[x])});" for x in own]
        if prepared:
            calls = ["prepare(c)", *calls]
        lines.append(f"const bool done = {' && '.join(calls) or 'true'};")
        if own:
            lines.append("free(memory);")
        lines.append("return done ? 0 : 1;")
        return ["static i64 run(const i64 *call) {", *_indented(lines), "}"]

    # -- what cells ask for --------------------------------------------------------------------------------------

    def reduction(self, cell: Cell, nest: Nest) -> list[str]:
        return reduction(cell, nest)

    def serial(self, cell: Cell, nest: Nest) -> list[str]:
        (v,) = nest.values
        node = v.special
        match node:
            case n.Cumulative(op=op, arg=arg, axis=axis, reverse=reverse):
                return self._cumulative(cell, nest, v, op, arg, axis, reverse)
            case n.Solve() | n.Expm():
                return self._square(cell, nest, v, node)
        return cell._loops(nest, lambda env: self._serial_body(cell, v, env), {})

    def _serial_body(self, cell: Cell, v: Value, env: Env) -> list[str]:
        point = Point(cell, env, v, {})
        code = point.converted(point.code(v.special if v.special is not None else v.value), v.kind)
        if v.store:
            return [cell.stored(v, code, env)]
        if v.place is not None and v in cell.placed:
            return [cell._assign(v.place, code, env)]
        return [cell._assign(v, code, env)]

    def _cumulative(
        self, cell: Cell, nest: Nest, v: Value, op: str, arg: Node, axis: str, reverse: bool
    ) -> list[str]:
        outer = replace_axes(nest, tuple(a for a in nest.axes if a != axis))
        i = self.variable(axis)

        def body(env: Env) -> list[str]:
            inside = {**env, axis: Index(i, i)}
            point = Point(cell, inside, v, {})
            term = point.converted(point.code(arg), v.kind).text
            size = self.size(axis)
            head = f"for (i64 {i} = {size} - 1; {i} >= 0; {i}--) {{" if reverse else f"for (i64 {i} = 0; {i} < {size}; {i}++) {{"
            lines = [joined(op, "running", term), cell._assign(v, point.converted_name("running", v.kind), inside)]
            return [f"{SCALAR[v.kind]} running = {identity(op, v.kind)};", head, *_indented(lines), "}"]

        return ["{", *_indented(cell._loops(outer, body, {})), "}"]

    def _square(self, cell: Cell, nest: Nest, v: Value, node: n.Solve | n.Expm) -> list[str]:
        row, col = node.row, node.col
        element = SCALAR[v.kind]
        size = self.size(row)
        i, j = self.variable(row), self.variable(col)
        outer = replace_axes(nest, tuple(a for a in nest.axes if a not in (row, *((col,) if isinstance(node, n.Expm) else ()))))

        def body(env: Env) -> list[str]:
            inside = {**env, row: Index(i, i), col: Index(j, j)}
            point = Point(cell, inside, v, {})
            entry = point.converted(point.code(node.matrix), v.kind).text
            lines = [f"{element} *const matrix = scratch.take<{element}>({size} * {size} * 2), *const answer = matrix + {size} * {size};"]
            lines += [f"for (i64 {i} = 0; {i} < {size}; {i}++)", f"{INDENT}for (i64 {j} = 0; {j} < {size}; {j}++) matrix[{i} * {size} + {j}] = {entry};"]
            if isinstance(node, n.Solve):
                rhs = point.converted(point.code(node.rhs), v.kind).text
                lines += [f"for (i64 {i} = 0; {i} < {size}; {i}++) answer[{i}] = {rhs};", f"solve(matrix, answer, {size});"]
                out = cell._assign(v, point.converted_name(f"answer[{i}]", v.kind), inside)
                return [*lines, f"for (i64 {i} = 0; {i} < {size}; {i}++) {out}"]
            lines.append(f"exponential<{node.order}>(matrix, answer, {size});")
            out = cell._assign(v, point.converted_name(f"answer[{i} * {size} + {j}]", v.kind), inside)
            return [*lines, f"for (i64 {i} = 0; {i} < {size}; {i}++)", f"{INDENT}for (i64 {j} = 0; {j} < {size}; {j}++) {out}"]

        self.linear = True
        cell.scratch_needs.append(f"room({size} * {size} * 2, sizeof({element}))")
        return cell._loops(outer, lambda env: ["{", *_indented(["Scratch rest = scratch;", *(x.replace("scratch.take", "rest.take") for x in body(env))]), "}"], {})


def replace_axes(nest: Nest, axes: Axes) -> Nest:
    return Nest(axes, None, nest.over, nest.values, nest.serial)


def _term(index: str, stride: str) -> str:
    return index if stride == "1" else f"{index} * {stride}"


def _product_of(size: Node, sizes: Mapping[str, int]) -> int | None:
    match size:
        case n.Size(axis=axis):
            return sizes.get(axis)
        case n.Const(value=value):
            return int(value)  # type: ignore[arg-type]
        case n.Map(op="mul", args=(x, y)):
            a, b = _product_of(x, sizes), _product_of(y, sizes)
            return None if a is None or b is None else a * b
        case _:
            return None


ACCESS = """
// --- access: LANES elements from p on, stride apart, of which `left` are there --------------------------------------

template <class T> RARE auto fetch_rest(const T *p, i64 stride, i64 left) {
    T row[LANES] = {};
    for (i64 i = 0; i < LANES && i < left; i++) row[i] = p[i * stride];
    return load(row);
}
template <class T> INLINE auto fetch(const T *p, i64 stride, i64 left) {
    if (__builtin_expect(stride == 1 && left >= LANES, 1)) return load(p);
    return fetch_rest(p, stride, left);
}
template <class T, class V> RARE void put_rest(T *p, i64 stride, i64 left, V x) {
    T row[LANES];
    store(row, x);
    for (i64 i = 0; i < LANES && i < left; i++) p[i * stride] = row[i];
}
template <class T, class V> INLINE void put(T *p, i64 stride, i64 left, V x) {
    if (__builtin_expect(stride == 1 && left >= LANES, 1)) store(p, x);
    else put_rest(p, stride, left, x);
}
template <class T, class V> INLINE void put_added(T *p, i64 stride, i64 left, V x) {
    put(p, stride, left, fetch(p, stride, left) + x);
}
template <class T> INLINE void cleared(T *p, i64 n) {
    for (i64 i = 0; i < n; i++) p[i] = T{};
}

// The lanes that are there.
INLINE vmask among(i64 left) {
    vmask lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return lane < bits(left < LANES ? left : LANES);
}
INLINE vreal first(vreal x, i64 left, real rest) { return among(left) ? x : splat(rest); }
INLINE vmask first(vmask x, i64 left, bool rest) { return among(left) ? x : splat(rest); }
"""

ACCESS_COMPLEX = """
INLINE cx<vreal> first(cx<vreal> x, i64 left, cx<real> rest) {
    return {first(x.re, left, rest.re), first(x.im, left, rest.im)};
}
"""

ACCESS_INTEGER = """
INLINE vint lanes_from(i64 x) {
    vi64 lane;
    for (int i = 0; i < LANES; i++) lane[i] = i;
    return {lane + x};
}
INLINE vint first(vint x, i64 left, i64 rest) {
    for (int i = 0; i < LANES; i++) x.v[i] = i < left ? x.v[i] : rest;
    return x;
}
"""

UNIT = "template <> struct unit_of<cx<real>> { static cx<real> one() { return {real(1), real(0)}; } };"

LINEAR = """
// --- small matrices ------------------------------------------------------------------------------------------------

template <class T> struct unit_of { static T one() { return T(1); } };
UNIT_COMPLEX
template <class T> INLINE T unit() { return unit_of<T>::one(); }

// b = inverse(a) b, by elimination with row pivots; a is overwritten.
template <class T> static void solve(T *a, T *b, i64 n) {
    for (i64 k = 0; k < n; k++) {
        i64 p = k;
        for (i64 i = k + 1; i < n; i++)
            if (m_abs(a[i * n + k]) > m_abs(a[p * n + k])) p = i;
        if (p != k) {
            for (i64 j = 0; j < n; j++) {
                T x = a[k * n + j];
                a[k * n + j] = a[p * n + j];
                a[p * n + j] = x;
            }
            T x = b[k];
            b[k] = b[p];
            b[p] = x;
        }
        for (i64 i = k + 1; i < n; i++) {
            const T f = a[i * n + k] / a[k * n + k];
            for (i64 j = k + 1; j < n; j++) a[i * n + j] = a[i * n + j] - f * a[k * n + j];
            b[i] = b[i] - f * b[k];
        }
    }
    for (i64 i = n - 1; i >= 0; i--) {
        T x = b[i];
        for (i64 j = i + 1; j < n; j++) x = x - a[i * n + j] * b[j];
        b[i] = x / a[i * n + i];
    }
}

// phi_k(a) = sum of a^j / (j + k)!, phi_0 = exp. The exponential of a with k shift blocks beside it,
//     [a 1 0; 0 0 1; 0 0 0],
// has it in its last block; that by Taylor's series of a / 2^s, squared s times.
template <int K, class T> static void exponential(const T *a, T *out, i64 n) {
    const i64 m = n * (K + 1), size = m * m;
    T *const x = (T *)allocated(4 * size * i64(sizeof(T))), *const term = x + size, *const sum = term + size;
    T *const next = sum + size;
    for (i64 i = 0; i < size; i++) x[i] = T{};
    for (i64 i = 0; i < n; i++)
        for (i64 j = 0; j < n; j++) x[i * m + j] = a[i * n + j];
    for (i64 i = 0; i < m - n; i++) x[i * m + n + i] = unit<T>();
    real norm = 0;
    for (i64 i = 0; i < m; i++) {
        real row = 0;
        for (i64 j = 0; j < m; j++) row += m_abs(x[i * m + j]);
        norm = row > norm ? row : norm;
    }
    int squarings = 0;
    real scale = 1;
    for (; norm * scale > real(0.5) && squarings < 1100; squarings++) scale *= real(0.5);
    for (i64 i = 0; i < size; i++) x[i] = x[i] * scale, term[i] = sum[i] = T{};
    for (i64 i = 0; i < m; i++) term[i * m + i] = sum[i * m + i] = unit<T>();
    const auto product = [&](const T *p, const T *q, T *r, real factor) {
        for (i64 i = 0; i < m; i++)
            for (i64 j = 0; j < m; j++) {
                T s = T{};
                for (i64 l = 0; l < m; l++) s = s + p[i * m + l] * q[l * m + j];
                r[i * m + j] = s * factor;
            }
    };
    for (int k = 1; k <= 18; k++) {
        product(term, x, next, real(1) / k);
        for (i64 i = 0; i < size; i++) term[i] = next[i], sum[i] = sum[i] + next[i];
    }
    for (int k = 0; k < squarings; k++) {
        product(sum, sum, next, real(1));
        for (i64 i = 0; i < size; i++) sum[i] = next[i];
    }
    for (i64 i = 0; i < n; i++)
        for (i64 j = 0; j < n; j++) out[i * n + j] = sum[i * m + (m - n) + j];
    free(x);
}
"""

OWN = """
// --- memory ------------------------------------------------------------------------------------------------------

extern "C" void *aligned_alloc(std::size_t, std::size_t) noexcept;
extern "C" void free(void *) noexcept;
#ifdef _OPENMP
extern "C" int omp_get_thread_num(void) noexcept;
INLINE i64 thread() { return omp_get_thread_num(); }
#else
INLINE i64 thread() { return 0; }
#endif

INLINE i64 vectors(i64 n) { return (n + LANES - 1) / LANES; }

// Bytes for `count` elements, with room to begin at a multiple of 64 and not at one of 4096.
INLINE i64 room(i64 count, i64 size) { return (count * size + 127) / 64 * 64; }

INLINE char *allocated(i64 bytes) { return (char *)aligned_alloc(64, (bytes + 127) / 64 * 64); }

// Memory given out piece by piece.
struct Scratch {
    char *at;
    template <class T> T *take(i64 count) {
        T *p = (T *)at;
        at += room(count, sizeof(T));
        return p;
    }
};
"""
