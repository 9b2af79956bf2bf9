"""The head of a decorated function: jit's options and the annotated arguments, as declarations."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from ssmc.diagnostics import Report, did_you_mean
from ssmc.source import Span
from ssmc.syntax import markers, nodes
from ssmc.syntax import python_errors as wrong
from ssmc.syntax.builder import NotLegal
from ssmc.syntax.names import IDENTIFIER, KINDS, REVERSE
from ssmc.syntax.python_expr import ExpressionReader

_ROLES: dict[str, nodes.Role] = {"Input": "input", "Param": "param", "State": "state"}
_Definition = ast.FunctionDef | ast.AsyncFunctionDef


class SignatureReader:
    """Reads the head of one definition; what is wrong goes to the report."""

    def __init__(
        self,
        expressions: ExpressionReader,
        namespace: Mapping[str, object],
        annotations: Mapping[str, object],
        report: Report,
    ) -> None:
        self.expressions = expressions
        self.namespace = namespace
        self.annotations = annotations
        self.report = report
        self.broken: set[str] = set()
        """Arguments that were reported, so that what follows from that is not."""

    # -- options of jit

    def axis_declarations(
        self,
        definition: _Definition,
        name: Span,
        axes: tuple[str, ...],
        each: tuple[str, ...],
        sizes: Mapping[str, int | str],
    ) -> list[nodes.Statement]:
        """`axis` and `each` declarations. Their spans are the words in the decorator, if they stand there."""
        found: list[nodes.Statement] = []
        for word in axes:
            span = self._option_span(definition, "axes", word, name)
            if self._is_axis(word, span, "axes"):
                size = (
                    self._size(sizes[word], self._option_span(definition, "sizes", word, span))
                    if word in sizes
                    else None
                )
                found.append(nodes.AxisDecl(nodes.Identifier(word, span), size, span))
        for word in sizes:
            if word not in axes:
                span = self._option_span(definition, "sizes", word, name)
                what = f"`sizes=` names `{word}`, which is not in `axes=`"
                self.report.add(wrong.WrongOption(span, what, f'write `axes="… {word}"`'))
        spans = [self._option_span(definition, "each", word, name) for word in each]
        names = [nodes.Identifier(w, s) for w, s in zip(each, spans, strict=True) if self._is_axis(w, s, "each")]
        if names:
            found.append(nodes.EachDecl(tuple(names), names[0].span.to(names[-1].span)))
        return found

    def _is_axis(self, word: str, span: Span, option: str) -> bool:
        if IDENTIFIER.fullmatch(word):
            return True
        self.report.add(wrong.WrongOption(span, f"`{word}` cannot name an axis", f'write `{option}="D N"`'))
        return False

    def _size(self, size: int | str, span: Span) -> nodes.Expr | None:
        if isinstance(size, str):
            try:
                tree = ast.parse(size.strip(), mode="eval").body
                return ExpressionReader(self.expressions.text, fixed=span).read(tree)
            except SyntaxError:
                what, remedy = f"`{size}` is not a size", 'write a number or an equation: `sizes={"N": "2*P"}`'
                self.report.add(wrong.WrongOption(span, what, remedy))
            except NotLegal as found:
                self.report.add(found.problem)
            return None
        try:
            return nodes.Number(int(size.__index__()), span)
        except (AttributeError, TypeError):
            what, remedy = f"`{size!r}` is not a size", 'write a whole number: `sizes={"N": 16}`'
            self.report.add(wrong.WrongOption(span, what, remedy))
            return None

    def _option_span(self, definition: _Definition, option: str, word: str, default: Span) -> Span:
        """Where a word of an option stands in the decorator."""
        for decorator in definition.decorator_list:
            if not isinstance(decorator, ast.Call):
                continue
            for argument in decorator.keywords:
                if argument.arg != option:
                    continue
                for node in ast.walk(argument.value):
                    if isinstance(node, ast.Constant) and isinstance(node.value, str):
                        match = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", node.value)
                        if match is not None:
                            return self.expressions.text.words_of_string(node, [match.span()])[0]
                return self.expressions.span(argument)
        return default

    # -- arguments

    def declarations(self, definition: _Definition) -> list[nodes.Declaration]:
        """The declarations of the arguments, in their order."""
        arguments = definition.args
        for extra in (arguments.vararg, arguments.kwarg):
            if extra is not None:
                entry = (f"`*{extra.arg}`", "write the arguments one by one")
                self.report.add(wrong.NotInLanguage(self.expressions.span(extra), *entry))
        found = []
        for argument, default in _with_defaults(arguments):
            try:
                found.append(self._declaration(argument, default))
            except NotLegal as problem:
                self.broken.add(argument.arg)
                self.report.add(problem.problem)
        return found

    def _declaration(self, argument: ast.arg, default: ast.expr | None) -> nodes.Declaration:
        whole = self.expressions.span(argument)
        name = nodes.Identifier(argument.arg, Span(whole.source, whole.start, whole.start + len(argument.arg)))
        self.expressions.check_name(name.text, name.span)
        if argument.annotation is None:
            raise NotLegal(wrong.NoAnnotation(name.span, name.text))
        head, items = _split(argument.annotation)
        role = self._role(argument.arg, head, self.expressions.span(argument.annotation))
        axes, kind, reverse = self._items(items)
        init = None if default is None else self.expressions.read(default)
        span = whole if init is None else whole.to(init.span)
        return nodes.Declaration(role, name, axes, kind, init, reverse, span)

    def _role(self, name: str, head: ast.expr, span: Span) -> nodes.Role:
        evaluated = self.annotations.get(name)
        resolved = getattr(evaluated, "__origin__", evaluated)
        if evaluated is None or isinstance(evaluated, str):
            resolved = _resolve(head, self.namespace)
        for marker in (markers.Input, markers.Param, markers.State):
            if resolved is marker:
                return _ROLES[marker.__name__]
        if resolved is None:
            # A name that is imported for type checkers only, or not at all: its own word decides.
            word = head.attr if isinstance(head, ast.Attribute) else head.id if isinstance(head, ast.Name) else ""
            if word in _ROLES:
                return _ROLES[word]
            if isinstance(head, ast.Constant) and isinstance(head.value, str):
                remedy = "write it without the outer quotes"
                raise NotLegal(wrong.WrongAnnotation(span, "an annotation in quotes", remedy))
        else:
            word = self.expressions.span(head).text
        what = f"`{span.text[:40]}` does not say what the argument is"
        remedy = "annotate with `Input`, `Param` or `State` of ssmc"
        raise NotLegal(wrong.WrongAnnotation(span, what, remedy, tuple(_ROLES), word))

    def _items(
        self, items: list[ast.expr]
    ) -> tuple[tuple[nodes.Identifier, ...] | None, nodes.Identifier | None, bool]:
        """Axes, kind and direction: the contents of the annotation's bracket."""
        axes: tuple[nodes.Identifier, ...] | None = None
        kind: nodes.Identifier | None = None
        reverse = False
        words = [x for x in items if isinstance(x, ast.Constant) and isinstance(x.value, str)]
        words = words[:1] + [x for x in words[1:] if not did_you_mean(str(x.value), (REVERSE,))]
        if len(words) > 1:
            span = self.expressions.span(words[0]).to(self.expressions.span(words[-1]))
            together = " ".join(str(x.value) for x in words)
            raise NotLegal(wrong.WrongAnnotation(span, "axes in several strings", f'write them in one: `"{together}"`'))
        for place, item in enumerate(items):
            span = self.expressions.span(item)
            match item:
                case ast.Constant(value=str() as text) if text == REVERSE and place > 0:
                    reverse = True
                case ast.Constant(value=str() as text) if place == 0:
                    if text.strip():
                        axes = self.expressions.axes_of(item, span)
                case ast.Name(id=word) if word in KINDS:
                    if kind is not None:
                        what = f"a value is `{kind.text}` or `{word}`"
                        raise NotLegal(wrong.WrongAnnotation(span, what, "leave one out"))
                    kind = nodes.Identifier(word, span)
                case _:
                    what = f"`{span.text[:40]}` is neither axes, a kind, nor a direction"
                    remedy = 'axes come first, in one string, then `complex`, `bool` or `int`: `["D N", complex]`'
                    word = str(item.value) if isinstance(item, ast.Constant) else span.text
                    raise NotLegal(wrong.WrongAnnotation(span, what, remedy, (*KINDS, REVERSE), word))
        return axes, kind, reverse


def _with_defaults(arguments: ast.arguments) -> Iterator[tuple[ast.arg, ast.expr | None]]:
    positional = [*arguments.posonlyargs, *arguments.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    yield from zip(positional, [*missing, *arguments.defaults], strict=True)
    yield from zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)


def _split(annotation: ast.expr) -> tuple[ast.expr, list[ast.expr]]:
    """`State["D N", complex]` as `State` and its items."""
    if not isinstance(annotation, ast.Subscript):
        return annotation, []
    inside = annotation.slice
    return annotation.value, list(inside.elts) if isinstance(inside, ast.Tuple) else [inside]


def _resolve(node: ast.expr, namespace: Mapping[str, object]) -> object | None:
    """What a dotted name stands for in the user's module; None if nothing. Modules are looked into, not run."""
    import builtins

    match node:
        case ast.Name(id=name):
            return namespace.get(name, getattr(builtins, name, None))
        case ast.Attribute(value=value, attr=attribute):
            owner = _resolve(value, namespace)
            return None if owner is None else getattr(owner, attribute, None)
    return None
