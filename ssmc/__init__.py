"""ssmc: write one time step of a recurrence, get a sequence operator that trains and serves.

    f = ssmc.load("mamba.ssm")      # or ssmc.compile(text), or @ssmc.jit over a Python function
    y = f(u=u, dt=dt, …)            # differentiable, over whole sequences
    y_t, state = f.step(state, u=u_t, …)

Names are resolved when they are first used: importing the package imports neither torch nor anything large.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssmc.api import Compiled, compile, jit, load
    from ssmc.diagnostics import CompilerBug, Diagnostic, SpecError
    from ssmc.syntax.markers import Input, Param, State

_HOME = {
    "load": "ssmc.api",
    "compile": "ssmc.api",
    "jit": "ssmc.api",
    "Compiled": "ssmc.api",
    "Input": "ssmc.syntax.markers",
    "Param": "ssmc.syntax.markers",
    "State": "ssmc.syntax.markers",
    "SpecError": "ssmc.diagnostics",
    "CompilerBug": "ssmc.diagnostics",
    "Diagnostic": "ssmc.diagnostics",
}

__all__ = [
    "Compiled",
    "CompilerBug",
    "Diagnostic",
    "Input",
    "Param",
    "SpecError",
    "State",
    "compile",
    "jit",
    "load",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ssmc")
    if name not in _HOME:
        raise AttributeError(f"module 'ssmc' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
