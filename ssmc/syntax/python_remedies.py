"""Remedies in the words of the decorator: what is said elsewhere in the language of `.ssm` files, in Python's syntax.

Only what stands in backquotes is code; titles and places are the user's own and stay.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import replace

from ssmc.diagnostics import Diagnostic

_NAME = r"[^\W\d]\w*"
_AXES = r"(?:\[(?P<axes>[^\]]*)\])?"
_MARKERS = {"input": "Input", "param": "Param", "state": "State"}


def in_python(diagnostic: Diagnostic, around: Container[str]) -> Diagnostic:
    """A diagnostic about a decorated function; `around` has the names that Python code at its place would see."""
    notes = diagnostic.notes
    name = re.fullmatch(r"no value is called `(.*)`", diagnostic.title)
    if name is not None and name[1] in around:
        notes = (*notes, "the function is read, not run: variables of the code around it are not seen")
    return replace(diagnostic, notes=tuple(map(_words, notes)), helps=tuple(map(_words, diagnostic.helps)))


def _words(text: str) -> str:
    return re.sub(r"`([^`]*)`", lambda m: f"`{_code(m[1])}`", text)


def _code(code: str) -> str:
    size = re.fullmatch(rf"axis ({_NAME}) = (\d+|…)", code)
    if size is not None:
        return f'sizes={{"{size[1]}": {size[2]}}}'
    declared = re.fullmatch(rf"axis ({_NAME})(?:, ({_NAME}) = ({_NAME}))?", code)
    if declared is not None:
        first, second, same = declared.groups()
        return f'axes="… {first}"' if second is None else f'axes="{first} {second}", sizes={{"{second}": "{same}"}}'
    each = re.fullmatch(rf"each ({_NAME})", code)
    if each is not None:
        return f'each="{each[1]}"'
    port = re.fullmatch(rf"(input|param|state) ({_NAME}){_AXES}(?P<rest> = .*)?", code)
    if port is not None:
        axes = f'["{port["axes"].replace(",", "")}"]' if port["axes"] else ""
        return f"{port[2]}: {_MARKERS[port[1]]}{axes}{port['rest'] or ''}"
    output = re.fullmatch(rf"output ({_NAME})(?P<rest> = .*)?", code)
    if output is not None:
        return f"{output[1]}{output['rest']}" if output["rest"] else f"return {output[1]}"
    # a bracket after a name holds axes: `sum[N](x)`, `x[D -> E]`
    return re.sub(rf"(?<=\w)\[((?:{_NAME}|…)[^\]\"]*)\]", lambda m: f'["{m[1].replace(",", "")}"]', code)
