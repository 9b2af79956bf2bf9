"""What a generated spec gives out: every exposed value, as it is, contracted, or through some function."""

from __future__ import annotations

from tests.differential.expressions import contraction, expression
from tests.differential.generate import Builder, Value, bracket


def outputs(b: Builder) -> list[str]:
    """The output lines; also appends to the ports. Reads at least the last exposed value."""
    exposed = list(b.pending)
    last = exposed[-1] if exposed else b.values[-1]
    chosen = [last, *b.choices.some_of([v for v in reversed(exposed) if v is not last])[:2]]
    lines = []
    for i, value in enumerate(chosen):
        name = f"y{i}"
        read = _read(b, value)
        axes = list(read.axes)
        if b.choices.chance(30):
            axes.reverse()
        match b.choices.one_of("axes", "bare", "two lines"):
            case "axes":
                lines.append(f"output {name}{bracket(axes)}{_kind(read)} = {read.text}")
            case "bare":
                lines.append(f"output {name}{_kind(read)} = {read.text}")
            case _:
                lines.append(f"{name} = {read.text}")
                lines.append(f"output {name}{bracket(axes)}{_kind(read)}")
    return lines


def _kind(value: Value) -> str:
    return "" if value.kind == "real" else f" {value.kind}"


def _read(b: Builder, value: Value) -> Value:
    if value.kind != "real":
        return value
    match b.choices.one_of("itself", "contracted", "gated", "squared"):
        case "contracted":
            return contraction(b, value, value.axes)
        case "gated":
            x = expression(b, value.axes, 1)
            return Value(f"{value} * silu({x.text}) + {x}", b.order(*value.axes, *x.axes), atom=False)
        case "squared":
            return Value(f"{value}**2 + {value}", value.axes, atom=False)
        case _:
            return value
