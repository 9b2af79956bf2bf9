"""What can be wrong with axes: contraction, reduction, squares, renaming, shapes that are declared (E301 to E339)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ssmc.diagnostics import Label, Problem
from ssmc.expr.nodes import Axes, base_axis
from ssmc.source import Span


def show(axes: Iterable[str]) -> str:
    """`[D, N]` as the spec writes it: the columns of a square without the prime."""
    return "[" + ", ".join(base_axis(a) for a in axes) + "]"


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f"`{n}`" for n in names)


@dataclass(frozen=True)
class Operands(Problem):
    """Base: two operands whose axes do not go together, each labelled with its axes."""

    left: Span
    left_axes: Axes
    right: Span
    right_axes: Axes

    def secondary(self) -> tuple[Label, ...]:
        return (
            Label(self.left, f"has axes {show(self.left_axes)}" if self.left_axes else "has no axes"),
            Label(self.right, f"has axes {show(self.right_axes)}" if self.right_axes else "has no axes"),
        )


@dataclass(frozen=True)
class NoSharedAxis(Operands):
    each: tuple[str, ...]  # shared, but declared `each`
    code = "E301"
    title = "the operands of `·` share no axis to sum"
    helps = ("write `*` for a product without a sum",)

    def extra_notes(self) -> tuple[str, ...]:
        if not self.each:
            return ()
        return (f"{quoted(self.each)} is shared but declared `each`, and `·` never sums over that",)

    def extra_helps(self) -> tuple[str, ...]:
        return (f"to sum over it all the same: `sum[{', '.join(self.each)}](a*b)`",) if self.each else ()


@dataclass(frozen=True)
class ManySharedAxes(Operands):
    shared: tuple[str, ...]
    code = "E302"
    title = "`·` sums one axis, and these operands share several"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"they share {quoted(self.shared)}",)

    def extra_helps(self) -> tuple[str, ...]:
        return (
            f"to keep one of them aside, declare it: `each {self.shared[0]}`",
            f"to sum over all of them: `sum[{', '.join(self.shared)}](a*b)`",
        )


@dataclass(frozen=True)
class OuterShared(Operands):
    shared: tuple[str, ...]
    code = "E303"
    title = "the operands of `⊗` share an axis"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"both have {quoted(self.shared)}",)

    def extra_helps(self) -> tuple[str, ...]:
        axis = self.shared[0]
        return (
            f"write `*` for the elementwise product, or rename one of them: `b[{axis} -> {axis}2]`",
            f"to keep the axis aside, declare it: `each {axis}`",
        )


@dataclass(frozen=True)
class MatrixAxis(Operands):
    axis: str
    code = "E304"
    title = "`@` sums over `{axis}`, which the right operand does not have"
    notes = ("`A @ x` sums the last axis of `A` with the axis of that name of `x`",)


@dataclass(frozen=True)
class MatrixScalar(Problem):
    code = "E305"
    title = "the left operand of `@` has no axis"
    label = "a value without axes"
    helps = ("write `*`",)


@dataclass(frozen=True)
class MissingAxis(Problem):
    """A reduction, pick, shift or renaming of an axis that the operand lacks."""

    axis: str
    operation: str  # "`sum` over", "renaming"
    operand: Span
    axes: Axes
    code = "E306"
    title = "{operation} `{axis}`, which the operand does not have"

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.operand, f"has axes {show(self.axes)}" if self.axes else "has no axes"),)


@dataclass(frozen=True)
class SquareMixed(Problem):
    axis: str
    square: Span
    code = "E307"
    title = "a square value meets one that has `{axis}` once"
    label = "has `{axis}` once: rows or columns?"
    helps = (
        "for a matrix product write `@`",
        "otherwise give the matrix two axes: `axis {axis}, M = {axis}` and `[{axis}, M]`",
    )

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.square, f"is square, [{self.axis}, {self.axis}]"),)


@dataclass(frozen=True)
class SquareOperation(Problem):
    axis: str
    operation: str
    code = "E308"
    title = "{operation} `{axis}` of a square value: rows or columns?"
    label = "is square, [{axis}, {axis}]"
    notes = ("a square value goes through scalar functions, `-`, `@`, `transpose` and elementwise operations",)
    helps = ("give the matrix two axes, `axis {axis}, M = {axis}` and `[{axis}, M]`, and name the one you mean",)


@dataclass(frozen=True)
class SquareDot(Problem):
    axis: str
    code = "E309"
    title = "`·` with a square value: over its rows or its columns?"
    label = "is square, [{axis}, {axis}]"
    helps = ("write `A @ x` to sum over the columns, `x @ A` to sum over the rows",)


@dataclass(frozen=True)
class AmbiguousProduct(Problem):
    axis: str
    contraction: Span
    first: str  # the two readings
    second: str
    code = "E310"
    title = "this product has two readings: does it stand inside or outside the sum over `{axis}`?"
    label = "has `{axis}` too"
    helps = ("write `{first}` or `{second}`",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.contraction, f"sums over `{self.axis}`"),)


@dataclass(frozen=True)
class AmbiguousQuotient(Problem):
    first: str
    second: str
    code = "E311"
    title = "this quotient has two readings"
    helps = ("write `{first}` or `{second}`",)


@dataclass(frozen=True)
class RenameTaken(Problem):
    axis: str
    operand: Span
    axes: Axes
    code = "E312"
    title = "the operand has an axis `{axis}` already"
    helps = ("rename that one too (`[K -> V, V -> K]` is simultaneous), or choose another axis",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.operand, f"has axes {show(self.axes)}"),)


@dataclass(frozen=True)
class AxisRepeated(Problem):
    axis: str
    first: Span
    code = "E313"
    title = "the axis `{axis}` stands twice in this bracket"
    helps = ("leave one of them out",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first),)


@dataclass(frozen=True)
class PickRange(Problem):
    axis: str
    index: int
    size: int
    code = "E314"
    title = "`{axis} = {index}` is outside the axis, which has size {size}"
    helps = ("elements count from 0; -1 is the last",)


@dataclass(frozen=True)
class SquareDeclaration(Problem):
    axis: str
    first: Span
    code = "E315"
    title = "`{axis}` may stand twice only in the last two places"
    helps = ("write the two side by side at the end, `[…, {axis}, {axis}]`, or use two axes",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first),)


@dataclass(frozen=True)
class SquareState(Problem):
    name: str
    axis: str
    code = "E316"
    title = "the state `{name}` has the axis `{axis}` twice"
    notes = ("a state is never square",)
    helps = ("use two axes: `axis {axis}, M = {axis}` and `state {name}[{axis}, M]`",)


@dataclass(frozen=True)
class StateAxes(Problem):
    name: str
    extra: tuple[str, ...]
    axes: Axes
    state_axes: Axes
    declared: Span
    code = "E317"
    title = "this value has axes that the state `{name}` lacks"

    @property
    def label(self) -> str:  # type: ignore[override]
        return f"has axes {show(self.axes)}"

    def secondary(self) -> tuple[Label, ...]:
        shown = f"has axes {show(self.state_axes)}" if self.state_axes else "has no axes"
        return (Label(self.declared, f"`{self.name}` {shown}"),)

    def extra_helps(self) -> tuple[str, ...]:
        wanted = ", ".join((*self.state_axes, *self.extra))
        return (f"sum over {quoted(self.extra)}, or declare `state {self.name}[{wanted}]`",)


@dataclass(frozen=True)
class OutputAxes(Problem):
    name: str
    written: Axes
    axes: Axes
    value: Span
    code = "E318"
    title = "the axes written for the output `{name}` are not those of its value"

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.value, f"has axes {show(self.axes)}" if self.axes else "has no axes"),)

    def extra_helps(self) -> tuple[str, ...]:
        if not self.axes:
            return (f"write `output {self.name}`",)
        return (f"write `output {self.name}{show(self.axes)}`, the axes in any order",)


@dataclass(frozen=True)
class InitAxes(Problem):
    what: str  # "the default of `a`", "the option `step`"
    owner: str  # "`a`", "the state `h`"
    extra: tuple[str, ...]
    declared: Span
    declared_axes: Axes
    code = "E319"
    title = "{what} has axes that {owner} lacks"

    def extra_notes(self) -> tuple[str, ...]:
        return (f"it has {quoted(self.extra)} besides",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.declared, f"has axes {show(self.declared_axes)}" if self.declared_axes else "has no axes"),)


@dataclass(frozen=True)
class NotSquare(Problem):
    axes: Axes
    code = "E320"
    title = "`transpose` takes a square value"
    notes = ("axes have names, so other values need no transposing",)

    @property
    def label(self) -> str:  # type: ignore[override]
        return f"has axes {show(self.axes)}" if self.axes else "has no axes"


@dataclass(frozen=True)
class WeightsAxis(Problem):
    """`conv` or `transfer` with weights without an axis."""

    function: str
    argument: str
    code = "E321"
    title = "`{function}` runs over the last axis of {argument}, and this has none"
    helps = ("declare an axis for the steps, `axis W = 4`, and give it to this value: `[…, W]`",)


@dataclass(frozen=True)
class DelayedHasAxis(Problem):
    function: str
    axis: str
    weights: Span
    code = "E322"
    title = "what `{function}` delays has the axis `{axis}` itself"

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.weights, f"`{self.function}` runs over `{self.axis}` of this"),)

    def extra_helps(self) -> tuple[str, ...]:
        return (f"use an axis of its own for the steps: `axis W`, `[…, W]` in place of `{self.axis}`",)


@dataclass(frozen=True)
class SizesDiffer(Problem):
    old: str
    new: str
    old_size: int
    new_size: int
    code = "E323"
    title = "`{old}` has size {old_size} and `{new}` has size {new_size}: neither renames to the other"
    notes = ("a renaming is an equation between two sizes",)


@dataclass(frozen=True)
class ColumnsInRight(Problem):
    """`span` is the right side of a system."""

    axis: str
    axes: Axes
    code = "E324"
    title = "the right side of `solve` has the matrix's columns `{axis}`"
    notes = ("each column of the matrix goes with an element of the solution, which lies along the rows' axis",)

    @property
    def label(self) -> str:  # type: ignore[override]
        return f"has axes {show(self.axes)}"

    def extra_helps(self) -> tuple[str, ...]:
        return (f"rename it: `[{self.axis} -> J]`, with `axis J`",)


@dataclass(frozen=True)
class SystemNotSquare(Problem):
    """`span` is a matrix."""

    axis: str
    axes: Axes
    code = "E325"
    title = "`solve[{axis}]` takes a matrix with `{axis}` as its rows and its columns"
    helps = ("name the axis of the columns, where it is another: `solve[{axis}, M](A, b)`",)

    @property
    def label(self) -> str:  # type: ignore[override]
        return f"has axes {show(self.axes)}"
