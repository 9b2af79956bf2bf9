"""Well-typed random specs, as text: what a person could have written, with every structure the compiler tells apart.

A spec is one to four components, each of a kind in components.py, that read inputs, params and one another. Decays stay
below one and inputs are of order one, so no value explodes at the lengths of the tests. `generate(seed)` gives a
`Generated`; `remake(choices)` the same from recorded choices, for shrinking.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.differential.choices import Choices

if TYPE_CHECKING:
    import numpy as np

# how the values of an input or a param are drawn
LAWS = ("normal", "unit", "bits", "decay", "positive", "log_decay", "small", "bool", "int", "complex", "small_complex")


def bracket(axes: Sequence[str]) -> str:
    """`[D, N]`, or nothing."""
    return f"[{', '.join(axes)}]" if axes else ""


@dataclass(frozen=True)
class Port:
    """A declared input or param: `axes` as written, the columns of a square named once more."""

    role: str
    name: str
    axes: tuple[str, ...]
    law: str

    @property
    def declaration(self) -> str:
        kind = {"bool": " bool", "int": " int"}.get(self.law, "")
        kind = " complex" if "complex" in self.law else kind
        return f"{self.name}{bracket(self.axes)}{kind}"


@dataclass(frozen=True)
class Generated:
    """A spec's text, the sizes of its axes, and what to feed it.

    `anticausal`: it has a reverse state or `next`, so it has no `step` and cannot run in pieces.
    """

    text: str
    sizes: Mapping[str, int]
    ports: tuple[Port, ...]
    anticausal: bool
    choices: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    kinds: tuple[str, ...]  # of the components, for statistics

    def __str__(self) -> str:
        sizes = ", ".join(f"{a} = {s}" for a, s in self.sizes.items())
        return f"{self.text}\n# sizes: {sizes}\n# remake({list(self.choices)})\n"


@dataclass(frozen=True)
class Value:
    """An expression's text and type; `axes` in the order of the declarations. An atom needs no parentheses."""

    text: str
    axes: tuple[str, ...] = ()
    kind: str = "real"
    atom: bool = True

    def __str__(self) -> str:
        return self.text if self.atom else f"({self.text})"


@dataclass
class Builder:
    """What has been written so far. Components add to it; see components.py."""

    choices: Choices
    axes: list[str]
    sizes: dict[str, int]
    each: set[str] = field(default_factory=set)
    extra_axes: dict[str, str] = field(default_factory=dict)  # declared with a size: `axis T = 3`
    ports: list[Port] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    macros: list[str] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)  # named, assigned, real, to be read by anyone
    pending: list[Value] = field(default_factory=list)  # what has to be read by an output
    anticausal: bool = False
    closed: bool = False  # it has no inputs
    count: int = 0

    # -- names and axes ------------------------------------------------------------------------------------------

    def fresh(self, stem: str) -> str:
        self.count += 1
        return f"{stem}{self.count}"

    def order(self, *axes: str) -> tuple[str, ...]:
        """The axes once each, in the order of the declarations."""
        known = [*self.axes, *self.extra_axes]
        return tuple(sorted(set(axes), key=known.index))

    def subset(self, axes: Sequence[str], least: int = 0) -> tuple[str, ...]:
        return tuple(self.choices.some_of(list(axes), least))

    def outside(self, axes: Sequence[str]) -> list[str]:
        return [a for a in self.axes if a not in axes]

    # -- leaves --------------------------------------------------------------------------------------------------

    def port(self, axes: Sequence[str], law: str = "normal", role: str | None = None) -> Value:
        """A new input or param with these axes, in an order of its own."""
        role = self.role(role or self.choices.one_of("input", "input", "param"))
        name = self.fresh({"input": "x", "param": "p"}[role])
        written = tuple(axes) if self.choices.chance(75) else tuple(reversed(tuple(axes)))
        self.ports.append(Port(role, name, written, law))
        return Value(name, self.order(*axes), law if law in ("bool", "int", "complex") else "real")

    def add_port(self, role: str, name: str, axes: tuple[str, ...], law: str) -> None:
        self.ports.append(Port(role, name, axes, law))

    def role(self, wished: str) -> str:
        return "param" if self.closed else wished

    def square(self, axis: str, lead: Sequence[str] = (), role: str | None = None, law: str = "small") -> Value:
        """A matrix over (axis, axis) of norm below one."""
        role = self.role(role or self.choices.one_of("param", "param", "input"))
        name = self.fresh("A")
        self.ports.append(Port(role, name, (*lead, axis, axis), law))
        return Value(name, self.order(axis, *lead), "complex" if "complex" in law else "real")

    def leaf(self, axes: Sequence[str]) -> Value:
        """Something real with axes among these."""
        usable = [v for v in self.values if set(v.axes) <= set(axes)]
        if usable and self.choices.chance(45):
            return self.choices.one_of(*reversed(usable))
        return self.port(self.subset(axes))

    def let(self, value: Value, stem: str = "v", share: bool = True) -> Value:
        """`value` under a name of its own."""
        name = self.fresh(stem)
        self.lines.append(f"{name} = {value.text}")
        named = Value(name, value.axes, value.kind)
        if share and value.kind == "real":
            self.values.append(named)
        return named

    def expose(self, value: Value) -> None:
        """Let `value` be read by later components, and by an output if nobody does."""
        self.pending.append(value)
        if value.kind == "real":
            self.values.append(value)

    def state(self, axes: Sequence[str], kind: str = "real", init: str | None = None, reverse: bool = False) -> Value:
        """A new state. `init` None: one is chosen."""
        name = self.fresh("h")
        if init is None:
            init = self.choices.one_of("", " = 0", " = 0.5", "param", "tanh")
            if init in ("param", "tanh") and kind == "real":
                p = self.port(self.subset(axes), role="param")
                init = f" = {p}" if init == "param" else f" = tanh({p}) + 0.1"
            elif init in ("param", "tanh"):
                init = ""
        shown = "" if kind == "real" else f" {kind}"
        self.states.append(f"{name}{bracket(axes)}{shown}{init}{' reverse' if reverse else ''}")
        self.anticausal |= reverse
        return Value(name, self.order(*axes), kind)

    def assign(self, state: Value, text: str) -> None:
        self.lines.append(f"{state.text} = {text}")

    # -- the whole -----------------------------------------------------------------------------------------------

    def text(self, outputs: Sequence[str]) -> str:
        lines = ["ssm generated"]
        if self.axes:
            lines.append(f"axis {', '.join(self.axes)}")
        lines.extend(f"axis {a}{f' = {size}' if size else ''}" for a, size in self.extra_axes.items())
        if self.each:
            lines.append(f"each {', '.join(a for a in self.axes if a in self.each)}")
        for role in ("input", "param"):
            declared = [p.declaration for p in self.ports if p.role == role]
            if declared:
                lines.append(f"{role} {', '.join(declared)}")
        lines.extend(f"state {s}" for s in self.states)
        return "\n".join([*lines, *self.macros, *self.lines, *outputs]) + "\n"


def generate(seed: int | str) -> Generated:
    """The spec of a seed."""
    return _make(Choices(seed))


def remake(choices: Sequence[int]) -> Generated:
    """The spec of recorded choices, in which any may have been changed or left out."""
    return _make(Choices(recorded=choices))


def _make(choices: Choices) -> Generated:
    from tests.differential.components import COMPONENTS
    from tests.differential.readouts import outputs

    names = list(("D", "N", "K")[: choices.one_of(0, 1, 2, 3, 2, 3, 3)])
    if choices.chance(30):
        names.reverse()
    b = Builder(choices, names, {a: choices.one_of(2, 1, 3, 4, 5) for a in names})
    if choices.chance(25) and names:
        b.each = set(choices.some_of(names))
    b.closed = choices.chance(4)  # then the call says how long the sequence is
    b.port(b.subset(names), role="input")
    b.values.append(Value(b.ports[0].name, b.order(*b.ports[0].axes)))
    kinds = []
    for i in range(4):
        # the question whether there is one more belongs to the component, so that any of them can be left out
        with choices.span():
            if not choices.chance(90 if i == 0 else 55):
                break
            component = choices.one_of(*COMPONENTS)
            component(b, choices.some_of(b.axes, choices.one_of(0, 1, 2)))
            kinds.append(component.__name__)
    text = b.text(outputs(b))
    return Generated(
        text, b.sizes, tuple(b.ports), b.anticausal, tuple(choices.made), tuple(choices.spans), tuple(kinds)
    )


def sample(spec: Generated, rng: np.random.Generator, batch: int | None, length: int) -> dict[str, Any]:
    """Values for all inputs `(batch, length, axes)` and params `(axes)`; without `batch` where it is None."""
    lead = (length,) if batch is None else (batch, length)
    values = {}
    for port in spec.ports:
        shape = tuple(spec.sizes[a] for a in port.axes)
        values[port.name] = _draw(port.law, (*lead, *shape) if port.role == "input" else shape, rng)
    return values


def _draw(law: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    match law:
        case "normal":
            return rng.normal(size=shape)
        case "unit":
            return rng.uniform(0.0, 1.0, shape)
        case "bits":  # a gate that is open or shut
            return rng.integers(0, 2, shape).astype(float)
        case "decay":
            return rng.uniform(0.2, 0.98, shape)
        case "positive":
            return rng.uniform(0.3, 2.0, shape)
        case "log_decay":
            return -rng.uniform(0.02, 1.5, shape)
        case "small":  # the rows of a matrix, or the taps of a feedback, sum to less than one
            return rng.uniform(-0.8, 0.8, shape) / max(1, shape[-1] if shape else 1)
        case "small_complex":
            x, y = rng.uniform(-0.55, 0.55, shape), rng.uniform(-0.55, 0.55, shape)
            return (x + 1j * y) / max(1, *shape[-1:])
        case "bool":
            return rng.random(shape) < 0.4
        case "int":
            return rng.integers(0, 5, shape)
        case "complex":
            return rng.normal(size=shape) + 1j * rng.normal(size=shape)
    raise ValueError(law)
