"""One function for each kind of component: it declares states, assigns them and exposes what may be read of them.

Each kind is one structure that the analysis tells apart, written in one of several ways; `axes` are those of the state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.differential.expressions import condition, decay, expression
from tests.differential.generate import Builder, Value


def drive(b: Builder, axes: Sequence[str], depth: int = 1) -> Value:
    """What is written into a state: an expression, or an outer product over two groups of axes."""
    if len(axes) >= 2 and b.choices.chance(40):
        half = b.choices.between(1, len(axes) - 1)
        k, v = b.port(tuple(axes[:half])), b.leaf(axes[half:])
        sign = "⊗" if not set(k.axes) & set(v.axes) and b.choices.chance(50) else "*"
        return Value(f"{k} {sign} {v}", b.order(*k.axes, *v.axes), atom=False)
    return expression(b, axes, depth)


def before_or_after(b: Builder, state: Value, update: str) -> None:
    """Assigns the state; it is read before that, after it, or both."""
    if b.choices.chance(35):
        b.expose(b.let(Value(f"tanh({state})", state.axes), "r", share=False))
    b.assign(state, update)
    b.expose(state)


def guarded(b: Builder, update: str, axes: Sequence[str], kind: str = "real") -> str:
    """The update, perhaps under a reset to another value."""
    if not b.choices.chance(25):
        return update
    c = condition(b, axes)
    to = {"real": lambda: b.leaf(axes).text, "bool": lambda: "false", "int": lambda: "0"}.get(kind, lambda: "0")()
    return f"where({c.text}, {to}, {update})"


def affine(b: Builder, axes: list[str]) -> None:
    h = b.state(axes, reverse=b.choices.chance(10))
    a, x = decay(b, axes), drive(b, axes)
    match b.choices.one_of("plain", "named", "gated", "write last"):
        case "plain":
            text = f"{a} * {h} + {x}"
        case "named":
            d = b.let(Value(f"{a} * {h}", h.axes), "d", share=False)
            text = f"{d} + {x}"
        case "gated":
            text = f"{a} * {h} + (1 - {a}) * {x}"
        case _:
            text = f"{x} - 0.5 * {x} + {h} * {a}"
    before_or_after(b, h, guarded(b, text, axes))


def delta_rule(b: Builder, axes: list[str]) -> None:
    if not axes:
        affine(b, axes)
        return
    key = b.choices.one_of(*axes)
    h = b.state(axes)
    lead = b.subset([a for a in axes if a != key])
    raw = b.port((key, *lead))
    k = b.let(Value(f"{raw} * rsqrt(sum[{key}]({raw}*{raw}) + 0.1)", raw.axes), "k", share=False)
    beta = Value(f"sigmoid({b.leaf([a for a in axes if a != key]).text})")
    v = expression(b, [a for a in axes if a != key], 1)
    s = h
    if b.choices.chance(60):
        s = b.let(Value(f"{decay(b, axes)} * {h}", h.axes), "d", share=False)
    shared = [a for a in k.axes if a not in b.each]
    read = f"({k} · {s})" if shared == [key] else f"sum[{key}]({k} * {s})"
    before_or_after(b, h, guarded(b, f"{s} - {beta} * {k} * {read} + {beta} * {k} * {v}", axes))


def dense(b: Builder, axes: list[str]) -> None:
    if not axes:
        affine(b, axes)
        return
    axis = b.choices.one_of(*axes)
    h = b.state(axes)
    A = b.square(axis, b.subset([a for a in axes if a != axis]) if b.choices.chance(30) else ())
    x = drive(b, axes)
    text = b.choices.one_of(
        f"{A} @ {h} + {x}", f"{h} @ {A} + {x}", f"0.15 * {h} + {A} @ {h} + {x}", f"tanh({A} @ {h} + {x})"
    )
    before_or_after(b, h, guarded(b, text, axes))


def tropical(b: Builder, axes: list[str]) -> None:
    h = b.state(axes)
    x, g = drive(b, axes), expression(b, axes, 1)
    text = b.choices.one_of(
        f"max({h} - softplus({g.text}), {x.text})",
        f"min({h} + softplus({g.text}), {x.text})",
        f"max({h} + tanh({g.text}) * 0.3, {x.text})",
        f"max(sigmoid({g.text}) * {h}, softplus({x.text}))",
    )
    before_or_after(b, h, guarded(b, text, axes))


def log_space(b: Builder, axes: list[str]) -> None:
    h = b.state(axes)
    x, g = drive(b, axes), expression(b, axes, 1)
    before_or_after(b, h, guarded(b, f"logaddexp({h} + logsigmoid({g.text}), {x.text})", axes))


def boolean(b: Builder, axes: list[str]) -> None:
    h = b.state(axes, "bool", init=b.choices.one_of("", " = true"))
    c, d = b.port(b.subset(axes), "bool"), condition(b, axes)
    text = b.choices.one_of(f"{c} or ({h} and {d})", f"({h} or {c}) and {d}", f"{h} or {c}")
    b.assign(h, text)
    b.pending.append(h)
    x = b.leaf(axes)
    b.expose(b.let(Value(f"where({h}, {x.text}, 0.5)", b.order(*h.axes, *x.axes)), "r", share=False))


def clamped(b: Builder, axes: list[str]) -> None:
    h = b.state(axes, init=b.choices.one_of("", " = 0.25"))
    x = drive(b, axes)
    lo, hi = b.choices.one_of(("-1", "1"), ("-0.5", "2.0"))
    text = b.choices.one_of(f"clamp({h} + {x}, {lo}, {hi})", f"min(max({h} + {x}, {lo}), {hi})")
    before_or_after(b, h, guarded(b, text, axes))


def fractional(b: Builder, axes: list[str]) -> None:
    h = b.state(axes, init=" = 1")
    p, q = b.port(b.subset(axes), "positive"), b.port(b.subset(axes), "positive")
    text = b.choices.one_of(
        f"({h} + {p}) / (0.5*{h} + 1 + {q})", f"1 / ({q} + {h}) + {p}", f"{h} / (1 + {p} * {h}) + {q}"
    )
    before_or_after(b, h, text)


def nonlinear(b: Builder, axes: list[str]) -> None:
    h = b.state(axes)
    w, x = b.port(b.subset(axes), "small"), drive(b, axes)
    r = b.leaf(axes)
    text = b.choices.one_of(
        f"tanh({w} * {h} + {x})",
        f"0.5 * sin({h}) + {x}",
        f"sigmoid({r.text}) * {h} + (1 - sigmoid({r.text})) * tanh(sigmoid({x.text}) * {h} + {w})",
    )
    before_or_after(b, h, guarded(b, text, axes))


def coupled(b: Builder, axes: list[str]) -> None:
    p, q = b.state(axes), b.state(axes)
    x, w = drive(b, axes), b.port(b.subset(axes), "small")
    b.assign(p, f"0.6 * {p} - 0.5 * {q} + {x}")
    b.expose(p)
    b.assign(
        q, b.choices.one_of(f"0.4 * {q} + 0.3 * {p}", f"0.4 * {q} + 0.3 * prev({p})", f"{w} * {q} + 0.2 * tanh({p})")
    )
    b.expose(q)


def stabilised(b: Builder, axes: list[str]) -> None:
    head = list(b.subset(axes))
    m, num, den = b.state(head, init=""), b.state(axes, init=""), b.state(head, init="")
    f, i = expression(b, head, 1), expression(b, head, 1)
    v = drive(b, axes)
    f = b.let(Value(f"logsigmoid({f.text})", f.axes), "f", share=False)
    i = b.let(i, "i", share=False)
    b.assign(m, f"max({f} + {m}, {i})")
    b.assign(num, f"exp({f} + prev({m}) - {m}) * {num} + exp({i} - {m}) * {v}")
    b.assign(den, f"exp({f} + prev({m}) - {m}) * {den} + exp({i} - {m})")
    b.expose(b.let(Value(f"{num} / max(abs({den}), exp(-{m}))", b.order(*axes)), "r", share=False))


def continuous(b: Builder, axes: list[str]) -> None:
    h = b.state(axes)
    x, step = drive(b, axes), Value(f"softplus({b.leaf([]).text})")
    method = b.choices.one_of("euler", "bilinear", "zoh", "backward_euler", "gbt(alpha = 0.25, step = S)")
    options = (
        method.replace("S", "0.5") if "(" in method else f"{method}(step = {'0.5' if method == 'euler' else step.text})"
    )
    if axes and b.choices.chance(40):
        axis = b.choices.one_of(*axes)
        A = b.square(axis, role="param")
        right = f"{A} @ {h} - {h} + {x}"
    else:
        rate = b.port(b.subset(axes), role="param")
        right = f"-softplus({rate.text}) * {h} + {x}"
    b.lines.append(f"{h}' = {right} using {options}")
    b.expose(h)


def oscillator(b: Builder, axes: list[str]) -> None:
    h = b.state(axes, "complex", init=b.choices.one_of("", " = 1j"))
    a, w, x = decay(b, axes), b.port(b.subset(axes)), drive(b, axes)
    if b.choices.chance(30):
        z = b.port(b.subset(axes), "complex")
        x = Value(f"{x} * {z}", b.order(*x.axes, *z.axes), "complex", atom=False)
    b.assign(h, b.choices.one_of(f"{a} * exp(1j * {w}) * {h} + {x}", f"{a} * {h} * (0.6 + 0.5j) + {x}"))
    b.pending.append(h)
    part = b.choices.one_of("real({})", "imag({})", "real({} * conj({}))", "real((1 - 2j) * {})").replace("{}", h.text)
    b.expose(b.let(Value(part, h.axes), "r", share=False))


def counter(b: Builder, axes: list[str]) -> None:
    axes = list(b.subset(axes))
    h = b.state(axes, "int", init=b.choices.one_of("", " = 2"))
    k = b.port(b.subset(axes), "int")
    c = condition(b, axes)
    b.assign(h, b.choices.one_of(f"{h} + 1", f"where({c.text}, 0, {h} + 1)", f"mod({h} + {k}, 7)", f"max({h}, {k})"))
    b.pending.append(h)
    x = b.leaf(axes)
    b.expose(b.let(Value(f"{x} / (1 + {h})", b.order(*x.axes, *h.axes)), "r", share=False))


def delayed(b: Builder, axes: list[str]) -> None:
    h = b.state(axes)
    x = drive(b, axes)
    k = b.choices.one_of(2, 3)
    text = b.choices.one_of(
        f"0.5 * {h} + 0.3 * prev({h}, {k}) + {x}", f"tanh(0.5 * prev({h}, {k}) + {x})", f"0.4 * prev({h}, {k}) + {x}"
    )
    before_or_after(b, h, text)


def shifted(b: Builder, axes: list[str]) -> None:
    if not axes:
        affine(b, axes)
        return
    axis = b.choices.one_of(*axes)
    h, x, a = b.state(axes), drive(b, axes), decay(b, axes)
    before_or_after(b, h, guarded(b, f"{a} * {h} + 0.3 * shift[{axis}]({h}) + {x}", axes))


def covariance(b: Builder, axes: list[str]) -> None:
    if not axes:
        affine(b, axes)
        return
    axis = axes[0]
    twin = b.fresh("E")
    b.extra_axes[twin] = axis
    b.sizes[twin] = b.sizes[axis]
    h = b.state([*axes, twin])
    x = b.port((axis,), role="input")
    before_or_after(b, h, f"{decay(b, axes)} * {h} + {x} * {x}[{axis} -> {twin}]")


def mixing(b: Builder, axes: list[str]) -> None:
    """Every element of the state sees the sum over an axis: identity plus rank one, or a permutation of it."""
    if not axes:
        affine(b, axes)
        return
    axis = b.choices.one_of(*axes)
    h, x = b.state(axes), drive(b, axes)
    text = b.choices.one_of(
        f"0.5 * {h} + 0.4 * mean[{axis}]({h}) + {x}",
        f"0.7 * {h}[{axis} = 0] + {x}",
        f"tanh(softmax[{axis}]({h}) + {x})",
        f"max(max[{axis}]({h}) - 1, {x.text})",
        f"0.5 * cumsum[{axis}]({h}) / size[{axis}] + {x}",
    )
    before_or_after(b, h, text)


def summed(b: Builder, axis: str, x: Value, y: Value) -> Value:
    """The sum over `axis` of x * y, as a contraction where that is what `·` means."""
    rest = b.order(*(a for a in (*x.axes, *y.axes) if a != axis))
    shared = [a for a in x.axes if a in y.axes and a not in b.each]
    if shared == [axis] and b.choices.chance(60):
        return Value(f"{x} · {y}", rest, atom=False)
    return Value(f"sum[{axis}]({x} * {y})", rest)


def memory(b: Builder, axes: list[str]) -> None:
    """A matrix that is written with outer products and read with vectors only: what linear attention carries."""
    axes = b.axes if len(axes) < 2 else axes
    if len(axes) < 2:
        affine(b, axes)
        return
    key, value, *lead = reversed(axes) if b.choices.chance(40) else axes
    h = b.state(axes)
    k, q, v = (b.port(b.order(a, *b.subset(lead)), role="input") for a in (key, key, value))
    gates = b.choices.one_of([*lead], [key, *lead], [value, *lead], [key, value])
    a = decay(b, b.order(*gates))
    before = b.choices.one_of("after", "before", "bonus", "both")
    if before in ("before", "both"):
        read = summed(b, key, q, h)
        b.expose(b.let(read, "r", share=False))
    if before == "bonus":
        w = b.port(b.order(*b.subset([key, *lead])), role="param")
        inner = Value(f"{h} + {w} * {k} * {v}", b.order(*h.axes, *w.axes), atom=False)
        b.expose(b.let(summed(b, key, q, inner), "r", share=False))
    kept = h
    if b.choices.chance(80):
        kept = b.let(Value(f"{a} * {h}", h.axes), "d", share=False)
    if b.choices.chance(40):
        raw = k
        k = b.let(Value(f"{raw} * rsqrt(sum[{key}]({raw} * {raw}) + 0.1)", raw.axes), "k", share=False)
        beta = Value(f"sigmoid({b.leaf([*lead]).text})", ())
        erased = Value(summed(b, key, k, kept).text, atom=False)
        b.assign(h, f"{kept} - {beta} * {k} * {erased} + {beta} * {k} * {v}")
    else:
        b.assign(h, f"{kept} + {k} * {v}")
    if before in ("after", "both"):
        b.expose(b.let(summed(b, key, q, h), "r", share=False))


def channels(b: Builder, axes: list[str]) -> None:
    """A diagonal time-invariant state, read with fixed weights: a convolution."""
    kind = b.choices.one_of("real", "complex")
    h = b.state(axes, kind, init=None if kind == "real" else "")
    own = b.subset(axes)
    rate, x = b.port(own, role="param"), b.port(b.subset(axes), role="input")
    a = b.choices.one_of(f"exp(-softplus({rate}))", f"sigmoid({rate})", f"(0.9 * tanh({rate}))")
    weights = b.port(b.subset(axes), role="param")
    turn = ""
    if kind == "complex":
        turn = f" * exp(1j * {b.port(b.subset(axes), role='param')})"
    b.assign(h, f"{a}{turn} * {h} + {x} * {weights}")
    read = h
    if axes and b.choices.chance(70):
        axis = b.choices.one_of(*axes)
        c = b.port(b.order(axis, *b.subset([a for a in axes if a != axis])), role="param")
        read = summed(b, axis, c, h)
    if kind == "complex":
        read = Value(f"2 * real({read.text})", read.axes, atom=False)
    b.expose(b.let(read, "r", share=False))


def stateless(b: Builder, axes: list[str]) -> None:
    b.expose(b.let(expression(b, axes, 3), share=False))


COMPONENTS: tuple[Callable[[Builder, list[str]], None], ...] = (
    affine, affine, affine, delta_rule, dense, dense, memory, memory, memory, channels, channels, tropical, log_space,
    boolean, clamped, fractional, nonlinear, coupled, stabilised, continuous, oscillator, oscillator, counter, delayed,
    shifted, covariance, mixing, stateless,
)  # fmt: skip
