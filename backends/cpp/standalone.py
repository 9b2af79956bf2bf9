"""A program as files that stand alone: readable C++, its library, and a Python module that loads it.

    NAME.cpp   libNAME.so   NAME.py          (`lib`: Python would take NAME.so for the module itself)

The module needs torch and not ssmc. It has the functions of every generated module, for one precision, and `apply`.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ssmc.backends.cpp import alone, cache
from ssmc.backends.cpp.build import Printer, WishesAt, grows, text_of
from ssmc.backends.cpp.module import SEQUENCE, STEP, Real, Variant
from ssmc.backends.cpp.problems import NotInCpp
from ssmc.backends.cpp.signature import WRITTEN, Printed, Slot
from ssmc.backends.cpp.toolchain import Toolchain, _machine, machine, toolchain
from ssmc.backends.cpp.value import NotPrintable
from ssmc.backends.torch.printer import RESULT, dimension, initial, module_text, signature
from ssmc.backends.torch.scope import INDENT, Scope, indented, pruned, tuple_of

from ssmc.diagnostics import SpecError
from ssmc.expr import nodes as n
from ssmc.kernel import nodes as k

HELPERS = (_machine, alone._library, alone._compile, alone._given, alone._run)
IMPORTS = ("ctypes", "hashlib", "os", "platform", "shlex", "shutil", "subprocess", "sys", "tempfile")
DTYPES = {"float": ("torch.float32", "torch.complex64"), "double": ("torch.float64", "torch.complex128")}
ASSEMBLY = ("-S", "-fverbose-asm")  # the lines of the source stand in it


def library(text: str, name: str) -> bytes:
    """The library of a source, compiled for this machine. Raises SpecError."""
    return cache.compiled(text, name).library.read_bytes()


def printed_for(
    program: k.Program, printer: Printer, real: Real, sizes: Mapping[str, int], wishes: WishesAt | None = None
) -> Printed:
    """The C++ of a program. Raises SpecError where this backend has no code for it."""
    if grows(program):
        raise SpecError([NotInCpp(None, program.name, "a state holds the whole past, and grows with every step")])
    try:
        return text_of(program, printer, Variant(real, (), tuple(sorted(sizes.items())) or None), wishes=wishes)
    except NotPrintable as missing:
        raise SpecError([NotInCpp(None, program.name, str(missing))]) from missing


def assembly(text: str, name: str) -> str:
    """The machine code of a source as the compiler writes it. Raises SpecError."""
    tools = toolchain()
    flags = tuple(flag for flag in tools.flags if flag != "-shared")
    with tempfile.TemporaryDirectory(prefix="ssmc-asm-") as scratch:
        source, made = Path(scratch) / f"{name}.cpp", Path(scratch) / f"{name}.s"
        source.write_text(text, encoding="utf-8")
        cache.run_compiler(replace(tools, flags=flags), source, made, name, flags=ASSEMBLY)
        return made.read_text(encoding="utf-8", errors="replace")


def module_source(
    program: k.Program, printed: Printed, real: Real, fixed: Mapping[str, int], formatted: bool = True
) -> str:
    """The Python module that goes with a library."""
    scope = Scope(program)
    functions = [initial(scope), _function(scope, printed, fixed, timed=True)]
    if program.step:
        functions.append(_function(scope, printed, fixed, timed=False))
    helpers = [inspect.getsource(f).rstrip() for f in (*HELPERS, *((alone._fixed,) if fixed else ()))]
    constants = _constants(program.name, printed, real, toolchain())
    text = module_text(scope, functions, True, [*helpers, constants], IMPORTS)
    # what the header does not know: the helpers' imports from modules
    text = text.replace("from typing import Any\n", "from pathlib import Path\nfrom typing import Any\n", 1)
    if not formatted:
        return text
    import black

    return black.format_str(text, mode=black.Mode(line_length=110))


def _constants(name: str, printed: Printed, real: Real, tools: Toolchain) -> str:
    plain, pairs = DTYPES[real]
    files = {f"{name}.cpp": printed.text.encode("utf-8"), f"lib{name}.so": library(printed.text, name)}
    digests = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
    return "\n".join(
        [
            f"_REAL, _COMPLEX = {plain}, {pairs}",
            "_LIBRARY = _library(",
            f"{INDENT}{name!r},",
            f"{INDENT}machine={machine()!r},",
            f"{INDENT}digests={digests!r},",
            f"{INDENT}flags={list(tools.flags)!r},",
            ")",
        ]
    )


def _function(scope: Scope, printed: Printed, fixed: Mapping[str, int], timed: bool) -> list[str]:
    """`sequence` or `step`: what is made is allocated, what is given is checked, and the library is called."""
    form = printed.signature if timed else printed.signature.for_step()
    made = {slot: name for slot, name in _names(scope, form.slots).items() if slot.role in WRITTEN}
    states = {slot.entry: name for slot, name in made.items() if slot.role == "new_state"}
    outputs = tuple_of(name for slot, name in made.items() if slot.role == "output")
    body = [*scope.size_lines(), 't0 = state["t"]']
    if fixed:
        body.append(f"_fixed(sizes, {dict(fixed)!r})")
    body += [f"{name} = torch.empty({_shape(scope, slot)}, dtype={_DTYPES[slot.kind]})" for slot, name in made.items()]
    given = [_given(scope, slot) for slot in form.slots if slot.role not in WRITTEN]
    words = [*(f'sizes["{a}"]' for a in form.axes), "batch", "length" if timed else "1", "t0"]
    call = [
        "_run(",
        f"{INDENT}_LIBRARY.{SEQUENCE if timed else STEP},",
        f"{INDENT}[{', '.join([*given, *made.values()])}],",
        f"{INDENT}[{', '.join(words)}],",
        ")",
    ]
    if timed:
        kept = [f'{name}.copy_(state["{entry}"])' for entry, name in states.items()]
        body += ["if length:", *indented(call), *(["else:", *indented(kept)] if kept else [])]
    else:
        body += call
    entries = [f'"t": t0 + {"length" if timed else "1"},', *(f'"{entry}": {name},' for entry, name in states.items())]
    body += [f"return ({outputs}), {{", *indented(entries), "}"]
    lead = "sizes: dict[str, int], batch: int, " + ("length: int, " if timed else "") + "state: dict[str, Any]"
    doc = (
        "All steps: the outputs in the spec's order, and the state after the last."
        if timed
        else "One step: inputs (batch, axes…); the outputs of this step, and the state after it."
    )
    name = "sequence" if timed else "step"
    return pruned([*signature(name, scope, lead, ("input", "param"), RESULT, doc), *indented(body)])


def _names(scope: Scope, slots: tuple[Slot, ...]) -> dict[Slot, str]:
    """The variable of each slot: the buffer's name, and for a new state one that is free."""
    taken = {b.name for b in scope.program.buffers} | {scope.size(a) for a in scope.axes()}
    names = {}
    for slot in slots:
        name = slot.name
        if slot.role == "new_state":
            name = re.sub(r"\W", "_", f"new_{slot.entry}")
            while name in taken:
                name += "_"
            taken.add(name)
        names[slot] = name
    return names


def _given(scope: Scope, slot: Slot) -> str:
    """A tensor of the call, checked."""
    if slot.role == "state":
        name, code = f"state['{slot.entry}']", f'state["{slot.entry}"]'
    else:
        name = code = next(b.name for b in scope.of_role(slot.role) if b.entry == slot.entry)
    return f'_given("{name}", {code}, {_DTYPES[slot.kind]}, {_shape(scope, slot)})'


def _shape(scope: Scope, slot: Slot) -> str:
    b = k.Buffer(slot.name, slot.axes, slot.kind, "state", slot.entry, slot.depth)
    codes = ["length" if a == n.TIME else dimension(scope, b, a) for a in slot.axes]
    return f"({tuple_of(codes)})" if codes else "()"


_DTYPES = {"bool": "torch.bool", "int": "torch.int64", "real": "_REAL", "complex": "_COMPLEX"}
