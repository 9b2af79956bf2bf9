"""A call of a spec in PyTorch's tracers: one operator in the graph, which finds its spec again."""

from __future__ import annotations

import gc
import io
from typing import Any

import pytest
import torch
import torch._dynamo.testing
from functorch.compile import make_boxed_func
from torch import Tensor
from torch._dynamo.backends.common import aot_autograd

import ssmc

SPEC = """
ssm traced
axis   D, W
input  x[D], g[D]
param  a[D], w[D, W]
state  h[D] = tanh(a), c[D] complex
h = sigmoid(g)*exp(-exp(a))*h + conv(x, w)
c = (0.5 + 0.3j)*c + x*prev(g)
output y = h, z[D] complex = c, n int = t
"""
D, W = 3, 2


@pytest.fixture(scope="module")
def module() -> Any:
    return ssmc.compile(SPEC).module({"D": D, "W": W}, seed=1, dtype=torch.float64)


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


class Model(torch.nn.Module):
    """Something around a spec: operations before and after, several outputs, a state."""

    def __init__(self, spec: torch.nn.Module) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, x: Tensor, g: Tensor, state: Any = None) -> tuple[Tensor, ...]:
        out, after = self.spec(torch.tanh(x), g, state=state, return_state=True)
        return out.y * 2, out.z.real, out.n, after["h"], after["c"].imag, after["conv.x"], after["t"]


def same(model: Any, *args: Any) -> None:
    """A traced model gives what the module gives, and its gradients."""
    leaves = [a for a in args if isinstance(a, Tensor)] + list(model.parameters())
    results = [run(*args) for run in (model, Model(model.spec))]
    torch.testing.assert_close(*results)
    slopes = []
    for result in results:
        total = sum(x.square().sum() for x in result if isinstance(x, Tensor) and x.is_floating_point())
        slopes.append(torch.autograd.grad(total, leaves))
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("backend", ["eager", "aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_whole(module: Any, backend: str) -> None:
    """One graph for all lengths and batches; one more where a state is given."""
    counted = torch._dynamo.testing.CompileCounterWithBackend(backend)
    model = torch.compile(Model(module), backend=counted, fullgraph=True, dynamic=True)
    for batch, length in ((4, 7), (2, 6), (4, 5)):
        same(model, drawn(batch, length, D), drawn(batch, length, D, seed=2))
    assert counted.frame_count == 1
    for length in (7, 5):
        same(model, drawn(4, length, D), drawn(4, length, D, seed=2), {"h": drawn(4, D, seed=4)})
    x, g = drawn(4, 7, D), drawn(4, 7, D, seed=2)
    _, state = module(x, g, return_state=True)
    state = {k: v.detach() if isinstance(v, Tensor) else v for k, v in state.items()}
    same(model, x, g, state)
    same(model, drawn(4, 5, D), drawn(4, 5, D, seed=2), state | {"t": 12})
    assert counted.frame_count <= 4


def test_a_compiled_backward_goes_on_from_saved_states(module: Any) -> None:
    """Two operators, one a direction: nothing is run a second time from the start."""
    keys: list[str] = []

    def look(graph: torch.fx.GraphModule, _: Any) -> Any:
        keys.extend(str(n.args[0]) for n in graph.graph.nodes if "ssmc" in str(n.target))
        return make_boxed_func(graph.forward)

    seen = aot_autograd(fw_compiler=look, bw_compiler=look)
    x, g = drawn(2, 40, D), drawn(2, 40, D, seed=2)
    same(torch.compile(Model(module), backend=seen, fullgraph=True), x, g)
    forward, backward = keys
    assert "/state/saving " in forward
    assert "/backward " in backward
    assert "/resuming " in backward
    assert forward.partition("/saving ")[2] == backward.partition("/resuming ")[2]


def test_compiled_steps(module: Any) -> None:
    """Token by token: the step's number is a number in the graph, and does not make new ones."""
    counted = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    step = torch.compile(lambda state, x, g: module.step(state, x, g), backend=counted, fullgraph=True)
    x, g = drawn(2, 6, D), drawn(2, 6, D, seed=2)
    whole, last = module(x, g, return_state=True)
    state: Any = module.init_state(2)
    ys = []
    for t in range(6):
        out, state = step(state, x[:, t], g[:, t])
        ys.append(out.y)
    torch.testing.assert_close(torch.stack(ys, 1), whole.y)
    torch.testing.assert_close(state, last)
    assert counted.frame_count <= 3
    for found, wanted in zip(*(torch.autograd.grad(s["h"].sum(), (x, g)) for s in (state, last)), strict=True):
        torch.testing.assert_close(found, wanted)


def test_compiled_mapped(module: Any) -> None:
    x, g = drawn(4, 5, D), drawn(5, D, seed=2)

    def mapped(x: Tensor) -> Tensor:
        y: Tensor = torch.func.vmap(lambda x: module(x, g).y)(x)
        return y

    torch.testing.assert_close(torch.compile(mapped, backend="aot_eager", fullgraph=True)(x), mapped(x))

    def slope(x: Tensor) -> Tensor:
        d: Tensor = torch.func.grad(lambda x: module(x, g).y.square().sum())(x)
        return d

    torch.testing.assert_close(torch.compile(slope, backend="aot_eager", fullgraph=True)(x), slope(x))


def test_packed_sequences_in_a_graph(module: Any) -> None:
    """Lengths that are numbers stay in the graph; those in a tensor end it."""
    x, g = drawn(2, 5, D), drawn(2, 5, D, seed=2)
    wanted, state = module(x, g, lengths=[2, 5], return_state=True)

    def packed(x: Tensor, lengths: Any) -> Any:
        return module(x, g, lengths=lengths, return_state=True)

    whole = torch.compile(packed, backend="aot_eager", fullgraph=True)
    out, after = whole(x, [2, 5])
    torch.testing.assert_close((tuple(out), after), (tuple(wanted), state))
    broken = torch.compile(packed, backend="aot_eager")
    torch.testing.assert_close(tuple(broken(x, torch.tensor([2, 5]))[0]), tuple(wanted))
    torch._dynamo.reset()
    with pytest.raises(Exception, match="a_spec_runs_outside_of_the_graph"):
        torch.compile(packed, backend="aot_eager", fullgraph=True)(x, torch.tensor([2, 5]))


def test_mistakes_are_told(module: Any) -> None:
    wrong = torch.compile(lambda x: module(x, x[..., :2]), backend="eager", fullgraph=True)
    with pytest.raises(Exception, match="E601"):
        wrong(drawn(2, 5, D))


@pytest.mark.parametrize("strict", [True, False])
def test_exported(module: Any, strict: bool) -> None:
    """For any batch and length; a graph of one operator of ours, saved and loaded, trained and run."""
    x, g = drawn(4, 7, D), drawn(4, 7, D, seed=2)
    free = {0: torch.export.Dim("batch", min=2), 1: torch.export.Dim("length", min=2)}
    shapes = {"x": free, "g": free}
    exported = torch.export.export(Model(module), (x, g), dynamic_shapes=shapes, strict=strict)
    calls = [n for n in exported.graph.nodes if "ssmc" in str(n.target)]
    assert [str(n.target) for n in calls] == ["ssmc.sequence.default"]
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    for model in (exported.module(), torch.export.load(file).module()):
        for batch, length in ((4, 7), (2, 5), (2, 70)):
            cut = [y.repeat(1, 10, 1)[:batch, :length].detach().requires_grad_() for y in (x, g)]
            found, wanted = model(*cut), Model(module)(*cut)
            torch.testing.assert_close(found[:6], wanted[:6])
            slopes = [torch.autograd.grad(r[0].sum() + r[3].sum(), cut) for r in (found, wanted)]
            torch.testing.assert_close(*slopes)


def test_a_graph_outlives_its_spec() -> None:
    """It finds the spec by what it says; a graph from elsewhere finds it once it has been read here."""
    from ssmc.runtime import registry

    text = "ssm outlived\naxis D\ninput x[D]\nparam a[D]\nstate h[D]\nh = sigmoid(a)*h + x\noutput y = h\n"
    spec, x, a = ssmc.compile(text), drawn(2, 4, D), drawn(D)
    wanted, key = spec(x, a, backend="torch"), spec.key
    exported = torch.export.export(_Plain(spec), (x, a), strict=False)
    del spec
    gc.collect()
    torch.testing.assert_close(exported.module()(x, a), wanted)
    assert ssmc.compile(f"{text}\n# a comment\n").key == key
    with pytest.raises(LookupError, match=r"`elsewhere`.*ssmc\.load"):
        registry.spec_of("elsewhere@0000")


def test_the_spec_of_a_trace_is_any_that_says_the_same() -> None:
    """The one that was read last may be gone: the graph's caller holds another."""
    import gc

    from ssmc.runtime import registry

    text = "ssm twice\n    axis D\n    input x[D]\n    state h[D]\n    h = 0.25*h + x\n    output y[D] = h"
    first, last = ssmc.compile(text), ssmc.compile(text)
    (key,) = [k for k in registry._KNOWN if k.startswith("twice@")]
    assert first is not last
    del last
    gc.collect()
    assert registry.spec_of(key) is first


class _Plain(torch.nn.Module):
    def __init__(self, spec: Any) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, x: Tensor, a: Tensor) -> Tensor:
        y: Tensor = self.spec(x, a, backend="torch")
        return y


@pytest.mark.parametrize("kind", ["outputs", "state"])
def test_the_operator_is_what_torch_expects(module: Any, kind: str) -> None:
    """`torch.library.opcheck`: schema, fake kernel, autograd, and all of it under AOTAutograd with dynamic shapes."""
    runner = module.compiled.runner(None, "torch")
    operator = runner.operator if kind == "outputs" else runner.with_state
    x, g = drawn(2, 5, D), drawn(2, 5, D, seed=2)
    a, w = (p.detach().clone().requires_grad_() for p in module.parameters())
    state = [module.init_state(2)[r].detach().requires_grad_() for r in operator.given]
    numbers = [2, 5, 0, *({"D": D, "W": W}[axis] for axis in operator.axes)]
    tensors = [x, g, a, w, *state]
    tensors += [c.detach().requires_grad_() for c in operator.constant_values(numbers, tensors)]
    torch.library.opcheck(torch.ops.ssmc.sequence.default, (operator.key, tensors, numbers))
