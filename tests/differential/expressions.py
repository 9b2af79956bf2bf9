"""Random real expressions over given axes, of order one for inputs of order one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.differential.generate import Builder, Value

SMOOTH = ("tanh", "sigmoid", "sin", "cos", "silu", "softplus", "gelu", "elu", "erf", "logsigmoid")
KINKED = ("relu", "abs")


def expression(b: Builder, axes: Sequence[str], depth: int = 2) -> Value:
    """A real expression whose axes are among `axes`."""
    with b.choices.span():
        if depth == 0 or not b.choices.chance(75):
            return b.leaf(axes)
        form = b.choices.one_of(*FORMS)
        return form(b, tuple(axes), depth - 1)


def compound(b: Builder, text: str, *parts: Value) -> Value:
    return Value(text, b.order(*(a for p in parts for a in p.axes)), atom=False)


def decay(b: Builder, axes: Sequence[str], logarithm: bool = False) -> Value:
    """A factor between 0 and 1, in one of the ways people write it; perhaps separable over the axes.

    With `logarithm`, in a way from whose form it is clear that it is positive.
    """
    form = b.choices.one_of("sigmoid", "softplus", "log", "mamba", "constant", "step", "raw", "separable", "gate")
    if logarithm and form in ("raw", "separable", "gate", "step"):
        form = "softplus"
    if form == "separable" and len(axes) < 2:
        form = "softplus"
    match form:
        case "sigmoid":
            x = expression(b, axes, 1)
            return Value(f"sigmoid({x.text})", x.axes)
        case "softplus":
            x = expression(b, axes, 1)
            return Value(f"exp(-softplus({x.text}))", x.axes)
        case "raw":
            return b.port(b.subset(axes), "decay")
        case "log":
            g = b.port(b.subset(axes), "log_decay")
            return Value(f"exp({g})", g.axes)
        case "gate":
            return b.port(b.subset(axes), "bits", role="input")
        case "constant":
            return Value(b.choices.one_of("0.9", "0.5"))
        case "step":
            return Value("(1 - 1 / (t + 1))")
        case "mamba":
            dt, rate = b.leaf(axes), b.port(b.subset(axes), role="param")
            return Value(f"exp(-softplus({dt.text}) * exp({rate.text}))", b.order(*dt.axes, *rate.axes))
        case _:
            half = len(axes) // 2
            one, other = decay(b, axes[:half]), decay(b, axes[half:])
            return compound(b, f"{one} * {other}", one, other)


# -- forms ---------------------------------------------------------------------------------------------------------


def _unary(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    f = b.choices.one_of(*SMOOTH, *KINKED)
    x = expression(b, axes, depth)
    return Value(f"{f}({x.text})", x.axes)


def _sum(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    x, y = expression(b, axes, depth), expression(b, axes, depth)
    return compound(b, f"{x} {b.choices.one_of('+', '-')} {y}", x, y)


def _product(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    x, y = expression(b, axes, depth), b.leaf(axes)
    return compound(b, f"{x} * tanh({y.text})", x, y)


def _quotient(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    x, y = expression(b, axes, depth), b.leaf(axes)
    return compound(b, f"{x} / (1 + {y}**2)", x, y)


def _extremum(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    x, y = expression(b, axes, depth), b.leaf(axes)
    f = b.choices.one_of("min", "max", "logaddexp")
    return Value(f"{f}({x.text}, {y.text} + 0.01)", b.order(*x.axes, *y.axes))


def _choice(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    x, y = expression(b, axes, depth), b.leaf(axes)
    c = condition(b, axes)
    return Value(f"where({c.text}, {x.text}, {y.text})", b.order(*c.axes, *x.axes, *y.axes))


def condition(b: Builder, axes: Sequence[str]) -> Value:
    """A truth value."""
    match b.choices.one_of("input", "block", "compare", "both"):
        case "input":
            return b.port(b.subset(axes), "bool")
        case "block":
            return Value("mod(t - 1, 3) == 0", (), "bool", atom=False)
        case "compare":
            x = b.leaf(axes)
            return Value(f"{x} {b.choices.one_of('>', '<=')} 0.25", x.axes, "bool", atom=False)
        case _:
            x, y = b.port(b.subset(axes), "bool"), b.leaf(axes)
            return Value(f"{x} {b.choices.one_of('and', 'or')} not ({y} < 0)", b.order(*x.axes, *y.axes), "bool", False)


def _contraction(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    return contraction(b, expression(b, axes, depth), axes)


def contraction(b: Builder, x: Value, axes: Sequence[str]) -> Value:
    """A sum of `x` times something, over an axis that is not among `axes`, or over one more that x has."""
    within = [a for a in b.axes if a in x.axes or a not in axes]
    if not within:
        return x
    over = b.choices.one_of(*within)
    y = b.port(b.order(over, *b.subset([a for a in axes if a != over])))
    if over not in x.axes:  # a contraction of two fresh values then
        x = b.port(b.order(over, *x.axes))
    rest = b.order(*(a for a in (*x.axes, *y.axes) if a != over))
    shared = [a for a in x.axes if a in y.axes and a not in b.each]
    if over in shared and len(shared) == 1 and b.choices.chance(70):
        if b.choices.chance(20):
            return Value(f"0.5 * dot({x.text}, {y.text})", rest, atom=False)
        return Value(f"0.5 * ({y} {b.choices.one_of('·', '⋅')} {x})", rest, atom=False)
    return Value(f"sum[{over}](0.5 * {x} * {y})", rest)


def _matrix(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    if not axes:
        return expression(b, axes, depth)
    axis = b.choices.one_of(*axes)
    x = expression(b, axes, depth)
    if axis not in x.axes:
        x = b.port(b.order(axis, *x.axes))
    lead = b.subset([a for a in axes if a != axis]) if b.choices.chance(30) else ()
    A = b.square(axis, lead)
    match b.choices.one_of("left", "right", "transpose", "scaled"):
        case "left":
            text = f"{A} @ {x}"
        case "right":
            text = f"{x} @ {A}"
        case "transpose":
            text = f"transpose({A}) @ {x}"
        case _:
            text = f"(0.9 * {A}) @ {x}"
    return Value(text, b.order(*A.axes, *x.axes), atom=False)


def _reduction(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    inner = b.subset(b.axes, 1)
    if not inner:
        return expression(b, axes, depth)
    over = b.choices.one_of(*inner)
    x = b.leaf(b.order(over, *axes))
    if over not in x.axes:
        x = b.port(b.order(over, *x.axes))
    rest = tuple(a for a in x.axes if a != over)
    if not set(rest) <= set(axes):
        return b.leaf(axes)
    f = b.choices.one_of("sum", "mean", "max", "min", "logsumexp", "norm", "softmax", "cumsum", "pick", "shift", "prod")
    keeps = set(x.axes) <= set(axes)
    if f in ("softmax", "cumsum", "shift") and not keeps:
        f = "sum"
    match f:
        case "norm":
            return Value(f"norm[{over}]({x.text} + 3)", rest)
        case "prod":
            return Value(f"prod[{over}](tanh({x.text}) + 0.5)", rest)
        case "pick":
            return Value(f"{x}[{over} = {b.choices.one_of(0, -1)}]", rest)
        case "softmax" | "cumsum" | "shift":
            text = f"{f}[{over}]({x.text})"
            return Value(text if f == "softmax" else f"tanh({text})", x.axes)
        case _:
            return Value(f"{f}[{over}]({x.text})", rest)


def _macro(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    f = b.fresh("f")
    x = expression(b, axes, depth)
    if x.axes and b.choices.chance(40):
        over = b.choices.one_of(*x.axes)
        b.macros.append(f"{f}[J](s) = s * rsqrt(sum[J](s*s) + 1)")
        return Value(f"{f}[{over}]({x.text})", x.axes)
    y = b.leaf(axes)
    b.macros.append(f"{f}(s, r) = {b.choices.one_of('s + 0.5*r', 'tanh(s) * r', 's - sin(r)*s')}")
    return Value(f"{f}({x.text}, {y.text})", b.order(*x.axes, *y.axes))


def _delayed(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    x = expression(b, axes, depth)
    match b.choices.one_of("prev", "prev k", "prev init", "next", "filter", "next"):
        case "prev":
            return Value(f"prev({x.text})", x.axes)
        case "prev k":
            return Value(f"prev({x.text}, {b.choices.one_of(2, 3)})", x.axes)
        case "prev init":
            p = b.port(b.subset(x.axes), role="param")
            k = b.choices.between(1, 3)
            return Value(
                f"prev({b.choices.one_of('1.5 * ', '')}{x}, {k}, {b.choices.one_of('0.5', p.text, f'1 - tanh({p})')})",
                x.axes,
            )
        case "next":
            # only of what no state takes part in, so that no circle results
            fresh = b.port(b.subset(axes), role="input")
            b.anticausal = True
            return Value(f"next({fresh}, {b.choices.one_of(1, 2)}, 0.5)", fresh.axes)
        case _:
            name = b.fresh("z")
            b.lines.append(f"{name} = {x} + 0.5 * prev({name})")
            named = Value(name, x.axes)
            b.values.append(named)
            return named


def taps(b: Builder, axes: Sequence[str]) -> tuple[str, str]:
    """A param of taps along an axis of its own, which is given too."""
    axis = b.fresh("W")
    b.extra_axes[axis] = str(b.choices.one_of(2, 1, 3, 4))
    b.sizes[axis] = int(b.extra_axes[axis])
    name = b.fresh("p")
    b.add_port("param", name, (*axes, axis), "small")
    return name, axis


def _filter(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    x = expression(b, axes, depth)
    w, axis = taps(b, b.subset(x.axes))
    if b.choices.chance(50):
        return Value(f"conv({x.text}, {w})", x.axes)
    zeros = b.fresh("p")
    b.add_port("param", zeros, (axis,), "normal")
    return Value(f"transfer({zeros}, {w}, {x.text})", x.axes)


def window(b: Builder, growing: bool) -> str:
    """A new axis for the past: the last few steps, or all."""
    span = b.fresh("T")
    b.extra_axes[span] = ""
    if not growing:
        b.extra_axes[span] = str(b.choices.one_of(2, 1, 3, 5))
        b.sizes[span] = int(b.extra_axes[span])
    return span


def _attention(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    span = window(b, growing=not b.choices.chance(60))
    x, y = expression(b, axes, depth), b.leaf(axes)
    match b.choices.one_of("softmax", "sum", "max", "mean"):
        case "softmax":
            text = f"sum[{span}](softmax[{span}](tanh({y.text}) * past[{span}]({x.text})) * past[{span}]({y.text}))"
        case "sum":
            text = f"tanh(sum[{span}](past[{span}]({x.text})) * {y})"
        case "max":
            text = f"max[{span}](past[{span}]({x.text} + 0.1 * {y}))"
        case _:
            text = f"mean[{span}](past[{span}]({x.text}) + {y})"
    return Value(text, b.order(*x.axes, *y.axes))


def _indexed(b: Builder, axes: tuple[str, ...], depth: int) -> Value:
    x = expression(b, axes, depth)
    if axes and b.choices.chance(60):
        a = b.choices.one_of(*axes)
        return Value(f"{x} + index[{a}] / size[{a}]", b.order(a, *x.axes), atom=False)
    return Value(f"{x} * {b.choices.one_of('sin(t)', '(1 / t)', 'min(t, 4)')}", x.axes, atom=False)


FORMS: tuple[Callable[[Builder, tuple[str, ...], int], Value], ...] = (
    _sum, _product, _unary, _unary, _product, _quotient, _extremum, _choice, _contraction, _contraction, _matrix,
    _reduction, _macro, _delayed, _filter, _attention, _indexed,
)  # fmt: skip
