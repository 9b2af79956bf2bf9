"""Expressions as PyTorch code.

A value is a tensor whose dimensions are its `axes`, in order; a value without axes made of constants and sizes only is
a Python number. Broadcasting by name becomes indexing with `None`; `Rename` costs nothing; sums of products become
`einsum`. Precedence is tracked, so parentheses stand only where they are needed.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping

from ssmc.backends.torch.numbers import folded, plain

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.nodes import Axes, Node
from ssmc.kernel.naming import is_number

ATOM, POSTFIX, POWER, UNARY, PRODUCT, SUM, BITAND, BITOR, COMPARE, LOWEST = 100, 95, 90, 85, 80, 75, 70, 65, 60, 0

_INFIX: dict[str, tuple[str, int]] = {
    "add": ("+", SUM), "sub": ("-", SUM), "mul": ("*", PRODUCT), "div": ("/", PRODUCT), "pow": ("**", POWER),
    "lt": ("<", COMPARE), "le": ("<=", COMPARE), "gt": (">", COMPARE), "ge": (">=", COMPARE), "eq": ("==", COMPARE),
    "ne": ("!=", COMPARE), "and": ("&", BITAND), "or": ("|", BITOR),
}  # fmt: skip
_FUNCTION = {
    "exp": "torch.exp", "log": "torch.log", "log1p": "torch.log1p", "expm1": "torch.expm1", "sqrt": "torch.sqrt",
    "rsqrt": "torch.rsqrt", "abs": "torch.abs", "sign": "torch.sgn", "conj": "torch.conj", "angle": "torch.angle",
    "sin": "torch.sin", "cos": "torch.cos", "tan": "torch.tan", "tanh": "torch.tanh", "sigmoid": "torch.sigmoid",
    "logsigmoid": "F.logsigmoid", "silu": "F.silu", "gelu": "F.gelu", "relu": "torch.relu", "elu": "F.elu",
    "erf": "torch.erf", "floor": "torch.floor", "round": "torch.round", "mod": "torch.remainder",
    "logaddexp": "_logaddexp",
}  # fmt: skip
_NUMBER = {"exp": "math.exp", "log": "math.log", "log1p": "math.log1p", "expm1": "math.expm1", "sqrt": "math.sqrt",
           "sin": "math.sin", "cos": "math.cos", "tan": "math.tan", "tanh": "math.tanh", "erf": "math.erf",
           "floor": "math.floor", "round": "round", "abs": "abs"}  # fmt: skip


class Expressions:
    """Prints expressions. `names` gives the code of a Local or Load; `used` collects the helper functions needed."""

    def __init__(self, names: Mapping[tuple[str, str], str]) -> None:
        self.names = names  # ("local" | "load", name) -> code
        self.used: set[str] = set()
        self.fuse = False  # print x * y + z as torch.addcmul
        self._prefix_code: dict[tuple[Node, ...], str] = {}

    # -- entry points ------------------------------------------------------------------------------------------

    def code(self, node: Node) -> str:
        return self._print(node)[0]

    def as_axes(self, node: Node, axes: Axes, sizes: Mapping[str, str] | None = None) -> str:
        """`node` with exactly these dimensions; `sizes` (code of each dimension) expands the missing ones."""
        code, level = self._aligned(node, axes)
        missing = [a for a in axes if a not in node.axes]
        if missing and sizes is not None:
            if is_number(node):
                code, level = self.tensor(node), ATOM
            shape = ", ".join(sizes[a] if a in missing else "-1" for a in axes)
            return f"{self._wrap((code, level), POSTFIX)}.expand({shape})"
        return code

    def tensor(self, node: Node) -> str:
        """`node` as a tensor, also where it is a Python number."""
        code = self.code(node)
        return f"torch.tensor({code}, dtype={dtype_of(node)}, device=device)" if is_number(node) else code

    # -- nodes -------------------------------------------------------------------------------------------------

    def _print(self, node: Node) -> tuple[str, int]:
        match node:
            case n.Const(value=value):
                return _number(value)
            case n.Size(axis=axis):
                return self.names["size", n.base_axis(axis)], ATOM
            case n.Index(axes=(axis,)):
                return f"torch.arange({self.names['size', n.base_axis(axis)]}, device=device)", ATOM
            case n.Local(name=name):
                return self.names.get(("local", name), name), ATOM
            case n.Load(buffer=buffer):
                return self.names["load", buffer], ATOM
            case n.Map():
                return self._map(node)
            case n.Reduce():
                return self._reduce(node)
            case n.Rename(arg=arg):
                return self._print(arg)
            case n.Pick(arg=arg, axis=axis, index=index):
                return f"{self._postfix(arg)}.select({arg.axes.index(axis)}, {index})", POSTFIX
            case n.Flip(arg=n.Lag(arg=n.Flip()), axis=n.TIME):
                return self._reordered(*self._as_made(node), node.axes)
            case n.Flip(arg=arg, axis=axis):
                return f"{self._postfix(arg)}.flip({arg.axes.index(axis)})", POSTFIX
            case n.Start(arg=arg, axis=axis):
                size = self.names["size", n.base_axis(axis)]
                return f"{self._postfix(arg)}.narrow({arg.axes.index(axis)}, 0, {size})", POSTFIX
            case n.Shift(arg=arg, axis=axis, steps=steps):
                return self._helper("_shift", self.code(arg), str(arg.axes.index(axis)), str(steps))
            case n.Cumulative(op=op, arg=arg, axis=axis, reverse=reverse):
                name = "cumsum" if op == "sum" else "cumprod"
                d = arg.axes.index(axis)
                x = self._postfix(arg)
                return (f"{x}.flip({d}).{name}({d}).flip({d})" if reverse else f"{x}.{name}({d})"), POSTFIX
            case n.Tail(arg=arg, halo=halo):
                rest = tuple(a for a in halo.axes if a not in (n.BATCH, n.LAG))
                time = (n.TIME,) if n.TIME in arg.axes else ()
                x = self._full(arg, (n.BATCH, *time, *rest))
                return self._helper("_tail", x if time else method(x, "unsqueeze(1)"), self._halo(halo, halo.axes))
            case n.Prefix():
                key = ",".join(str(id(x)) for x in (*node.args, *node.combined))
                return f"{self.names['prefix', key]}[{node.slot}]", POSTFIX
            case n.Moment(arg=arg, base=base, factor=factor, carry=carry):
                rest = tuple(a for a in node.axes if a != n.BATCH)
                lead = (n.BATCH,) if n.BATCH in arg.axes else ()
                x = self._cast(arg, node, self.as_axes(arg, (*lead, n.TIME, *rest)))
                x = x if lead else method(x, "unsqueeze(0)")
                self.used.add("_powers")
                codes = [self._cast(v, node, self.as_axes(v, (n.BATCH, *rest))) for v in (base, factor, carry)]
                return self._helper("_moment", x, *codes)
            case n.Table(name=name):
                raise CompilerBug(f"the table {name} reached the printer")
            case (
                n.Solve() | n.Expm() | n.Lag() | n.Frames() | n.Append() | n.FftConv() | n.Scores() | n.Gather()
                | n.Geometric()
            ):  # fmt: skip
                return self._reordered(*self._as_made(node), node.axes)
            case _:
                raise CompilerBug(f"{type(node).__name__} has no PyTorch code")

    def _as_made(self, node: Node) -> tuple[tuple[str, int], Axes]:
        """Code of `node`, and the dimensions of what it gives: in the order of the helper, where there is one."""
        match node:
            case n.Rename(arg=arg, pairs=pairs):
                printed, axes = self._as_made(arg)
                new = dict(pairs)
                return printed, tuple(new.get(a, a) for a in axes)
            case n.Solve(matrix=matrix, rhs=rhs, row=row, col=col):
                others = tuple(a for a in node.axes if a != row)
                a = self._cast(matrix, node, self.as_axes(matrix, (*others, row, col)))
                b = self._cast(rhs, node, self.as_axes(rhs, (*others, row)))
                return self._helper("_solve", a, b), (*others, row)
            case n.Expm(matrix=matrix, row=row, col=col, order=order):
                axes = (*(a for a in node.axes if a not in (row, col)), row, col)
                code = self.as_axes(matrix, axes)
                if order:
                    return self._helper("_matrix_phi", code, str(order)), axes
                return (f"torch.linalg.matrix_exp({code})", ATOM), axes
            case n.Lag(arg=arg, halo=halo, steps=steps):
                lined = (n.BATCH, n.TIME, *(a for a in node.axes if a not in (n.BATCH, n.TIME)))
                return self._helper("_lag", self._full(arg, lined), self._halo(halo, lined), str(steps)), lined
            case n.Flip(arg=n.Lag(arg=n.Flip(arg=arg), halo=halo, steps=steps)):
                # turned round twice: the same, looking ahead
                lined = (n.BATCH, n.TIME, *(a for a in node.axes if a not in (n.BATCH, n.TIME)))
                return self._helper("_lead", self._full(arg, lined), self._halo(halo, lined), str(steps)), lined
            case n.Frames():
                return self._frames(node)
            case n.Append(arg=arg, halo=halo, axis=axis):
                rest = tuple(a for a in node.axes if a not in (n.BATCH, axis))
                time = (n.TIME,) if n.TIME in arg.axes else ()
                x = self._full(arg, (n.BATCH, *time, *rest))
                x = x if time else method(x, "unsqueeze(1)")
                joined = f"torch.cat([{self._halo(halo, (n.BATCH, n.LAG, *rest))}, {x}], 1)"
                return (joined, ATOM), (n.BATCH, axis, *rest)
            case n.Scores(query=query, key=key, decay=decay, over=over, late=late):
                rest = tuple(a for a in node.axes if a not in (n.TIME, n.SOURCE))
                codes = [self._cast(x, node, self.as_axes(x, (*rest, n.TIME, *over))) for x in (query, key, decay)]
                self.used.update(("_halves", "_filled"))
                return self._helper("_scores", *codes, str(len(over)), str(late)), (*rest, n.TIME, n.SOURCE)
            case n.Gather(scores=scores, value=value, decay=decay, late=late):
                kept = tuple(a for a in node.axes if a != n.TIME and a not in scores.axes)
                rest = tuple(a for a in node.axes if a != n.TIME and a in scores.axes)
                given = (*((x, (*rest, n.TIME, *kept)) for x in (value, decay)),)
                codes = [self._cast(x, node, self.as_axes(x, axes)) for x, axes in given]
                whole = self._cast(scores, node, self.as_axes(scores, (*rest, n.TIME, n.SOURCE)))
                self.used.update(("_halves", "_filled", "_broadcast"))
                return self._helper("_gather", whole, *codes, str(len(kept)), str(late)), (*rest, n.TIME, *kept)
            case n.Geometric(coefficient=coefficient, base=base, over=over, first=first):
                rest = tuple(a for a in node.axes if a != n.TIME)
                c = self._cast(coefficient, node, self.as_axes(coefficient, (*rest, *over)))
                b = self._cast(base, node, self.as_axes(base, (*rest, *over)))
                self.used.add("_powers")
                return self._helper("_geometric", c, b, "steps", str(len(over)), str(first)), (*rest, n.TIME)
            case n.FftConv(kernel=kernel, arg=arg, over=over):
                rest = tuple(a for a in node.axes if a != n.TIME)
                parts = [self.as_axes(x, (*rest, *over, n.TIME)) for x in (kernel, arg)]
                # an FFT of integers would be made in single precision
                codes = [
                    method(c, "to(real)") if x.kind in ("int", "bool") else c
                    for c, x in zip(parts, (kernel, arg), strict=True)
                ]
                return self._helper("_fft_conv", *codes, str(len(over))), (*rest, n.TIME)
            case _:
                return self._print(node), node.axes

    def _map(self, node: n.Map) -> tuple[str, int]:
        op, args = node.op, node.args
        if all(is_number(a) for a in args) and not node.axes:
            return self._number_map(node)
        match op:
            case "neg":
                return f"-{self._operand(args[0], node, UNARY)}", UNARY
            case "not":
                return f"~{self._operand(args[0], node, UNARY)}", UNARY
            case "where":
                return self._where(node)
            case "min" | "max":
                parts = [self._tensor_operand(a, node) for a in args]
                return f"torch.{op}imum({parts[0]}, {parts[1]})", ATOM
            case "softplus":
                return f"F.softplus({self._operand(args[0], node, LOWEST)}, threshold=40)", ATOM
            case "sign" if args[0].kind != "complex":
                # the gradient of sgn is a tensor without memory, which numpy cannot read
                return f"torch.sign({self._tensor_operand(args[0], node)})", ATOM
            case "phi":
                return self._helper("_phi", self._tensor_operand(args[0], node), self.code(args[1]))
            case "real" | "imag":
                if args[0].kind == "complex":
                    return f"torch.{op}({self.code(args[0])})", ATOM
                return self._print(args[0]) if op == "real" else (f"torch.zeros_like({self.tensor(args[0])})", ATOM)
            case "cast_real" | "cast_complex" | "cast_int":
                return f"{self._postfix(args[0])}.to({dtype_of(node)})", POSTFIX
            case "add" if self.fuse:
                fused = self._addcmul(node)
                if fused is not None:
                    return fused
        if op in _INFIX:
            symbol, level = _INFIX[op]
            # ** is right-associative, the others left; comparisons do not chain
            left = level + 1 if op == "pow" or level == COMPARE else level
            right = level if op == "pow" else level + 1
            if level in (BITAND, BITOR):
                left = right = POSTFIX
            return f"{self._operand(args[0], node, left)} {symbol} {self._operand(args[1], node, right)}", level
        if op in _FUNCTION:
            # a number as the only tensor-less operand must be made one
            codes = [self._tensor_operand(a, node) for a in args]
            if _FUNCTION[op].startswith("_"):
                self.used.add(_FUNCTION[op])
            return f"{_FUNCTION[op]}({', '.join(codes)})", ATOM
        raise CompilerBug(f"the operator {op} has no PyTorch code")

    def _number_map(self, node: n.Map) -> tuple[str, int]:
        """A value made of constants and sizes, as a Python number."""
        op, args = node.op, node.args
        if not plain(node):
            value = folded(node)
            return _number(value) if value is not None else self._number_of_sizes(node)
        codes = [self._print(a) for a in args]
        if op in ("neg", "not"):
            return f"{'-' if op == 'neg' else 'not '}{self._wrap(codes[0], UNARY)}", UNARY if op == "neg" else LOWEST
        if op in ("and", "or"):
            return f"({self._wrap(codes[0], ATOM)} {op} {self._wrap(codes[1], ATOM)})", ATOM
        if op in _INFIX:
            symbol, level = _INFIX[op]
            return f"{self._wrap(codes[0], level + 1)} {symbol} {self._wrap(codes[1], level + 1)}", level
        if op in ("real", "imag", "conj"):
            return self._part(op, args[0])
        match op:
            case "min" | "max":
                return f"{op}({codes[0][0]}, {codes[1][0]})", ATOM
            case "mod":
                return f"{self._wrap(codes[0], POSTFIX)} % {self._wrap(codes[1], POSTFIX)}", PRODUCT
            case "where":
                return f"({codes[1][0]} if {codes[0][0]} else {codes[2][0]})", ATOM
            case "rsqrt":
                return f"1 / math.sqrt({codes[0][0]})", PRODUCT
            case _ if op.startswith("cast_"):
                to = {"cast_real": "float", "cast_complex": "complex", "cast_int": "int"}[op]
                return f"{to}({codes[0][0]})", ATOM
            case _:
                return f"{_NUMBER[op]}({codes[0][0]})", ATOM

    def _part(self, op: str, arg: Node) -> tuple[str, int]:
        """The real part, imaginary part or conjugate of a number."""
        if arg.kind != "complex":
            return ("0.0", ATOM) if op == "imag" else self._print(arg)
        code = self._wrap(self._print(arg), POSTFIX)
        return (f"{code}.conjugate()" if op == "conj" else f"{code}.{op}"), POSTFIX

    def _number_of_sizes(self, node: n.Map) -> tuple[str, int]:
        """A function of sizes that Python has not, or that it raises for."""
        names = {"div": "torch.div", "pow": "torch.pow", "softplus": "F.softplus"} | _FUNCTION
        if node.op == "phi":
            self.used.add("_phi")
            return self._helper("_number", f"lambda x: _phi(x, {self.code(node.args[1])})", self.code(node.args[0]))
        function = names[node.op]
        if not function.startswith(("torch", "F.")):
            self.used.add(function)
        return self._helper("_number", function, *(self.code(a) for a in node.args))

    def _where(self, node: n.Map) -> tuple[str, int]:
        c, x, y = node.args
        if is_number(c):
            c_code = f"torch.tensor({self.code(c)}, device=device)"
        else:
            c_code = self._aligned(c, node.axes)[0]
        x_code, y_code = self._operand(x, node, LOWEST), self._operand(y, node, LOWEST)
        if is_number(x) and is_number(y):
            x_code = f"torch.tensor({self.code(x)}, dtype={dtype_of(node)}, device=device)"
        return f"torch.where({c_code}, {x_code}, {y_code})", ATOM

    def _addcmul(self, node: n.Map) -> tuple[str, int] | None:
        """x * y + z in one operation, where all three are tensors of the result's kind."""
        for product, rest in (node.args, node.args[::-1]):
            if not (isinstance(product, n.Map) and product.op == "mul" and product.kind == node.kind):
                continue
            parts = (rest, *product.args)
            if all(p.kind == node.kind and not is_number(p) for p in parts):
                codes = [self._aligned(p, node.axes)[0] for p in parts]
                return f"torch.addcmul({', '.join(codes)})", ATOM
        return None

    # -- reductions --------------------------------------------------------------------------------------------

    def _reduce(self, node: n.Reduce) -> tuple[str, int]:
        arg, over = node.arg, node.over
        if node.op == "sum" and node.kind in ("real", "complex"):
            factors = n.factors(arg)
            if len([f for f in factors if f.axes]) > 1:
                return self._contraction(node, factors)
        dims = ", ".join(str(arg.axes.index(a)) for a in over)
        dims = dims if len(over) == 1 else f"({dims})"
        x = self._postfix(arg)
        match node.op:
            case "sum":
                return f"{x}.sum({dims})", POSTFIX
            case "max" | "min":
                return f"{x}.a{node.op}({dims})", POSTFIX
            case "logsumexp":
                return self._helper("_logsumexp", self._cast(arg, node, self.code(arg)), dims)
            case "any" | "all" | "prod":
                for d in sorted((arg.axes.index(a) for a in over), reverse=True):
                    x = f"{x}.{node.op}({d})"
                return x, POSTFIX
            case _:
                raise CompilerBug(f"the reduction {node.op} has no PyTorch code")

    def _contraction(self, node: n.Reduce, factors: list[Node]) -> tuple[str, int]:
        scalars = [f for f in factors if not f.axes]
        tensors = [f for f in factors if f.axes]
        code = self._delayed(node, tensors) or self._linear(node, tensors) or self._einsum(node, tensors)
        if scalars:
            rest = " * ".join(self._wrap(self._print(s), PRODUCT + 1) for s in scalars)
            return f"{rest} * {self._wrap(code, PRODUCT + 1)}", PRODUCT
        return code

    def _delayed(self, node: n.Reduce, factors: list[Node]) -> tuple[str, int] | None:
        """A sum over a window of the past: step by step, without the windows of all steps side by side."""
        for given, weight in (factors, factors[::-1]) if len(factors) == 2 else ():
            # of a line that runs from the last step to the first: turned round, and the weights with it
            turned = isinstance(given, n.Flip) and n.TIME not in weight.axes
            frames = given.arg if isinstance(given, n.Flip) and turned else given
            if isinstance(frames, n.Frames) and node.over == (frames.axis,) and n.TIME in frames.arg.axes:
                if frames.axis not in weight.axes or not set(weight.axes) <= set(frames.axes):
                    continue
                rest = tuple(a for a in frames.axes if a not in (n.BATCH, n.TIME, frames.axis))
                lined = (n.BATCH, n.TIME, *rest)
                x, halo = self._full(frames.arg, lined), self._halo(frames.halo, (n.BATCH, n.LAG, *rest))
                w = self._cast(weight, node, self.as_axes(weight, (*lined, frames.axis)))
                code, level = self._helper("_delayed", w, x, halo, str(frames.skip), str(frames.oldest_first))
                return self._reordered((f"{code}.flip(1)", POSTFIX) if turned else (code, level), lined, node.axes)
        return None

    def _linear(self, node: n.Reduce, factors: list[Node]) -> tuple[str, int] | None:
        """A matrix times the last axis of a batch."""
        for matrix, x in (factors, factors[::-1]) if len(factors) == 2 else ():
            if len(matrix.axes) != 2 or len(node.over) != 1 or matrix.kind != node.kind or x.kind != node.kind:
                continue
            (summed,) = node.over
            if summed not in matrix.axes:
                continue
            (kept,) = (a for a in matrix.axes if a != summed)
            if x.axes[-1] != summed or kept in x.axes or node.axes != (*x.axes[:-1], kept):
                continue
            if matrix.axes == (kept, summed):
                return f"F.linear({self.code(x)}, {self.code(matrix)})", ATOM
            return f"{self._wrap(self._print(x), PRODUCT)} @ {self._wrap(self._print(matrix), POSTFIX)}", PRODUCT
        return None

    def _einsum(self, node: n.Reduce, factors: list[Node]) -> tuple[str, int]:
        operands = [(self._cast_print(f, node), f.axes) for f in factors]
        while len(operands) > 2:
            i, j = _cheapest_pair([axes for _, axes in operands], node.axes)
            (x, small), (y, large) = sorted((operands[j], operands[i]), key=lambda o: len(o[1]))
            rest = [o for at, o in enumerate(operands) if at not in (i, j)]
            needed = {*node.axes, *(a for _, axes in rest for a in axes)}
            if not set(small) <= set(large) <= needed:
                # a product of two that einsum does better: it takes the first two, then one after the other
                operands = [operands[i], operands[j], *rest]
                break
            # elementwise, and no larger than one of them
            factor = self._wrap(self._placed(x, small, large), PRODUCT + 1)
            operands = [((f"{self._wrap(y, PRODUCT)} * {factor}", PRODUCT), large), *rest]
        if len(operands) == 2:
            (y, small), (x, large) = sorted(operands, key=lambda o: len(o[1]))
            shared = {a for a in small if a in node.axes}
            if set(small) <= set(large) and not shared <= set(large[: len(shared)]):
                # as products of matrices there would be one for each place along an inner axis
                product = f"({self._wrap(x, PRODUCT)} * {self._wrap(self._placed(y, small, large), PRODUCT + 1)})"
                dims = ", ".join(str(large.index(a)) for a in node.over)
                code = f"{product}.sum({dims})" if len(node.over) == 1 else f"{product}.sum(({dims}))"
                return self._reordered((code, POSTFIX), tuple(a for a in large if a not in node.over), node.axes)
        letters = _letters([a for _, axes in operands for a in axes])
        # an axis to be summed that no factor has cannot be: reduce checked it
        pattern = ",".join("".join(letters[a] for a in axes) for _, axes in operands)
        result = "".join(letters[a] for a in node.axes)
        # a summed axis that only one factor has and that is summed alone is summed by einsum too
        return f'torch.einsum("{pattern}->{result}", {", ".join(code for (code, _), _ in operands)})', ATOM

    # -- delays ------------------------------------------------------------------------------------------------

    def _frames(self, node: n.Frames) -> tuple[tuple[str, int], Axes]:
        rest = tuple(a for a in node.axes if a not in (n.BATCH, n.TIME, node.axis))
        timed = n.TIME in node.arg.axes
        lead = (n.BATCH, n.TIME) if timed else (n.BATCH,)
        x = self._full(node.arg, (*lead, *rest))
        x = x if timed else method(x, "unsqueeze(1)")
        size = self.names["size", n.base_axis(node.axis)]
        halo = self._halo(node.halo, (n.BATCH, n.LAG, *rest))
        code, _ = self._helper("_frames", x, halo, size, str(node.skip), str(node.oldest_first))
        if not timed:
            code = f"{code}.squeeze(1)"
        return (code, POSTFIX), (*lead, *rest, node.axis)

    def _halo(self, halo: Node, axes: Axes) -> str:
        """A delay line with axis `lag` second; a plain state is a line of one step."""
        rest = tuple(a for a in axes if a not in (n.BATCH, n.TIME, n.LAG))
        if n.LAG not in halo.axes:
            step = (n.BATCH, *rest)
            whole = set(step) <= set(halo.axes)
            return f"{self._wrap(self._aligned(halo, step), POSTFIX) if whole else self._full(halo, step)}.unsqueeze(1)"
        return self._full(halo, (n.BATCH, n.LAG, *rest))

    # -- pieces ------------------------------------------------------------------------------------------------

    def _full(self, node: Node, axes: Axes) -> str:
        sizes = {a: self.names["size", n.base_axis(a)] for a in axes if ("size", n.base_axis(a)) in self.names}
        return self.as_axes(node, axes, sizes)

    def _helper(self, name: str, *args: str) -> tuple[str, int]:
        self.used.add(name)
        return f"{name}({', '.join(args)})", ATOM

    def _postfix(self, node: Node) -> str:
        if is_number(node):
            return self.tensor(node)
        return self._wrap(self._print(node), POSTFIX)

    def _wrap(self, printed: tuple[str, int], level: int) -> str:
        code, own = printed
        return code if own >= level else f"({code})"

    def _cast(self, node: Node, to: Node, code: str) -> str:
        """Code of an operand as a tensor in the kind of `to`."""
        if is_number(node):
            return f"torch.tensor({code}, dtype={dtype_of(to)}, device=device)"
        if node.kind == to.kind:
            return code
        return method(code, f"to({dtype_of(to)})")

    def _cast_print(self, node: Node, to: Node) -> tuple[str, int]:
        """The same with its precedence."""
        if node.kind == to.kind and not is_number(node):
            return self._print(node)
        return self._cast(node, to, self.code(node)), POSTFIX

    def _operand(self, node: Node, result: Node, level: int) -> str:
        """An elementwise operand, aligned; integers join floating point in the result's own precision, bools count."""
        aligned = self._aligned(node, result.axes)
        narrower = {"int": ("bool",), "real": ("int", "bool"), "complex": ("int", "bool")}.get(result.kind, ())
        if node.kind in narrower and not is_number(node):
            return f"{self._wrap(aligned, POSTFIX)}.to({dtype_of(result)})"
        return self._wrap(aligned, level)

    def _tensor_operand(self, node: Node, result: Node) -> str:
        if is_number(node):
            return f"torch.tensor({self.code(node)}, dtype={dtype_of(result)}, device=device)"
        return self._operand(node, result, LOWEST)

    def _aligned(self, node: Node, axes: Axes) -> tuple[str, int]:
        """Code whose dimensions broadcast against `axes`: permuted and with None where one is missing."""
        if not node.axes or node.axes == axes:
            return self._print(node)
        if not set(node.axes) <= set(axes):
            raise CompilerBug(f"a value over {node.axes} does not fit {axes}")
        return self._placed(*self._as_made(node), axes)

    def _placed(self, printed: tuple[str, int], have: Axes, axes: Axes) -> tuple[str, int]:
        """Code of dimensions `have` as code that broadcasts against `axes`, which has them all."""
        order = tuple(a for a in axes if a in have)
        if not order:
            return printed
        printed = self._reordered(printed, have, order)
        first = axes.index(order[0])
        spots = [":" if a in order else "None" for a in axes[first:]]
        if "None" not in spots:
            return printed
        # full slices before the first None are what `...` says
        cut = spots.index("None")
        spots = ["...", *spots[cut:]] if cut else spots
        return f"{self._wrap(printed, POSTFIX)}[{', '.join(spots)}]", POSTFIX

    def _reordered(self, printed: tuple[str, int], have: Axes, want: Axes) -> tuple[str, int]:
        if have == want:
            return printed
        dims = [have.index(a) for a in want]
        moved = [i for i, d in enumerate(dims) if i != d]
        code = self._wrap(printed, POSTFIX)
        if len(moved) == 2:
            return f"{code}.transpose({moved[0]}, {moved[1]})", POSTFIX
        return f"{code}.permute({', '.join(map(str, dims))})", POSTFIX


def method(code: str, call: str) -> str:
    """A method of what `code` gives, in parentheses where it is more than a name, a call or an element."""
    plain = isinstance(ast.parse(code, mode="eval").body, ast.Name | ast.Call | ast.Attribute | ast.Subscript)
    return f"{code}.{call}" if plain else f"({code}).{call}"


DTYPES = {"real": "real", "complex": "cplx", "int": "torch.int64", "bool": "torch.bool"}


def dtype_of(node: Node) -> str:
    return DTYPES[node.kind]


def _cheapest_pair(factors: list[Axes], result: Axes) -> tuple[int, int]:
    """The two to multiply first: what is left of their product, once axes that no other needs are summed, has the
    fewest axes; where several do, those of which one has all axes; then as written."""

    def cost(pair: tuple[int, int]) -> tuple[int, bool, tuple[int, int]]:
        x, y = (set(factors[i]) for i in pair)
        needed = {*result, *(a for at, axes in enumerate(factors) if at not in pair for a in axes)}
        return len((x | y) & needed), not (x <= y or y <= x), pair

    return min(((i, j) for j in range(len(factors)) for i in range(j)), key=cost)


def _letters(axes: list[str]) -> dict[str, str]:
    """A letter an axis, its own initial where that is free."""
    letters: dict[str, str] = {}
    free = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    for axis in dict.fromkeys(axes):
        wish = axis.lstrip("@")[0].lower()
        wish = wish if wish.isascii() and wish.isalpha() else "x"
        letter = wish if wish in free else free[-1] if wish.upper() not in free else wish.upper()
        free.remove(letter)
        letters[axis] = letter
    return letters


def _number(value: bool | int | float | complex) -> tuple[str, int]:
    if isinstance(value, complex):
        return f"complex({_number(value.real)[0]}, {_number(value.imag)[0]})", ATOM
    if isinstance(value, float) and not math.isfinite(value):
        text = "math.nan" if math.isnan(value) else "math.inf"
        return (f"-{text}", UNARY) if value < 0 else (text, ATOM)
    return repr(value), (UNARY if not isinstance(value, bool) and value < 0 else ATOM)
