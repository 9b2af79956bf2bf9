"""One function for each kind of component: it declares states, assigns them and exposes what may be read of them.

Each kind is one structure that the analysis tells apart, written in one of several ways; `axes` are those of the state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.differential.expressions import condition, decay, expression, taps, window
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


def backwards(b: Builder) -> bool:
    return b.choices.chance(10)


def guarded(b: Builder, update: str, axes: Sequence[str], kind: str = "real") -> str:
    """The update, perhaps under a reset to another value."""
    if not b.choices.chance(25):
        return update
    c = condition(b, axes)
    to = b.leaf(axes).text if kind == "real" and b.choices.chance(60) else "0"
    return f"where({c.text}, {to}, {update})"


def affine(b: Builder, axes: list[str]) -> None:
    h = b.state(axes, reverse=backwards(b))
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
    lead = b.subset([a for a in axes if a != axis]) if b.choices.chance(30) else ()
    if b.choices.chance(25):
        h = b.state(axes, "complex")
        A, x = b.square(axis, lead, law="small_complex"), drive(b, axes)
        b.assign(h, guarded(b, b.choices.one_of(f"{A} @ {h} + {x}", f"{h} @ {A} + {x}"), axes, "complex"))
        expose_part(b, h)
        return
    h = b.state(axes)
    A = b.square(axis, lead)
    x = drive(b, axes)
    text = b.choices.one_of(
        f"{A} @ {h} + {x}", f"{h} @ {A} + {x}", f"0.15 * {h} + {A} @ {h} + {x}", f"tanh({A} @ {h} + {x})"
    )
    before_or_after(b, h, guarded(b, text, axes))


def expose_part(b: Builder, h: Value) -> None:
    """Lets a complex state be read as a real number."""
    b.pending.append(h)
    part = b.choices.one_of("real({})", "imag({})", "real({} * conj({}))", "real((1 - 2j) * {})").replace("{}", h.text)
    b.expose(b.let(Value(part, h.axes), "r", share=False))


def tropical(b: Builder, axes: list[str]) -> None:
    h = b.state(axes, reverse=backwards(b))
    x, g = drive(b, axes), expression(b, axes, 1)
    text = b.choices.one_of(
        f"max({h} - softplus({g.text}), {x.text})",
        f"min({h} + softplus({g.text}), {x.text})",
        f"max({h} + tanh({g.text}) * 0.3, {x.text})",
        f"max(sigmoid({g.text}) * {h}, softplus({x.text}))",
        f"min(sigmoid({g.text}) * {h} + 0.5, softplus({x.text}))",
    )
    before_or_after(b, h, guarded(b, text, axes))


def log_space(b: Builder, axes: list[str]) -> None:
    h = b.state(axes)
    x, g = drive(b, axes), expression(b, axes, 1)
    before_or_after(b, h, guarded(b, f"logaddexp({h} + logsigmoid({g.text}), {x.text})", axes))


def boolean(b: Builder, axes: list[str]) -> None:
    h = b.state(axes, "bool", init=b.choices.one_of("", " = true"))
    c, d = b.port(b.subset(axes), "bool"), condition(b, axes)
    text = b.choices.one_of(f"{c} or ({h} and {d})", f"({h} or {c}) and {d}", f"{h} or {c}", f"{h} != {c}")
    if axes and b.choices.chance(20):
        text = f"{b.choices.one_of('any', 'all')}[{b.choices.one_of(*axes)}]({h}) != {c}"
    b.assign(h, text)
    b.pending.append(h)
    x = b.leaf(axes)
    b.expose(b.let(Value(f"where({h}, {x.text}, 0.5)", b.order(*h.axes, *x.axes)), "r", share=False))


def clamped(b: Builder, axes: list[str]) -> None:
    h = b.state(axes, init=b.choices.one_of("", " = 0.25"))
    x = drive(b, axes)
    lo, hi = b.choices.one_of(("-1", "1"), ("-0.5", "2.0"))
    # never exactly at a bound, where the derivative is anything between that of its sides
    text = b.choices.one_of(f"clamp({h} + {x} + 0.01, {lo}, {hi})", f"min(max({h} + {x} + 0.01, {lo}), {hi})")
    before_or_after(b, h, guarded(b, text, axes))


def fractional(b: Builder, axes: list[str]) -> None:
    p, q = b.port(b.subset(axes), "positive"), b.port(b.subset(axes), "positive")
    if b.choices.chance(25):
        h = b.state(axes, "complex", init=" = 1")
        b.assign(h, f"1 / ({q} + 2 + 0.5j * {h})")
        expose_part(b, h)
        return
    h = b.state(axes, init=" = 1")
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
    expose_part(b, h)


def counter(b: Builder, axes: list[str]) -> None:
    axes = list(b.subset(axes))
    h = b.state(axes, "int", init=b.choices.one_of("", " = 2"))
    k = b.port(b.subset(axes), "int")
    c = condition(b, axes)
    text = b.choices.one_of(
        f"{h} + 1",
        f"where({c.text}, 0, {h} + 1)",
        f"mod({h} + {k}, 7)",
        f"max({h}, {k})",
        f"{h} + {k}",
        f"where({c.text}, {k}, {h} - {k})",
        f"min(max({h} + {k} - 2, -3), 5)",
        f"max({h} - 1, {k})",
        f"prev({h}, 2) + {k}",
        f"3 - {h}",
    )
    if len(axes) > 1 and b.choices.chance(50):
        text = f"{h} + {b.port(axes[:1], 'int')} * {b.port(axes[1:], 'int')}"
    b.assign(h, text)
    b.pending.append(h)
    if axes and b.choices.chance(30):
        q = b.port(axes[:1], "int")
        b.pending.append(b.let(Value(f"sum[{axes[0]}]({q} * {h})", tuple(axes[1:]), "int"), "i"))
    x = b.leaf(axes)
    b.expose(b.let(Value(f"{x} / (1 + {h}**2)", b.order(*x.axes, *h.axes)), "r", share=False))


def delayed(b: Builder, axes: list[str]) -> None:
    h = b.state(axes)
    x = drive(b, axes)
    k = b.choices.one_of(2, 3)
    match b.choices.one_of("linear", "tanh", "only", "init", "conv", "transfer", "window"):
        case "linear":
            text = f"0.5 * {h} + 0.3 * prev({h}, {k}) + {x}"
        case "tanh":
            text = f"tanh(0.5 * prev({h}, {k}) + {x})"
        case "only":
            text = f"0.4 * prev({h}, {k}) + {x}"
        case "init":
            text = f"0.5 * {h} + 0.3 * prev({h}, {k}, {b.port(b.subset(axes), role='param')}) + {x}"
        case "conv":
            w, _ = taps(b, b.subset(axes))
            text = f"0.5 * conv(prev({h}), {w}) + {x}"
        case "transfer":
            poles, axis = taps(b, b.subset(axes))
            zeros = b.fresh("p")
            b.add_port("param", zeros, (axis,), "small")
            text = f"0.5 * transfer({zeros}, {poles}, prev({h})) + {x}"
        case _:
            span = window(b, growing=False)
            text = f"0.3 * max[{span}](past[{span}](prev({h}) + {x.text})) + {x}"
    before_or_after(b, h, text)


def recalling(b: Builder, axes: list[str]) -> None:
    """A state that attends to its own past, in a window or in the whole of it, perhaps beside another value's."""
    h = b.state(axes)
    x, q = drive(b, axes), b.leaf(axes)
    span = window(b, growing=b.choices.chance(60))
    own = f"past[{span}](prev({h}))"
    other = b.choices.one_of(own, f"past[{span}]({b.leaf(axes)})")
    text = b.choices.one_of(
        f"tanh(0.5 * sum[{span}](softmax[{span}]({q} * {own}) * {other}) + {x})",
        f"tanh(mean[{span}]({own}) + {x})",
        f"0.5 * max[{span}]({own} + 0.1 * {other}) + {x}",
    )
    before_or_after(b, h, guarded(b, text, axes))


def cell(b: Builder, axes: list[str]) -> None:
    """Two states through gates, one inside the other: what an LSTM does."""
    c, h = b.state(axes), b.state(axes)
    x, u = drive(b, axes), b.leaf(axes)
    mixed = Value(f"0.3 * {h}")
    if axes and b.choices.chance(60):
        mixed = Value(f"{b.square(b.choices.one_of(*axes), role='param')} @ {h}", h.axes, atom=False)
    b.assign(c, f"sigmoid({mixed} + {u}) * {c} + sigmoid({x.text}) * tanh({mixed} + {x})")
    b.assign(h, guarded(b, f"sigmoid({u}) * tanh({c})", axes))
    b.expose(c)
    b.expose(h)


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
    kind = b.choices.one_of("real", "real", "complex")
    h = b.state(axes, kind, init=None if kind == "real" else "", reverse=backwards(b))
    k, q, v = (b.port(b.order(a, *b.subset(lead)), role="input") for a in (key, key, value))
    before = b.choices.one_of("after", "before", "bonus", "both")
    real = ("real({})" if kind == "complex" else "{}").format

    def read(x: Value) -> None:
        over, by = (value, v) if b.choices.chance(20) else (key, q)
        found = summed(b, over, by, x)
        b.expose(b.let(Value(real(found.text), found.axes), "r", share=False))

    if before in ("before", "both"):
        read(h)
    if before == "bonus":
        w = b.port(b.order(*b.subset([key, *lead])), role="param")
        read(Value(f"{h} + {w} * {k} * {v}", b.order(*h.axes, *w.axes), kind, atom=False))
    kept = h
    if b.choices.chance(80):
        kept = b.let(Value(f"{kept_part(b, key, value, lead, kind)} * {h}", h.axes, kind), "d", share=False)
        if b.choices.chance(20):
            c = condition(b, lead)
            kept = b.let(Value(f"where({c.text}, 0, {kept})", h.axes, kind), "d", share=False)
    if kind == "real" and b.choices.chance(30):
        raw = k
        k = b.let(Value(f"{raw} * rsqrt(sum[{key}]({raw} * {raw}) + 0.1)", raw.axes), "k", share=False)
        beta = Value(f"sigmoid({b.leaf([*lead]).text})", ())
        erased = Value(summed(b, key, k, kept).text, atom=False)
        b.assign(h, f"{kept} - {beta} * {k} * {erased} + {beta} * {k} * {v}")
    else:
        b.assign(h, guarded(b, f"{kept} + {written(b, key, value, k, v)}", lead, kind))
    if before in ("after", "both"):
        read(h)


def kept_part(b: Builder, key: str, value: str, lead: list[str], kind: str) -> str:
    """The decay of a memory: along its rows, its columns, neither, both, or nothing said about either."""
    sides = b.choices.one_of([[]], [[key]], [[value]], [[key], [value]], [[], [key]], [[key], [value], []])
    if b.choices.chance(10):
        sides = [[key, value]]
    factors = [decay(b, b.order(*side, *b.subset(lead)), logarithm=b.choices.chance(70)).text for side in sides]
    if kind == "complex":
        factors.append(f"exp(1j * {b.port(b.order(*b.subset(lead)))})")
    return " * ".join(factors)


def written(b: Builder, key: str, value: str, k: Value, v: Value) -> str:
    """What is added to a memory: one outer product, several, or the sum of several over an axis of their own."""
    match b.choices.one_of("one", "two", "ranks", "scaled"):
        case "two":
            return f"{k} * {v} - 0.5 * {b.port((key,))} * {b.port((value,), role='input')}"
        case "ranks":
            rank = b.fresh("R")
            b.extra_axes[rank], b.sizes[rank] = "2", 2
            one, other = (b.port((a, rank), role="input") for a in (key, value))
            return f"sum[{rank}]({one} * {other}) + {k} * {v}"
        case "scaled":
            return f"sigmoid({b.leaf([])}) * ({k} * {v})"
        case _:
            return f"{k} * {v}"


def channels(b: Builder, axes: list[str]) -> None:
    """A diagonal time-invariant state, read with fixed weights: a convolution."""
    kind = b.choices.one_of("real", "complex")
    h = b.state(axes, kind, init=None if kind == "real" else "", reverse=backwards(b))
    own = b.subset(axes)
    rate, x = b.port(own, role="param"), b.port(b.subset(axes), role="input")
    a = b.choices.one_of(f"exp(-softplus({rate}))", f"sigmoid({rate})", f"(0.9 * tanh({rate}))")
    weights = b.port(b.subset(axes), role="param")
    turn = ""
    if kind == "complex":
        turn = f" * exp(1j * {b.port(b.subset(axes), role='param')})"
    more = ""
    if b.choices.chance(40):  # further drives
        more = f" - 0.5 * {b.leaf(axes)}"
        if b.choices.chance(50):
            more += f" + {b.port(b.subset(axes), 'complex' if kind == 'complex' else 'normal')} * {b.leaf(axes)}"
        if b.choices.chance(30):
            more += " + 0.25"

    def read() -> None:
        found = h
        if axes and b.choices.chance(70):
            axis = b.choices.one_of(*axes)
            law = b.choices.one_of("normal", "complex") if kind == "complex" else "normal"
            c = b.port(b.order(axis, *b.subset([a for a in axes if a != axis])), law, role="param")
            found = summed(b, axis, c, h)
        if kind == "complex":
            found = Value(f"2 * real({found.text})", found.axes, atom=False)
        b.expose(b.let(found, "r", share=False))

    if b.choices.chance(25):
        read()
    b.assign(h, f"{a}{turn} * {h} + {x} * {weights}{more}")
    read()


def fixed(b: Builder, axes: list[str]) -> None:
    """What is the same at every step: of params, sizes and positions only."""
    p = b.port(b.subset(axes), role="param")
    text = f"tanh({p}) * 2"
    if axes and b.choices.chance(60):
        text += f" + index[{axes[0]}] / size[{axes[0]}]"
    b.expose(b.let(Value(text, b.order(*p.axes, *(axes[:1] if "index" in text else ()))), share=False))


def stateless(b: Builder, axes: list[str]) -> None:
    b.expose(b.let(expression(b, axes, 3), share=False))


COMPONENTS: tuple[Callable[[Builder, list[str]], None], ...] = (
    affine, affine, affine, delta_rule, dense, dense, *[memory] * 6, channels, channels, tropical, log_space, boolean,
    clamped, fractional, nonlinear, coupled, stabilised, continuous, oscillator, oscillator, counter, delayed, shifted,
    covariance, mixing, stateless, recalling, cell, fixed,
)  # fmt: skip
