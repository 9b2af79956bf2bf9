"""The table of the C++ backend: the examples, forward, backward and step, in both precisions, against the oracle.

    python -m tests.differential.cpp_table [NAME…] [--lengths 7 70] [--sizes wide] [--backend cpp]

The largest error of any output, last state or gradient, over the magnitude of what was expected (at least 1). A star
says that PyTorch ran what this backend has no code for; the programs are listed below. The exit status is 1 where an
error is above the tolerance, and above what PyTorch reaches in the same precision (`cpp_examples`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ssmc.backends.cpp import build
from ssmc.backends.cpp.module import CppModule

from ssmc.kernel import nodes as k
from tests.differential.cpp_examples import (
    AMPLIFIED,
    ERRORS,
    GRADIENT_TOLERANCE,
    NAMES,
    SIZES,
    TOLERANCE,
    Asked,
    Direction,
    largest,
)


@contextmanager
def left_to_torch() -> Iterator[list[str]]:
    """The programs that are built meanwhile and run by PyTorch, as they are found."""
    found: list[str] = []
    grows, leave = build.grows, CppModule._leave_to

    def growing(program: k.Program) -> bool:
        if grows(program):
            found.append(f"{program.name}: a state that grows")
        return grows(program)

    def leaving(module: CppModule, other: Any) -> None:
        reason = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
        found.append(f"{module.name}: {reason}" if reason else module.name)
        leave(module, other)

    build.grows, CppModule._leave_to = growing, leaving  # type: ignore[assignment, method-assign]
    try:
        yield found
    finally:
        build.grows, CppModule._leave_to = grows, leave  # type: ignore[method-assign]


def cell(name: str, direction: Direction, dtype: str, lengths: list[int], sizes: str, backend: str) -> tuple[str, bool]:
    """The error as text, and whether it is small enough."""
    errors = [ERRORS[direction](Asked.of(name, dtype, length, sizes), backend) for length in lengths]
    known = [e for e in errors if e is not None]
    if not known:
        return "-", True
    worst, limit = max(known), (GRADIENT_TOLERANCE if direction == "backward" else TOLERANCE)[dtype]
    if not worst < limit:
        limit = AMPLIFIED * largest(name, (direction,), dtype, lengths, sizes, "torch")
    return f"{worst:.1e}{'' if worst < limit else '!'}", worst < limit


def main() -> None:
    options = argparse.ArgumentParser(description="The examples against the oracle, in every direction and precision.")
    options.add_argument("names", nargs="*")
    options.add_argument("--lengths", type=int, nargs="*", default=[7, 70])
    options.add_argument("--sizes", default="wide", choices=SIZES)
    options.add_argument("--backend", default="cpp")
    asked = options.parse_args()
    columns = [(d, dtype) for d in ERRORS for dtype in TOLERANCE]
    print(f"lengths {', '.join(map(str, asked.lengths))}; sizes {asked.sizes}; backend {asked.backend}")
    print(f"{'':26}{''.join(f'{d:>20}' for d in ERRORS)}\n{'':26}{''.join(f'{dtype:>10}' for _, dtype in columns)}")
    missed, left = [], []
    for name in asked.names or NAMES:
        cells = []
        with left_to_torch() as found:
            for direction, dtype in columns:
                text, ok = cell(name, direction, dtype, asked.lengths, asked.sizes, asked.backend)
                cells.append(text)
                missed += [] if ok else [f"{name}, {direction}, {dtype}"]
        left += sorted(set(found))
        print(f"{name + ('*' if found else ''):26}{''.join(f'{c:>10}' for c in cells)}", flush=True)
    print("\nrun by PyTorch:" if left else "\nPyTorch ran nothing")
    for reason in left:
        print(f"  * {reason}")
    sys.exit(f"missed: {'; '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
