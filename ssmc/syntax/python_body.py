"""The body of a decorated function: statements, macros, equations, initial values, outputs."""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence
from dataclasses import replace

from ssmc.diagnostics import Report, did_you_mean
from ssmc.source import Span
from ssmc.syntax import errors, nodes
from ssmc.syntax import python_errors as wrong
from ssmc.syntax.builder import NotLegal
from ssmc.syntax.python_expr import ExpressionReader
from ssmc.syntax.walk import walk

RETURNED = "y"
"""The output's name where an expression is returned."""


class BodyReader:
    """Reads the body of one definition; what is wrong goes to the report, statement by statement."""

    def __init__(
        self,
        expressions: ExpressionReader,
        report: Report,
        declared: Sequence[nodes.Declaration],
        broken: Collection[str] = (),
    ) -> None:
        self.expressions = expressions
        self.report = report
        self.declared = {d.name.text: d for d in declared}
        self.broken = broken
        self.initialised: dict[str, Span] = {}
        self.assigned: set[str] = set()
        self.body: list[nodes.Statement] = []

    def read(self, definition: ast.FunctionDef | ast.AsyncFunctionDef, name: Span) -> list[nodes.Statement]:
        """Declarations, statements and outputs, in the order of a spec."""
        outputs: list[nodes.Declaration] = []
        statements = _without_docstring(definition.body)
        for i, statement in enumerate(statements):
            try:
                if isinstance(statement, ast.Return):
                    if i + 1 < len(statements):
                        what, remedy = "statements after `return`", "return once, at the end"
                        raise NotLegal(wrong.WrongReturn(self.expressions.span(statement), what, remedy))
                    outputs = self._outputs(statement)
                else:
                    self._statement(statement)
            except NotLegal as problem:
                self.report.add(problem.problem)
        if not any(isinstance(statement, ast.Return) for statement in statements):
            self.report.add(wrong.WrongReturn(name, "the function returns nothing", "end it with `return y`"))
        return [*self.declared.values(), *self.body, *outputs]

    def _statement(self, node: ast.stmt) -> None:
        span = self.expressions.span(node)
        match node:
            case ast.Assign(targets=[target], value=value):
                self._assign(target, value, span)
            case ast.Assign(targets=targets):
                what, remedy = "chained assignment", "write a statement for each name"
                raise NotLegal(wrong.NotInLanguage(self.expressions.span(targets[1]), what, remedy))
            case ast.FunctionDef():
                self._definition(node, span)
            case ast.Expr():
                what, remedy = "statement without effect", "write `name = …`"
                if type(node.value) in wrong.CONSTRUCTS:
                    what, remedy = wrong.CONSTRUCTS[type(node.value)]
                raise NotLegal(wrong.NotInLanguage(span, what, remedy))
            case _:
                word = Span(span.source, span.start, min(span.end, span.start + len(span.text.split("\n")[0])))
                entry = wrong.CONSTRUCTS.get(type(node), ("such statement", "leave it out"))
                raise NotLegal(wrong.NotInLanguage(word, *entry))

    # -- assignments

    def _assign(self, target: ast.expr, value: ast.expr, span: Span) -> None:
        place = self.expressions.span(target)
        match target:
            case ast.Name(id=name):
                self.expressions.check_name(name, place)
                if isinstance(value, ast.Lambda):
                    self._macro(nodes.Identifier(name, place), None, value.args, value.body, span)
                    return
                self.assigned.add(name)
                self.body.append(nodes.Assign(nodes.Identifier(name, place), self.expressions.read(value), span))
            case ast.Subscript(value=ast.Name(id="der"), slice=inside):
                self._equation(inside, value, place, span)
            case ast.Subscript(value=ast.Name(id="init"), slice=inside):
                self._initial(inside, value, place)
            case ast.Subscript():
                what, remedy = "a part of a value", "assign the whole value at once"
                raise NotLegal(errors.LeftSide(place, what, remedy))
            case ast.Tuple() | ast.List():
                raise NotLegal(
                    wrong.NotInLanguage(place, "assignment to several names", "write a statement for each name")
                )
            case _:
                remedy = "write `name = …`, `der[h, zoh(step=dt)] = …` or `init[h] = …`"
                raise NotLegal(wrong.WrongTarget(place, f"`{place.text[:40]}` cannot be assigned", remedy))

    def _equation(self, inside: ast.expr, value: ast.expr, place: Span, span: Span) -> None:
        """`der[h, zoh(step=dt)] = right`."""
        remedy = "write `der[h, zoh(step=dt)] = …` with a state and a method"
        match inside:
            case ast.Tuple(elts=[ast.Name(id=name) as state, ast.Name(id=word) as method]):
                keywords: list[ast.keyword] = []
            case ast.Tuple(
                elts=[
                    ast.Name(id=name) as state,
                    ast.Call(func=ast.Name(id=word) as method, args=[], keywords=keywords),
                ]
            ):
                pass
            case ast.Tuple(elts=[ast.Name(), ast.Call(func=ast.Name(id=word), args=[_, *_])]):
                raise NotLegal(wrong.WrongTarget(place, "an option without a name", f"write `{word}(step=…)`"))
            case _:
                raise NotLegal(wrong.WrongTarget(place, "`der` without a state and a method", remedy))
        options = []
        for keyword in keywords:
            option = self.expressions.span(keyword)
            if keyword.arg is None:
                raise NotLegal(wrong.WrongTarget(option, "options are written one by one", remedy))
            named = nodes.Identifier(keyword.arg, Span(option.source, option.start, option.start + len(keyword.arg)))
            options.append((named, self.expressions.read(keyword.value)))
        self.assigned.add(name)
        self.body.append(
            nodes.Equation(
                nodes.Identifier(name, self.expressions.span(state)),
                self.expressions.read(value),
                nodes.Identifier(word, self.expressions.span(method)),
                tuple(options),
                span,
            )
        )

    def _initial(self, inside: ast.expr, value: ast.expr, place: Span) -> None:
        """`init[v] = e`: the initial value of a state or the default of a param.

        The declaration moves down to here if `e` reads a name of the body, which a declaration at the top would not
        have yet.
        """
        name = inside.id if isinstance(inside, ast.Name) else ""
        declaration = self.declared.get(name)
        moved = next((s for s in self.body if isinstance(s, nodes.Declaration) and s.name.text == name), None)
        if moved is not None or (declaration is not None and declaration.init is not None):
            first = self.initialised.get(name) or (declaration.init.span if declaration and declaration.init else None)
            raise NotLegal(wrong.WrongTarget(place, f"`{name}` has two initial values", "leave one out", first))
        if name in self.broken:
            return
        if declaration is None:
            near = did_you_mean(name, self.declared)
            remedy = near[0] if near else "`init[h] = …` is for a state or param of the signature"
            raise NotLegal(wrong.WrongTarget(place, f"`{place.text[:40]}` initialises no argument", remedy))
        init = self.expressions.read(value)
        self.initialised[name] = place
        declaration = replace(declaration, init=init)
        if any(isinstance(e, nodes.Name) and e.text in self.assigned for e, _ in walk(init)):
            del self.declared[name]
            self.body.append(declaration)
        else:
            self.declared[name] = declaration

    # -- macros

    def _definition(self, node: ast.FunctionDef, span: Span) -> None:
        """`def f(x): return …` is a macro; `def l2[K](x)` (Python 3.12) one over an axis."""
        head = Span(span.source, span.start, span.start + len(span.text.split("\n")[0]))
        if node.decorator_list:
            where = self.expressions.span(node.decorator_list[0])
            raise NotLegal(wrong.NotInLanguage(where, "decorators inside", "leave it out"))
        body = _without_docstring(node.body)
        if len(body) != 1 or not isinstance(body[0], ast.Return) or body[0].value is None:
            remedy = f"write `def {node.name}(…): return …` with one expression"
            raise NotLegal(wrong.NotInLanguage(head, "function with several statements", remedy))
        place = self.expressions.text.operator(span.start, node.name)
        axes = None
        parameters = getattr(node, "type_params", [])
        if parameters:
            axes = tuple(nodes.Identifier(p.name, self.expressions.span(p)) for p in parameters)
        self._macro(nodes.Identifier(node.name, place), axes, node.args, body[0].value, span)

    def _macro(
        self,
        name: nodes.Identifier,
        axes: tuple[nodes.Identifier, ...] | None,
        arguments: ast.arguments,
        body: ast.expr,
        span: Span,
    ) -> None:
        self.expressions.check_name(name.text, name.span)
        plain = [*arguments.posonlyargs, *arguments.args]
        if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.defaults:
            what, remedy = f"the arguments of `{name.text}` are not plain names", "write `f(x, y)`"
            raise NotLegal(errors.Formals(name.span, what, remedy))
        if not plain:
            remedy = f"write `{name.text} = …` for a value, or give it a formal"
            raise NotLegal(errors.Formals(name.span, "a macro has at least one formal", remedy))
        formals = []
        for argument in plain:
            where = self.expressions.span(argument)
            self.expressions.check_name(argument.arg, where)
            formals.append(
                nodes.Identifier(argument.arg, Span(where.source, where.start, where.start + len(argument.arg)))
            )
        self.body.append(nodes.Macro(name, axes, tuple(formals), self.expressions.read(body), span))

    # -- outputs

    def _outputs(self, node: ast.Return) -> list[nodes.Declaration]:
        """`return y`, `return y, z`: outputs by name. One expression is an output called `y`."""
        span = self.expressions.span(node)
        value = node.value
        if value is None:
            raise NotLegal(wrong.WrongReturn(span, "`return` without a value", "write `return y`"))
        if not isinstance(value, ast.Tuple):
            return [self._output(value, RETURNED)]
        if not value.elts:
            raise NotLegal(wrong.WrongReturn(span, "`return` without a value", "write `return y`"))
        found = []
        for item in value.elts:
            try:
                found.append(self._output(item, None))
            except NotLegal as problem:
                self.report.add(problem.problem)
        return found

    def _output(self, node: ast.expr, name: str | None) -> nodes.Declaration:
        span = self.expressions.span(node)
        if isinstance(node, ast.Name):
            self.expressions.check_name(node.id, span)
            return nodes.Declaration("output", nodes.Identifier(node.id, span), None, None, None, False, span, True)
        value = self.expressions.read(node)
        if name is None:
            remedy = "give each output a name by a statement of its own: `z = …`, then `return y, z`"
            raise NotLegal(wrong.WrongReturn(span, "one of several outputs has no name", remedy))
        taken = {d.name.text for d in (*self.declared.values(), *self.body) if isinstance(d, nodes.Declaration)}
        if name in taken | self.assigned:
            remedy = f"`{name}` is in use: name the result by a statement, then return that name"
            raise NotLegal(wrong.WrongReturn(span, "the output has no name", remedy))
        return nodes.Declaration("output", nodes.Identifier(name, span), None, None, value, False, span, True)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return body[1:]
    return body
