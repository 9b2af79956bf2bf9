"""A decorated Python function to the tree of a spec. The function's source is read; the function is never run.

The tree is one that `ssmc.syntax.parser` could have given: jit's `axes=`, `each=` and `sizes=` become `axis` and
`each` declarations, the annotated arguments `input`, `param` and `state`, and `return y` an `output`. Every span is
in the user's file. `return` of an expression makes an output called `y`.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ssmc.diagnostics import Report, SpecError
from ssmc.source import Source, Span
from ssmc.syntax import nodes
from ssmc.syntax import python_errors as wrong
from ssmc.syntax.python_body import BodyReader
from ssmc.syntax.python_expr import ExpressionReader
from ssmc.syntax.python_signature import SignatureReader
from ssmc.syntax.python_text import PythonText
from ssmc.syntax.wellformed import check_statement, first_wrong_expression

AxisNames = str | Iterable[str]


@dataclass(frozen=True)
class FunctionSource:
    """A function as text, with the options of `jit`.

    `source` is the whole file, `first_line` that of the first decorator or of `def`. `axes` and `each` are names,
    `sizes` maps axes to integers or to equations such as `"2*P"`. `annotations` are the evaluated ones, as far as
    Python has them; `namespace` resolves the names of the others.
    """

    source: Source
    name: str
    first_line: int
    axes: tuple[str, ...] = ()
    each: tuple[str, ...] = ()
    sizes: Mapping[str, int | str] = field(default_factory=dict)
    namespace: Mapping[str, object] = field(default_factory=dict, repr=False)
    annotations: Mapping[str, object] = field(default_factory=dict, repr=False)


def function_source(
    function: Callable[..., Any],
    axes: AxisNames = (),
    each: AxisNames = (),
    sizes: object = None,
) -> FunctionSource:
    """Find the text of a function. Raises `SpecError` (E101, E102, E106) where there is none, or an option is wrong."""
    if not isinstance(function, types.FunctionType):
        what = f"a {type(function).__name__}" if not inspect.isclass(function) else f"the class `{function.__name__}`"
        raise SpecError([wrong.NotADefinition(None, what)])
    code = function.__code__
    file = inspect.getsourcefile(function) or code.co_filename
    linecache.checkcache(file)
    lines = linecache.getlines(file, function.__globals__)
    if not lines:
        raise SpecError([wrong.NoSource(None, function.__name__, f"there is no file `{file}`")])
    if not isinstance(sizes, Mapping | None):
        what = "`sizes=` is no dictionary from axis to size"
        raise SpecError([wrong.WrongOption(None, what, 'write `sizes={"N": 16}`')])
    return FunctionSource(
        Source(file, "".join(lines)),
        function.__name__,
        code.co_firstlineno,
        _option_names("axes", axes),
        _option_names("each", each),
        dict(sizes or {}),
        _namespace(function),
        _annotations(function),
    )


def _option_names(option: str, value: AxisNames) -> tuple[str, ...]:
    words: list[object]
    try:
        words = list(value.replace(",", " ").split() if isinstance(value, str) else value)
    except TypeError:
        words = [value]
    names = tuple(word for word in words if isinstance(word, str))
    if len(names) < len(words):
        what = f"`{option}=` holds something that is no name"
        raise SpecError([wrong.WrongOption(None, what, f'write `{option}="D N"`')])
    return names


def _namespace(function: types.FunctionType) -> dict[str, object]:
    namespace = dict(function.__globals__)
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            namespace[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return namespace


def _annotations(function: types.FunctionType) -> dict[str, object]:
    try:
        return dict(function.__annotations__)
    except Exception:  # Python 3.14 evaluates them now, and they may name what is imported for type checkers only
        return {}


def parse_function(info: FunctionSource) -> nodes.Spec:
    """The spec that a function describes. Raises `SpecError` with all that is wrong with it."""
    definition = _definition(info)
    first_line = min([definition.lineno, *(d.lineno for d in definition.decorator_list)])
    text = PythonText(info.source, first_line, definition.end_lineno or definition.lineno)
    span = text.span(definition)
    name_start = text.operator(span.start, info.name).start
    name = nodes.Identifier(info.name, Span(info.source, name_start, name_start + len(info.name)))
    if isinstance(definition, ast.AsyncFunctionDef):
        raise SpecError([wrong.NotADefinition(name.span, f"the coroutine `{info.name}`")])

    report = Report()
    expressions = ExpressionReader(text)
    signature = SignatureReader(expressions, info.namespace, info.annotations, report)
    axes = signature.axis_declarations(definition, name.span, info.axes, info.each, info.sizes)
    declared = signature.declarations(definition)
    body = BodyReader(expressions, report, declared, signature.broken).read(definition, name.span)
    statements: list[nodes.Statement] = [*axes, *body]
    for statement in statements:
        problem = first_wrong_expression(statement)
        if problem is not None:
            report.add(problem)
        else:
            check_statement(statement, report)
    report.raise_errors()
    return nodes.Spec(name, tuple(statements), span)


def from_function(
    function: Callable[..., Any],
    *,
    axes: AxisNames = (),
    each: AxisNames = (),
    sizes: Mapping[str, int | str] | None = None,
) -> tuple[nodes.Spec, Source]:
    """The spec of a function and the file it is in: `function_source` and `parse_function` in one."""
    info = function_source(function, axes, each, sizes)
    return parse_function(info), info.source


def _definition(info: FunctionSource) -> ast.FunctionDef | ast.AsyncFunctionDef:
    """The `def` of a function in its file."""
    try:
        tree = ast.parse(info.source.text)
    except SyntaxError as error:
        why = f"`{info.source.name}` has changed, and line {error.lineno} is no longer Python"
        raise SpecError([wrong.NoSource(None, info.name, why)]) from None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == info.name:
            if info.first_line in (node.lineno, *(d.lineno for d in node.decorator_list)):
                return node
        elif isinstance(node, ast.Lambda) and info.name == "<lambda>" and node.lineno == info.first_line:
            raise SpecError([wrong.NotADefinition(None, "a lambda")])
    why = f"`{info.source.name}` has changed since it was imported"
    raise SpecError([wrong.NoSource(None, info.name, why)])
