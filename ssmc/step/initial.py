"""The tables of initial values, in float64.

What they hold (n is the row, k the column, both from 0; matrices are those of `c' = A c + B f`):

    hippo.legs   -sqrt((2n+1)(2k+1)) below the diagonal, -(n+1) on it, 0 above;  B_n = sqrt(2n+1)
    hippo.legt   -1/2 R_n R_k, times (-1)^(n-k) above the diagonal, R_n = sqrt(2n+1);  B = R/2
    hippo.lmu    (2n+1) times -1 above the diagonal, (-1)^(n-k+1) elsewhere;  B_n = (2n+1)(-1)^n
    hippo.fout   pi times a rotation of each pair (cosine, sine) by its frequency, less B B^T;  B = (1, 0, √2, 0, √2, …)
    s4d.lin      -1/2 + i pi n
    s4d.inv      -1/2 + i (M/pi)(M/(2n+1) - 1), M = 2N
    s4d.legs     the eigenvalues of hippo.legs + P P^T (M = 2N rows, P_n = sqrt(n + 1/2)) with a positive imaginary
                 part, ascending; their real parts are -1/2
    s4d.real     -(n+1)

`s4d.*` has the N of the M eigenvalues that stand for a conjugate pair each, the one with the imaginary part >= 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ssmc.diagnostics import CompilerBug
from ssmc.expr.nodes import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

MATRICES = ("hippo.legs", "hippo.legt", "hippo.lmu", "hippo.fout")
TABLES: dict[str, Kind] = {
    **dict.fromkeys(MATRICES, "real"),
    **dict.fromkeys((f"{m}.B" for m in MATRICES), "real"),
    "s4d.lin": "complex",
    "s4d.inv": "complex",
    "s4d.legs": "complex",
    "s4d.real": "real",
}


def table(name: str, shape: Sequence[int]) -> NDArray[Any]:
    """A table of float64 or complex128: (N, N) for a matrix, else (N,)."""
    import numpy as np

    size = shape[-1]
    if len(shape) != (2 if name in MATRICES else 1) or shape[0] != size or name not in TABLES:
        raise CompilerBug(f"a table `{name}` of shape {tuple(shape)}")
    index = np.arange(size)
    match name.split("."):
        case ["hippo", matrix]:
            return _hippo(matrix, size)[0]
        case ["hippo", matrix, "B"]:
            return _hippo(matrix, size)[1]
        case ["s4d", "lin"]:
            return -0.5 + 1j * np.pi * index
        case ["s4d", "inv"]:
            return -0.5 + 1j * (2 * size / np.pi) * (2 * size / (2 * index + 1) - 1)
        case ["s4d", "legs"]:
            a, b = _hippo("legs", 2 * size)
            # b b^T / 2 is P P^T; what is left of -1/2 I is skew-symmetric, so that -i times it is Hermitian
            skew = a + np.outer(b, b) / 2 + np.eye(2 * size) / 2
            return -0.5 + 1j * np.linalg.eigvalsh(-1j * skew)[size:]
        case _:
            return -(index + 1.0)


def _hippo(name: str, size: int) -> tuple[NDArray[Any], NDArray[Any]]:
    import numpy as np

    row, col = np.arange(size)[:, None], np.arange(size)[None, :]
    alternating = np.where((row - col) % 2 == 0, 1.0, -1.0)
    root = np.sqrt(2 * np.arange(size) + 1.0)
    match name:
        case "legs":
            below = np.where(row > col, -np.outer(root, root), 0.0)
            return below - np.diag(np.arange(size) + 1.0), root
        case "legt":
            return -0.5 * np.outer(root, root) * np.where(row < col, alternating, 1.0), 0.5 * root
        case "lmu":
            scale = 2.0 * np.arange(size) + 1
            return scale[:, None] * np.where(row < col, -1.0, -alternating), scale * alternating[:, 0]
        case _:
            b = np.where(np.arange(size) % 2 == 0, math.sqrt(2), 0.0)
            b[:1] = 1
            # the cosine of frequency f stands at 2f and its sine at 2f + 1
            frequency = np.where(np.arange(size - 1) % 2 == 0, np.arange(size - 1) // 2, 0) if size else b
            rotation = np.pi * (np.diag(frequency, -1) - np.diag(frequency, 1)) if size else np.zeros((0, 0))
            return rotation - np.outer(b, b), b
