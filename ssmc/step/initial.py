"""Tables, random draws and the defaults of params, in float64.

What the tables hold (n is the row, k the column, both from 0; matrices are those of `c' = A c + B f`):

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
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssmc.diagnostics import CompilerBug
from ssmc.expr import nodes as n
from ssmc.expr.arrays import NumpyArrays
from ssmc.expr.evaluate import Evaluator, Named, evaluate, size_of
from ssmc.expr.nodes import Kind, Node, postorder
from ssmc.step.nodes import Port, StepGraph

if TYPE_CHECKING:
    import numpy as np
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


def is_random(port: Port) -> bool:
    """Whether the default of a param draws at random: it then has no value of its own at a call."""
    return port.default is not None and any(isinstance(x, n.Draw) for x in postorder([port.default]))


def default_values(
    graph: StepGraph,
    sizes: Mapping[str, int],
    given: Mapping[str, Any] | None = None,
    generator: np.random.Generator | int | None = None,
) -> dict[str, NDArray[Any]]:
    """The defaults of the params that have one and are not `given`: name -> (axes…), in double precision.

    Defaults may read other params, `given` or themselves defaults; one that reads a param without a value is left out.
    Random defaults are drawn from `generator` (or a seed), param by param in the order of the declarations; without
    one they are left out.
    """
    return _Defaults(graph, sizes, given or {}, generator).values()


class _Defaults:
    def __init__(self, graph: StepGraph, sizes: Mapping[str, int], given: Mapping[str, Any], generator: Any) -> None:
        import numpy as np

        self.graph, self.sizes, self.xp = graph, sizes, NumpyArrays()
        self.generator = np.random.default_rng(generator) if generator is not None else None
        self.port = {p.name: p for p in graph.params}
        self.given = given
        self.made: dict[str, NDArray[Any]] = {}

    def values(self) -> dict[str, NDArray[Any]]:
        for p in self.graph.params:
            self._make(p)
        return {
            p.name: self.made[p.name] for p in self.graph.params if p.name in self.made and p.name not in self.given
        }

    def _make(self, port: Port) -> bool:
        """Put the param's value into `made`; False where it has none."""
        if port.name in self.made:
            return True
        if port.name in self.given:
            self.made[port.name] = self.xp.asarray(self.given[port.name], port.kind)
            return True
        if port.default is None or (is_random(port) and self.generator is None):
            return False
        needed = [x.name for x in postorder([port.default]) if isinstance(x, n.Param)]
        if not all(self._make(self.port[name]) for name in needed):
            return False
        (value,) = evaluate([port.default], self._leaf, self.xp, self.sizes)
        placed = Evaluator([], self.xp).align(value, port.axes)
        shape = [size_of(a, self.sizes) for a in port.axes]
        # a copy: the caller may write to it, which a broadcast array does not allow
        self.made[port.name] = self.xp.cast(self.xp.expand(placed, shape), port.kind).copy()
        return True

    def _leaf(self, node: Node) -> Named:
        shape = [size_of(a, self.sizes) for a in node.axes]
        match node:
            case n.Param(name=name):
                return Named(self.port[name].axes, self.made[name])
            case n.Table(name=name):
                return Named(node.axes, table(name, shape))
            case n.Draw(distribution=distribution, args=args):
                values = evaluate(list(args), self._leaf, self.xp, self.sizes)
                place = Evaluator([], self.xp)
                return Named(node.axes, self._draw(distribution, [place.align(v, node.axes) for v in values], shape))
            case _:
                raise CompilerBug(f"{node!r} in the default of a param")

    def _draw(self, distribution: str, args: list[Any], shape: list[int]) -> Any:
        import numpy as np

        assert self.generator is not None
        match distribution:
            case "uniform":
                low, high = args
                return low + (high - low) * self.generator.random(shape)
            case "loguniform":
                low, high = (np.log(x) for x in args)
                return np.exp(low + (high - low) * self.generator.random(shape))
            case "normal":
                return args[0] * self.generator.standard_normal(shape)
            case _:
                raise CompilerBug(f"a draw from `{distribution}`")
