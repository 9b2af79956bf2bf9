"""Calls that torch.compile leaves alone. Imported only while it traces: it loads the whole of torch's compiler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


@torch.compiler.disable  # type: ignore[untyped-decorator]
def a_spec_runs_outside_of_the_graph(function: Callable[..., Any], /, *args: Any, **named: Any) -> Any:
    """Run as it is: its program is generated at the call, so the graph ends before it and goes on after it.

    Where the graph must be whole, torch's error names this function and the user's line.
    """
    return function(*args, **named)
