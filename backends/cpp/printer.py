"""A kernel program as one C++ file: what a call gives, what is computed once, the passes, and the two functions.

support          types and mathematics, only what is used
namespace        of `sequence` and of `step`: `Call`, the pointers, strides and sizes of a call, then its passes,
                 each a function of one cell and the loop over the cells
extern "C"       ssmc_sequence, ssmc_step (signature.py)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources

from ssmc.backends.cpp.account import Account, account
from ssmc.backends.cpp.at_once import AtOnce
from ssmc.backends.cpp.cell import Cell
from ssmc.backends.cpp.constants import constants
from ssmc.backends.cpp.held import hold
from ssmc.backends.cpp.library_text import macros, support_text
from ssmc.backends.cpp.library_text import names as support_names
from ssmc.backends.cpp.nests import Nest
from ssmc.backends.cpp.point import Env, Index
from ssmc.backends.cpp.products import Product
from ssmc.backends.cpp.reductions import reduction
from ssmc.backends.cpp.schedule import Schedule, choose, legal_axes
from ssmc.backends.cpp.serial import Serial
from ssmc.backends.cpp.signature import Printed, Signature, Slot
from ssmc.backends.cpp.sweeps import Sweeps
from ssmc.backends.cpp.texts import INDENT, SCALAR, indented, product, term, times
from ssmc.backends.cpp.tiles import split
from ssmc.backends.cpp.transforms import Transforms
from ssmc.backends.cpp.value import BEGUN, NotPrintable
from ssmc.backends.cpp.values import Pass
from ssmc.backends.cpp.wishes import RULES, Legal, PassWishes, check

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arrays import NumpyArrays
from ssmc.expr.evaluate import Named, evaluate
from ssmc.expr.nodes import Axes, Kind, Node
from ssmc.kernel import nodes as k
from ssmc.kernel.naming import is_number

KEYWORDS = set(  # words of C++, and those that generated code has for itself
    """alignas alignof and and_eq asm auto bitand bitor bool break case catch char class compl const constexpr
    continue decltype default delete do double dynamic_cast else enum explicit export extern false float for
    friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private
    protected public register return short signed sizeof static struct switch template this throw true try typedef
    typeid typename union unsigned using virtual void volatile wchar_t while xor xor_eq real i64 bits vreal vmask
    vint cx c b t r q s start stop chunk last length batch t0 threads scratch rows steps load store fetch put get
    first splat room pad vectors main std linux unix once sequence step Call Scratch LANES INLINE RARE CACHE
    AVX512_POWERS""".split()  # noqa: SIM905
)

USUAL_CACHE = 32 << 20
STORAGE = {"bfloat16": "bf16", "float16": "f16"}


def print_program(
    program: k.Program,
    *,
    real: str,
    lanes: int,
    sizes: Mapping[str, int] | None = None,
    storage: Mapping[str, str] | None = None,
    schedules: Mapping[int, Schedule] | None = None,
    wishes: PassWishes | None = None,
    cache: int = USUAL_CACHE,
) -> Printed:
    """The C++ of a program. `sizes` are fixed in the text; the file takes any others as they come. `wishes` are asked
    of the schedules of the sequence's passes, `schedules` are taken in place of all. `cache` are the bytes of the
    machine's last cache: what is larger is written past it.

    Raises NotPrintable for what this backend has no code for, SpecError for wishes that no pass can have.
    """
    printer = Printer(program, real, lanes, dict(sizes or {}), dict(storage or {}), dict(schedules or {}))
    printer.wishes, printer.cache = wishes or PassWishes(), cache
    return printer.printed()


def printable(program: k.Program) -> bool:
    """Whether this backend has code for all of a program."""
    try:
        print_program(program, real="float", lanes=16)
    except NotPrintable:
        return False
    return True


@functools.cache
def _words() -> frozenset[str]:
    """What a file has names for: of C++, of the support code, of the frame around the passes."""
    files = (resources.files("ssmc.backends.cpp") / "support").iterdir()
    text = "\n".join(re.sub(r"//.*", "", f.read_text(encoding="utf-8")) for f in files if f.name.endswith(".hpp"))
    frame = [x for x in re.findall(r"[A-Za-z_]\w*", text) if len(x) > 1]
    made = "memory bytes cell cells rest thread group groups job inside most held past here prepare unpacked run matrix"
    made += " answer running done"
    return frozenset({*KEYWORDS, *frame, *made.split(), "w", "g", "call", *support_names(), *macros()})


def reserved(name: str) -> bool:
    """Whether no value may have a name: words, and what loops, cells and sums over cells are called."""
    return name in _words() or re.match(r"(i|n|m|part|size|cell|pass|after)_", name) is not None


class Printer(Serial, AtOnce, Transforms, Sweeps):
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
        self.cache = USUAL_CACHE
        self.streams = False  # whether something may be written past the caches
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
        self.once_buffers: dict[str, k.Buffer] = {}
        self.fixed: dict[str, dict[str, str]] = {}  # strides that follow from the sizes
        self.own: dict[str, str] = {}  # how many elements tensors of our own have
        self.part_size: dict[str, str] = {}
        self.part_axes: dict[str, Axes] = {}
        self.integers = False  # whether there is arithmetic of integers
        self.roles = {b.name: b for b in program.buffers}
        self.wishes = PassWishes()
        self.legal: list[Legal] = []
        self.accounts: list[Account] = []

    # -- names ---------------------------------------------------------------------------------------------------

    def identifier(self, name: str) -> str:
        if name not in self.names:
            base = re.sub(r"\W", "_", name)
            base = f"v_{base}" if not base or base[0].isdigit() or base.startswith("__") else base
            taken = set(self.names.values())
            sizes = {self.size_name(a) for a in self.axes}
            base = f"v_{base}" if reserved(base) else base
            wish, count = base, 2
            while wish in sizes or wish in taken or self._like_strides(wish, taken):
                wish, count = f"{base}_{count}", count + 1
            self.names[name] = wish
        return self.names[name]

    def _like_strides(self, wish: str, taken: set[str]) -> bool:
        """Whether a name would be the word for a stride of another, or the other way round."""
        ends = [f"_{self.variable(a)[2:]}" for a in (n.BATCH, n.TIME, n.LAG, *self.axes)]
        return any((wish.endswith(end) and wish.removesuffix(end) in taken) or wish + end in taken for end in ends)

    def size_name(self, axis: str) -> str:
        base = re.sub(r"\W", "_", axis)
        return f"size_{base}" if reserved(base) or base.startswith("_") else base

    def size(self, axis: str) -> str:
        base = n.base_axis(axis)
        if base in self.sizes:
            return str(self.sizes[base])
        return self.size_name(base)

    def number(self, node: Node) -> float | int | None:
        """The value of what is made of numbers and known sizes alone."""
        if not is_number(node) or node.kind not in ("real", "int"):
            return None
        if any(isinstance(x, n.Size) and n.base_axis(x.axis) not in self.sizes for x in n.postorder([node])):
            return None
        value = evaluate([node], _no_leaf, NumpyArrays(), self.sizes)[0].data
        return float(value) if node.kind == "real" else int(value)

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
            return self._laid_out(name, mine, order, b.kind), order, True
        return name, mine, False

    def matrix(self, p: Product, order: Axes, env: Env) -> tuple[str, str]:
        """Where a product's matrix begins, with its columns side by side, and what lies between them."""
        b = self.roles.get(p.source) or self.once_buffers[p.source]
        places = tuple(p.places[a] for a in order)
        name = self._laid_out(self.identifier(p.source), b.axes, places, b.kind)
        outer = zip(order[:-2], places[:-2], strict=True)
        at = " + ".join(product(env[a].whole, self.fixed[name][place]) for a, place in outer)
        return f"&{name}[{at}]" if at else name, self.fixed[name][places[-2]]

    def _laid_out(self, name: str, axes: Axes, order: Axes, kind: Kind) -> str:
        """A param in another order, its rows filled up to whole vectors."""
        packed = f"{name}_by_{'_'.join(self.variable(a)[2:] for a in order)}"
        if packed not in self.packed:
            self.packed[packed] = (name, axes, order)
            size = self.size(order[-1])
            filled = str(-(-int(size) // self.lanes) * self.lanes) if size.isdigit() else f"vectors({size}) * LANES"
            self._contiguous(packed, order, kind, {order[-1]: filled})
        return packed

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
            step = times(step, (lengths or {}).get(a) or self._length(a))
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
            self.part_size, self.part_axes = {}, {}
            self.fields = {}
            self.stepping, self.streams = stepping, False
            parts += self._namespace(title, stepping)
        check(self.graph, self.program.name, self.wishes, self.legal)
        body = "\n".join(parts)
        words = set(re.findall(r"[A-Za-z_]\w*", body))
        if self.integers:
            words.add("vint")
        support = support_text(sorted(words & support_names()), self.real, self.lanes)  # type: ignore[arg-type]
        text = "\n".join([self._header(), support, body, ""])
        slots = tuple(s for s, _ in self._slots(False))
        return Printed(text, Signature(slots, tuple(self.axes)), tuple(self.accounts))

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
            legal = self._legal(values, number, p.title)
            schedule = self.schedules.get(number) or self._chosen(values, number)
            hold(values, schedule, self._known_sizes(), self.lanes, self.width)
            split(values, schedule, self._known_sizes(), self.lanes, self.width, constants().nearest)
            if not stepping:
                self.accounts.append(account(values, schedule, number, p.title, self._known_sizes(), self.lanes, legal))
            passes += self._pass(values, schedule, number, p.title)
            calls.append(f"pass_{number}(c)")
        names = [x for x in self.fixed if x not in self.part_size]
        prepared = self._prepared(once)
        fields += [f"{self.fields[x][0]} *{x};" for x in names]
        if sized:
            fields.append(f"i64 {', '.join(sized)};")
        if self.streams:
            fields.append("bool past;  // more than the caches hold: what is written goes past them")
        out = [
            "",
            f"namespace {title} {{",
            "",
            *([f"constexpr i64 CACHE = {self.cache};  // bytes of the last cache", ""] if self.streams else []),
            "// What a call gives: pointers, strides in elements, sizes.",
            "struct Call {",
        ]
        out += indented(fields)
        out += [
            "};",
            "",
            "static Call unpacked(const i64 *w) {",
            f"{INDENT}Call c;",
            *indented(unpack),
            f"{INDENT}return c;",
            "}",
            "",
        ]
        out += prepared + passes
        out += self._run(names, calls, bool(prepared))
        out += [f"}}  // namespace {title}", ""]
        out += [f'extern "C" i64 ssmc_{title}(const i64 *call) {{ return {title}::run(call); }}']
        return out

    def _chosen(self, values: Pass, number: int) -> Schedule:
        wish = self.wishes.for_pass(number) if not self.stepping else RULES
        here = constants()
        return choose(values, self._known_sizes(), self.lanes, here.threads, wish, here.nearest[1])

    def _legal(self, values: Pass, number: int, title: str) -> Legal | None:
        """What a pass with a recurrence can have; kept for what is asked of the program."""
        if self.stepping or not values.sequential:
            return None
        found = Legal(number, title, *legal_axes(values, self._known_sizes()))
        self.legal.append(found)
        return found

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

    def reduction(self, cell: Cell, nest: Nest) -> list[str]:
        return reduction(cell, nest)

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
            body_: tuple[k.Statement, ...] = (*(s for s, _ in once), *(k.Store(b.name, s.target) for s, b in once))
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
            to = " + ".join(term(env[a], self.fixed[packed][a]) for a in order)
            of = " + ".join(term(env[a], self.stride(name, a)) for a in axes)
            lines = [f"{packed}[{to}] = load1(&{name}[{of}]);"]
            size_of_last = self.size(order[-1])
            for a in reversed(order):
                size = self.size(a)
                lines = [f"for (i64 {env[a]} = 0; {env[a]} < {size}; {env[a]}++) {{", *indented(lines), "}"]
            if not size_of_last.isdigit() or int(size_of_last) % self.lanes:
                body.append(f"cleared({packed}, {self.own[packed]});")
            body += lines
        if not body:
            return []
        head = [
            "// What depends on params only, and tensors laid out for the lanes.",
            "static bool prepare(const Call &c) {",
        ]
        if rooms:
            begin = [
                f"char *const memory = allocated({' + '.join(rooms)});",
                "if (!memory) return false;",
                "Scratch scratch{memory};",
            ]
            body = [*begin, *body, "free(memory);"]
        return [*head, *indented([*self._prologue(body), *body, "return true;"]), "}", ""]

    def _touched(self) -> str:
        """The bytes of all sequences that a call reads and writes."""
        steps: dict[str, list[str]] = {}
        for slot, element in self._slots(False):
            if n.TIME in slot.axes and slot.role in ("input", "output"):
                count = "1"
                for a in slot.axes:
                    count = count if a in (n.BATCH, n.TIME) else times(count, self._c(self.size(a)))
                steps.setdefault(element, []).append(count)
        sums = [f"({' + '.join(counts)}) * i64(sizeof({element}))" for element, counts in steps.items()]
        return f"c.batch * c.length * ({' + '.join(sums)})"

    def _run(self, own: list[str], calls: list[str], prepared: bool) -> list[str]:
        lines = ["Call c = unpacked(call);"]
        if own:
            sizes = " + ".join(f"room({self._c(self.own[x])}, sizeof({self.fields[x][0]}))" for x in own)
            lines.append(f"char *const memory = allocated({sizes});")
            lines.append("if (!memory) return 1;")
            lines.append("Scratch scratch{memory};")
            lines += [f"c.{x} = scratch.take<{self.fields[x][0]}>({self._c(self.own[x])});" for x in own]
        if self.streams:
            lines.append(f"c.past = {self._touched()} > CACHE;")
        if prepared:
            calls = ["prepare(c)", *calls]
        lines.append(f"const bool done = {' && '.join(calls) or 'true'};")
        if own:
            lines.append("free(memory);")
        lines.append("return done ? 0 : 1;")
        return ["static i64 run(const i64 *call) {", *indented(lines), "}"]


def _no_leaf(node: Node) -> Named:
    raise CompilerBug(f"{node!r} is no number")


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
