"""What can be wrong with a decorated Python function (E101 to E110), and what stands for Python's own constructs."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from ssmc.diagnostics import Label, Problem, did_you_mean
from ssmc.source import Span


@dataclass(frozen=True)
class NoSource(Problem):
    name: str
    why: str
    code = "E101"
    title = "the source of `{name}` cannot be read: {why}"
    notes = ("the body of a decorated function is read as text, never run",)
    helps = ("put the function in a file, or give the spec as text: `ssmc.compile(text)`",)


@dataclass(frozen=True)
class NotADefinition(Problem):
    what: str
    code = "E102"
    title = "{what} cannot be compiled"
    helps = ("decorate a plain function: `@ssmc.jit(axes=…)` above `def name(…):`",)


@dataclass(frozen=True)
class NotInLanguage(Problem):
    """A construct of Python that the language does not have."""

    what: str
    remedy: str
    code = "E103"
    title = "the language has no {what}"
    helps = ("{remedy}",)


@dataclass(frozen=True)
class PythonName(Problem):
    name: str
    remedy: str
    code = "E104"
    title = "`{name}` is not a name of the language"
    notes = ("names have letters `A-Z a-z`, `_`, Greek letters, then digits too",)
    helps = ("{remedy}",)


@dataclass(frozen=True)
class NoAnnotation(Problem):
    name: str
    code = "E110"
    title = "nothing says what `{name}` is"
    helps = ('annotate it: `{name}: Input["D"]`, `Param["D N"]` or `State["D N"]`',)


@dataclass(frozen=True)
class WrongAnnotation(Problem):
    what: str
    remedy: str
    known: tuple[str, ...] = ()
    word: str = ""
    code = "E105"
    title = "{what}"
    helps = ("{remedy}",)

    def extra_helps(self) -> tuple[str, ...]:
        return did_you_mean(self.word, self.known)


@dataclass(frozen=True)
class WrongOption(Problem):
    what: str
    remedy: str
    code = "E106"
    title = "{what}"
    helps = ("{remedy}",)


@dataclass(frozen=True)
class WrongReturn(Problem):
    what: str
    remedy: str
    code = "E107"
    title = "{what}"
    helps = ("{remedy}",)


@dataclass(frozen=True)
class WrongBracket(Problem):
    text: str
    code = "E108"
    title = "`{text}` says nothing of axes"
    helps = ('axes stand in a string: `sum["N"](e)`, `x["D -> E"]`, `x["J = 0"]`, `size["K"]`',)


@dataclass(frozen=True)
class WrongTarget(Problem):
    what: str
    remedy: str
    first: Span | None = None
    code = "E109"
    title = "{what}"
    helps = ("{remedy}",)

    def secondary(self) -> tuple[Label, ...]:
        return (Label(self.first, "the first"),) if self.first is not None else ()


_WHERE = "a choice is written `where(condition, a, b)`"
_STEP = "the body is one time step and holds for all places of the axes; a state carries values from step to step"
_NAMES = "name every value by a statement of its own"
_NO_RUN = "the body is read, never run; leave it out"
_SUM = 'sum over an axis with `sum["N"](e)`'

CONSTRUCTS: dict[type[ast.AST], tuple[str, str]] = {
    ast.If: ("`if`", _WHERE),
    ast.IfExp: ("`… if … else …`", _WHERE),
    ast.Match: ("`match`", _WHERE),
    ast.For: ("`for`", _STEP),
    ast.AsyncFor: ("`async for`", _STEP),
    ast.While: ("`while`", _STEP),
    ast.ListComp: ("comprehensions", _SUM),
    ast.SetComp: ("comprehensions", _SUM),
    ast.DictComp: ("comprehensions", _SUM),
    ast.GeneratorExp: ("generators", _SUM),
    ast.AugAssign: ("augmented assignment", "each name is assigned once: write `name = …`"),
    ast.AnnAssign: ("annotated assignment", "declare values in the signature; in the body write `name = …`"),
    ast.Import: ("`import`", "the functions of the language are known without; leave it out"),
    ast.ImportFrom: ("`import`", "the functions of the language are known without; leave it out"),
    ast.With: ("`with`", _NO_RUN),
    ast.AsyncWith: ("`async with`", _NO_RUN),
    ast.Try: ("`try`", _NO_RUN),
    ast.Raise: ("`raise`", _NO_RUN),
    ast.Assert: ("`assert`", _NO_RUN),
    ast.Global: ("`global`", _NO_RUN),
    ast.Nonlocal: ("`nonlocal`", _NO_RUN),
    ast.Delete: ("`del`", _NO_RUN),
    ast.Pass: ("`pass`", _NO_RUN),
    ast.Break: ("`break`", _STEP),
    ast.Continue: ("`continue`", _STEP),
    ast.ClassDef: ("classes", "a macro is `def f(x): return …`"),
    ast.AsyncFunctionDef: ("`async def`", "a macro is `def f(x): return …`"),
    ast.Lambda: ("functions as values", "a macro has a name: `f = lambda x: …` as a statement"),
    ast.Await: ("`await`", _NO_RUN),
    ast.Yield: ("`yield`", "outputs are returned: `return y`"),
    ast.YieldFrom: ("`yield`", "outputs are returned: `return y`"),
    ast.NamedExpr: ("`:=`", _NAMES),
    ast.JoinedStr: ("strings", "values are numbers; names are written without quotes"),
    ast.Tuple: ("tuples", _NAMES),
    ast.List: ("lists", "values have named axes; combine them by name"),
    ast.Dict: ("dictionaries", _NAMES),
    ast.Set: ("sets", _NAMES),
    ast.Starred: ("`*` before an argument", "write the arguments one by one"),
    ast.Slice: ("slices", 'an element is picked by the axis\'s name: `x["J = 0"]`'),
}

OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.FloorDiv: ("`//`", "write `floor(a / b)`"),
    ast.Mod: ("`%`", "write `mod(a, b)`"),
    ast.BitAnd: ("`&`", "write `and`"),
    ast.BitOr: ("`|`", "write `or`"),
    ast.BitXor: ("`^`", "a power is written `**`"),
    ast.LShift: ("`<<`", 'write `shift["N"](e)` to move along an axis, `prev(e)` along time'),
    ast.RShift: ("`>>`", 'write `shift["N"](e)` to move along an axis, `prev(e)` along time'),
    ast.UAdd: ("sign `+`", "leave it out"),
    ast.Invert: ("`~`", "write `not`"),
    ast.Is: ("`is`", "write `==`"),
    ast.IsNot: ("`is not`", "write `!=`"),
    ast.In: ("`in`", "compare with `==`"),
    ast.NotIn: ("`not in`", "compare with `!=`"),
}

ATTRIBUTES = {
    "T": "write `transpose(x)`",
    "mT": "write `transpose(x)`",
    "shape": 'the length of an axis is `size["N"]`',
    "size": 'the length of an axis is `size["N"]`',
    "real": "write `real(x)`",
    "imag": "write `imag(x)`",
    "sum": 'write `sum["N"](x)`',
    "mean": 'write `mean["N"](x)`',
    "dtype": "the kind of a value is declared in the signature",
    "device": "the caller chooses the device",
    "unsqueeze": "values are broadcast by the names of their axes; leave it out",
    "view": 'axes are renamed by name: `x["D -> E"]`',
    "reshape": 'axes are renamed by name: `x["D -> E"]`',
    "permute": "axes have names and no order; leave it out",
    "transpose": "axes have names and no order; `transpose(x)` is for square values",
}
