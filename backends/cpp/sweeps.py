"""A pass as functions: one cell, the loop over all cells, and the sums of what several cells add to."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ssmc.backends.cpp.cell import HELD, Cell
from ssmc.backends.cpp.schedule import Schedule
from ssmc.backends.cpp.texts import SCALAR, identity, indented, term
from ssmc.backends.cpp.value import Value
from ssmc.backends.cpp.values import Pass

from ssmc.expr import nodes as n
from ssmc.kernel import nodes as k

# Cells that add to common sums go in so many groups at most, whatever the number of threads: the sums are the same.
GROUPS = 8


class Sweeps:
    """What a printer prints of one pass.

    It is a part of Printer, whose attributes it takes for granted.
    """

    def _pass(self: Any, values: Pass, schedule: Schedule, number: int, title: str) -> list[str]:
        cell = Cell(self, values, schedule, number)
        body = cell.text()
        s = schedule
        extra: list[tuple[str, str, str]] = []  # (variable, count, first index from the cell's number)
        if s.batch == 1:
            extra.append(("b", "c.batch", "{}"))
        else:
            extra.append(("b", "(c.batch + rows - 1) / rows", "{} * rows"))
        if not values.sequential and not values.at_once and not self.stepping:
            extra.append(
                (
                    "t",
                    f"(c.length + {s.time - 1}) / {s.time}" if s.time > 1 else "c.length",
                    f"{{}} * {s.time}" if s.time > 1 else "{}",
                )
            )
        if s.chunks:
            block = values.p.loop.block
            extra.append(("chunk", f"(c.length + {block - 1}) / {block}", "{}"))
        dealt = []
        for a in s.grid:
            size = self._c(self.size(a))
            if a == s.lane and s.wide:
                others = " * ".join(f"n_{v}" for v, _, _ in extra)
                dealt.append(f"const i64 most = dealt(vectors({size}), {s.vectors}, {others}, c.threads);")
                extra.append((self.variable(a), f"({size} + most * LANES - 1) / (most * LANES)", "{} * most * LANES"))
            elif a == s.lane and s.blocked:
                width = s.vectors * self.lanes
                extra.append((self.variable(a), f"({size} + {width - 1}) / {width}", f"{{}} * {width}"))
            else:
                extra.append((self.variable(a), size, "{}"))
        given = [v for v, _, _ in extra] + (["most"] if s.wide else []) + (["rows"] if s.batch > 1 else [])
        arguments = ", ".join(f"i64 {v}" for v in given)
        arguments += "".join(f", {self.fields[x][0]} *__restrict {x}" for x in cell.partials)
        locals_ = []
        if s.wide:
            left = f"vectors({self.size(s.lane)} - {self.variable(s.lane)})"
            locals_.append(f"const i64 {HELD} = most < {left} ? most : {left};")
        if s.batch > 1:
            locals_.append("rows = b + rows < batch ? rows : batch - b;")
        if s.time > 1 and not values.at_once:
            locals_.append(f"const i64 steps = t + {s.time} < length ? {s.time} : length - t;")
        text = [*locals_, *body]
        out = [f"// --- {title}", f"// {s.words()}"]
        out += [f"static void cell_{number}(const Call &c, Scratch scratch, {arguments}) {{"]
        out += indented([*self._prologue(text), *text])
        out += ["}", ""]
        if cell.afterwards:
            out += [f"static void after_{number}(const Call &c, i64 b) {{"]
            out += indented([*self._prologue(cell.afterwards), *cell.afterwards])
            out += ["}", ""]
        if cell.partials:
            out += self._summed(cell, number)
        counts = [f"n_{v}" for v, _, _ in extra]
        lines = [f"const i64 {c} = {count};" for c, (_, count, _) in zip(counts, extra, strict=True)]
        lines[len(lines) - len(dealt) : len(lines) - len(dealt)] = dealt  # the lane is the last
        if s.batch > 1:
            others = " * ".join(counts[1:]) or "1"
            lines = [*lines[1:], f"const i64 rows = share(c.batch, {others}, c.threads, {s.batch});", lines[0]]
        lines.append(f"const i64 cells = {' * '.join(counts)};")
        rooms = [self._c(x) for x in cell.scratch]
        total = " + ".join(rooms) if rooms else "0"
        lines.append(f"const i64 bytes = {total};")
        lines.append("char *const memory = bytes ? allocated(bytes * c.threads) : nullptr;")
        lines.append("if (bytes && !memory) return false;")
        if cell.partials:
            lines += self._grouped(cell, number, extra, counts, given)
            out += [f"static bool pass_{number}(const Call &c) {{", *indented(lines), "}", ""]
            return out
        lines.append("#pragma omp parallel for schedule(static) num_threads(c.threads) if (cells > 1)")
        decode = ["i64 rest = cell;"]
        for c, (v, _, first) in list(zip(counts, extra, strict=True))[::-1]:
            decode.append(f"const i64 {v} = {first.format(f'(rest % {c})')};")
            decode.append(f"rest /= {c};")
        decode.pop()
        decode.append(f"cell_{number}(c, Scratch{{memory + thread() * bytes}}, {', '.join(given)});")
        lines += ["for (i64 cell = 0; cell < cells; cell++) {", *indented(decode), "}"]
        if cell.afterwards:
            lines.append(f"for (i64 b = 0; b < c.batch; b++) after_{number}(c, b);")
        lines += ["free(memory);", "return true;"]
        out += [f"static bool pass_{number}(const Call &c) {{", *indented(lines), "}", ""]
        return out

    def _grouped(
        self: Any, cell: Cell, number: int, extra: list[tuple[str, str, str]], counts: list[str], given: list[str]
    ) -> list[str]:
        """The loop over cells that add to common sums: a group of cells adds to parts of its own, in order."""
        names = list(cell.partials)
        lines = [
            f"const i64 rows = n_b, inside = cells / (rows ? rows : 1), groups = inside < {GROUPS} ? inside : {GROUPS};"
        ]
        for name in names:
            element = self.fields[name][0]
            size = self._c(self.part_size[name])
            lines.append(f"const i64 {name}_size = {size};")
            lines.append(
                f"{element} *const {name} = ({element} *)allocated(groups * {name}_size * i64(sizeof({element})));"
            )
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
        arguments = ", ".join([*given, *(f"part_{name}" for name in names)])
        decode.append(f"cell_{number}(c, Scratch{{memory + thread() * bytes}}, {arguments});")
        body += [*indented(decode), "}"]
        lines += ["for (i64 job = 0; job < rows * groups; job++) {", *indented(body), "}"]
        for name in names:
            timed = n.TIME in self.part_axes[name]
            jobs = "rows * c.length" if timed else "rows"
            where = "job / c.length, job % c.length" if timed else "job, 0"
            lines.append("#pragma omp parallel for schedule(static) num_threads(c.threads)")
            lines.append(f"for (i64 job = 0; job < {jobs}; job++) sum_{name}(c, {name}, groups, {name}_size, {where});")
            lines.append(f"free({name});")
        return [*lines, "free(memory);", "return true;"]

    def _summed(self: Any, cell: Cell, number: int) -> list[str]:
        """Functions that add up the parts of the groups, in order."""
        out: list[str] = []
        for name, v in cell.partials.items():
            b = cell.values.buffers[v.store]
            axes = b.axes
            env = {n.BATCH: "b", n.TIME: "t"} | {a: self.variable(a) for a in axes if a not in (n.BATCH, n.TIME)}
            of = " + ".join(term(env[a], self.fixed[name][a]) for a in axes)
            target = self.target(v.store)
            to = " + ".join(term(env[a], self.stride(target, a)) for a in axes)
            element = self.fields[name][0]
            start = f"{SCALAR[b.kind]} sum = {identity('sum', b.kind)};"
            if b.role == "state":
                begin = " + ".join(term(env[a], self.stride(self.identifier(v.store), a)) for a in axes)
                start = f"{SCALAR[b.kind]} sum = load1(&{self.identifier(v.store)}[{begin}]);"
            lines = [
                start,
                f"for (i64 g = 0; g < groups; g++) sum = sum + {name}[g * size + {of}];",
                f"store1(&{target}[{to}], sum);",
            ]
            for a in reversed([a for a in axes if a not in (n.BATCH, n.TIME)]):
                lines = [f"for (i64 {env[a]} = 0; {env[a]} < {self.size(a)}; {env[a]}++) {{", *indented(lines), "}"]
            head = (
                f"static void sum_{name}(const Call &c, const {element} *{name}, i64 groups, i64 size, i64 b, i64 t) {{"
            )
            out += [
                "// The parts of the groups of cells, in order.",
                head,
                *indented([*self._prologue(lines, {name}), *lines]),
                "}",
                "",
            ]
        return out

    def part(self: Any, v: Value, name: str, b: k.Buffer) -> None:
        """A tensor of parts: like the whole, once for each group of cells."""
        self._contiguous(name, b.axes, b.kind)
        self.part_size[name] = self.own.pop(name)
        self.part_axes[name] = b.axes

    def _c(self: Any, text: str) -> str:
        """An expression of sizes, outside a cell."""
        names = {self.size_name(a) for a in self.axes} | {"batch", "length"}
        return re.sub(r"\b[A-Za-z_]\w*\b", lambda m: f"c.{m[0]}" if m[0] in names else m[0], text)

    def _prologue(self: Any, body: list[str], given: Iterable[str] = ()) -> list[str]:
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
