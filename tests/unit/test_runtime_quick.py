"""Calls that go straight to a library: the same as those that go the usual way, and never one too many."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from ssmc.backends.cpp import library, toolchain
from torch import Tensor

import ssmc
from ssmc.api import Compiled
from ssmc.diagnostics import SpecError

pytestmark = pytest.mark.skipif(
    not toolchain.available() or library.extension() is None, reason="no C++ compiler, or no extension"
)

SPEC = """ssm pair
axis   N
axis   K
input  x[N], u[K], n int
param  a[N], C[K, N]
state  h[N] = 0.5, m[K] = -1
h = a*h + x
m = max(m, u) + C @ h
output y[K] = m + n
output z[N] = h + prev(x)
"""
N, K = 3, 2


@pytest.fixture(scope="module")
def compiled() -> Compiled:
    return ssmc.compile(SPEC)


@pytest.fixture
def spec(compiled: Compiled) -> Compiled:
    """The spec, that takes plain calls of one and of two sequences quickly."""
    with torch.no_grad():
        compiled(**tensors(2), **ROUTE)
        compiled.step(state_of(compiled, 2), **tensors(2, L=None), **ROUTE)
    assert compiled._quick.sequence is not None
    assert compiled._quick.step is not None
    return compiled


ROUTE = {"backend": "cpp", "form": "recurrent"}


def tensors(*batch: int, L: int | None = 4, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    torch.manual_seed(0)
    lead = (*batch, L) if L is not None else batch
    return {
        "x": torch.randn(*lead, N, dtype=dtype),
        "u": torch.randn(*lead, K, dtype=dtype),
        "n": torch.randint(-5, 5, lead),
        "a": torch.rand(N, dtype=dtype),
        "C": torch.randn(K, N, dtype=dtype),
    }


def state_of(spec: Compiled, *batch: int, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    start = spec.init_state(batch, sizes={"N": N, "K": K}, dtype=dtype)
    return {k: torch.randn_like(v) if isinstance(v, Tensor) else 7 for k, v in start.items()}


class Watch:
    """Counts the calls that go the usual way."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from ssmc.runtime import call

        self.count = 0
        bind = call.bind

        def counted(*args: Any, **named: Any) -> Any:
            self.count += 1
            return bind(*args, **named)

        monkeypatch.setattr(call, "bind", counted)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def usual(spec: Compiled, step: bool, *args: Any, **named: Any) -> Any:
    """The same call in PyTorch."""
    named = {**named, "backend": "torch"}
    return spec.step(*args, **named) if step else spec(*args, **named)


def same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, Tensor):
        assert one.dtype == other.dtype
        assert one.shape == other.shape
        torch.testing.assert_close(one, other)
    elif isinstance(one, Mapping):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for x, y in zip(one, other, strict=True):
            same(x, y)
    else:
        assert one == other


Call = Callable[[Compiled], tuple[tuple[Any, ...], dict[str, Any]]]
QUICK: dict[str, Call] = {
    "a batch": lambda s: ((), tensors(2)),
    "by place": lambda s: (tuple(tensors(2).values()), {}),
    "some by place": lambda s: (tuple(tensors(2).values())[:2], dict(list(tensors(2).items())[2:])),
    "inputs of one sequence": lambda s: ((), tensors(2) | {"n": tensors()["n"]}),
    "inputs to be broadcast": lambda s: ((), tensors(2) | {"u": tensors(1)["u"]}),
    "with a state": lambda s: ((), tensors(2) | {"state": state_of(s, 2), "return_state": True}),
    "a state for all": lambda s: ((), tensors(2) | {"state": state_of(s), "return_state": True}),
    "a state that widens": lambda s: ((), tensors() | {"state": state_of(s, 2), "return_state": True}),
    "no state, by name": lambda s: ((), tensors(2) | {"state": None, "return_state": True}),
    "views": lambda s: (
        (),
        tensors(2) | {"x": tensors(2)["x"].mT.contiguous().mT, "C": tensors()["C"].t().clone().t()},
    ),
    "the state alone": lambda s: ((), tensors(2) | {"return_state": True}),
    "expanded": lambda s: ((), tensors(2) | {"x": tensors(2)["x"][:, :1].expand(2, 4, N)}),
    "parameters": lambda s: ((), tensors(2) | {"C": torch.nn.Parameter(tensors()["C"])}),
}


@pytest.mark.parametrize("kind", QUICK)
def test_plain_calls_are_quick_and_right(spec: Compiled, watch: Watch, kind: str) -> None:
    with torch.no_grad():
        args, named = QUICK[kind](spec)
        found = spec(*args, **named, **ROUTE)
        assert watch.count == 0
        same(found, usual(spec, False, *args, **named))


STEPS: dict[str, Call] = {
    "a batch": lambda s: ((state_of(s, 2),), tensors(2, L=None)),
    "by place": lambda s: ((state_of(s, 2), *tensors(2, L=None).values()), {}),
    "a state for all": lambda s: ((state_of(s),), tensors(2, L=None)),
    "a state that widens": lambda s: ((state_of(s, 2),), tensors(L=None)),
}


@pytest.mark.parametrize("kind", STEPS)
def test_plain_steps_are_quick_and_right(spec: Compiled, watch: Watch, kind: str) -> None:
    with torch.no_grad():
        args, named = STEPS[kind](spec)
        found = spec.step(*args, **named, **ROUTE)
        assert watch.count == 0
        same(found, usual(spec, True, *args, **named))


def test_a_sequence_without_a_batch(spec: Compiled, watch: Watch) -> None:
    with torch.no_grad():
        for _ in range(2):  # the first is learnt: the plan may be another one
            same(spec(**tensors(), return_state=True, **ROUTE), usual(spec, False, **tensors(), return_state=True))
            state = state_of(spec)
            given = tensors(L=None)
            same(spec.step(state, **given, **ROUTE), usual(spec, True, state, **given))
        assert watch.count == 2 + 4
        spec(**tensors(2), **ROUTE)
        assert watch.count == 7


def changed(name: str, change: Callable[[Tensor], Any]) -> Call:
    return lambda s: ((), tensors(2) | {name: change(tensors(2)[name])})


SLOW: dict[str, Call] = {
    "two batches": lambda s: ((), tensors(2, 3)),
    "many sequences": lambda s: ((), tensors(9)),
    "many steps": lambda s: ((), tensors(2, L=70)),
    "no steps": lambda s: ((), tensors(2, L=0)),
    "double precision": lambda s: ((), tensors(2, dtype=torch.float64)),
    "half precision": lambda s: ((), tensors(2, dtype=torch.bfloat16)),
    "mixed precision": changed("a", lambda a: a.double()),
    "a list": changed("a", lambda a: a.tolist()),
    "an array": changed("a", lambda a: a.numpy()),
    "other integers": changed("n", lambda n: n.int()),
    "a negated view": changed("x", lambda x: torch.complex(x, x).conj().imag),
    "part of a state": lambda s: ((), tensors(2) | {"state": {"h": torch.ones(N)}, "return_state": True}),
    "times apart": lambda s: (
        (),
        tensors(2) | {"state": state_of(s, 2) | {"t": torch.tensor([1, 1])}, "return_state": True},
    ),
    "packed": lambda s: ((), tensors() | {"cu_seqlens": [0, 3, 4], "return_state": True}),
    "sizes by name": lambda s: ((), tensors(2) | {"sizes": {"N": N}}),
    "other sizes": lambda s: ((), tensors(2) | {"x": torch.ones(2, 4, 5), "a": torch.ones(5), "C": torch.ones(K, 5)}),
}


@pytest.mark.parametrize("kind", SLOW)
def test_other_calls_go_the_usual_way(spec: Compiled, watch: Watch, kind: str) -> None:
    with torch.no_grad():
        args, named = SLOW[kind](spec)
        found = spec(*args, **named, **ROUTE)
        assert watch.count == 1
        same(found, usual(spec, False, *args, **named))


WRONG: dict[str, Call] = {
    "a size": changed("a", lambda a: a[:2]),
    "a length": changed("u", lambda u: u[:, :3]),
    "a batch": changed("u", lambda u: torch.cat([u, u])[:3]),
    "a kind": changed("n", lambda n: n.float()),
    "a name": lambda s: ((), tensors(2) | {"v": torch.ones(2)}),
    "an entry": lambda s: ((), tensors(2) | {"state": state_of(s, 2) | {"g": torch.ones(2)}}),
    "twice": lambda s: ((tensors(2)["x"],), tensors(2)),
    "too many": lambda s: ((*tensors(2).values(), torch.ones(1)), {}),
    "left out": lambda s: ((), {k: v for k, v in tensors(2).items() if k != "C"}),
    "an output": lambda s: ((), tensors(2) | {"out": torch.ones(2, 4, K)}),
    "the state's shape": lambda s: ((), tensors(2) | {"state": state_of(s, 2) | {"h": torch.ones(2, N + 1)}}),
}


@pytest.mark.parametrize("kind", WRONG)
def test_mistakes_are_told_as_ever(spec: Compiled, kind: str) -> None:
    args, named = WRONG[kind](spec)
    with torch.no_grad(), pytest.raises(SpecError) as quick:
        spec(*args, **named, **ROUTE)
    with torch.no_grad(), pytest.raises(SpecError) as slow:
        usual(spec, False, *args, **named)
    assert str(quick.value) == str(slow.value)


def test_another_backend_or_form_is_not_taken_for_this_one(spec: Compiled, watch: Watch) -> None:
    with torch.no_grad():
        spec(**tensors(2))
        spec(**tensors(2), backend="torch", form="recurrent")
        spec(**tensors(2), backend="cpp", form="recurrent:2")
        assert watch.count == 3


def test_gradients_are_recorded(spec: Compiled, watch: Watch) -> None:
    given = tensors(2)
    assert spec(**given, **ROUTE)[0].requires_grad is False
    assert watch.count == 0
    for name in ("x", "C"):
        y, z = spec(**given | {name: given[name].clone().requires_grad_()}, backend="cpp", form="recurrent")
        assert y.requires_grad
        assert z.requires_grad
    state = state_of(spec, 2)
    state["h"].requires_grad_()
    assert spec(**given, state=state, **ROUTE)[1].requires_grad
    assert watch.count == 1  # the first, of which the others are like
    assert spec.step(state, **tensors(2, L=None), **ROUTE)[0][1].requires_grad
    assert watch.count == 2


def test_transforms_see_the_call(spec: Compiled) -> None:
    given = tensors(2)

    def loss(x: Tensor) -> Tensor:
        return spec(**given | {"x": x}, **ROUTE)[1].sum()

    torch.testing.assert_close(torch.func.grad(loss)(given["x"]), torch.func.grad(lambda x: loss(x) * 1)(given["x"]))
    with torch.autograd.forward_ad.dual_level():
        x = torch.autograd.forward_ad.make_dual(given["x"], torch.ones_like(given["x"]))
        moved = torch.autograd.forward_ad.unpack_dual(spec(**given | {"x": x}, **ROUTE)[1]).tangent
        assert moved is not None
    many = torch.stack([given["x"], 2 * given["x"]])
    ys = torch.func.vmap(lambda x: spec(**given | {"x": x}, **ROUTE)[1])(many)
    torch.testing.assert_close(ys[1], spec(**given | {"x": many[1]}, **ROUTE)[1])


def test_outputs_into_tensors_of_the_caller(spec: Compiled, watch: Watch) -> None:
    with torch.no_grad():
        given = tensors(2)
        want = spec(**given, **ROUTE)
        y, z = torch.full((2, 4, K), torch.nan), torch.full((4, 2, N), torch.nan).transpose(0, 1)
        found = spec(**given, out=(y, z), **ROUTE)
        assert watch.count == 0
        assert found[0] is y
        assert found[1] is z
        same(found, want)
        # over what is read: the usual way copies
        x = given["x"].clone()
        spec(**given | {"x": x}, out=(y, x), **ROUTE)
        assert watch.count == 1
        torch.testing.assert_close(x, want[1])


def test_arguments_are_not_written_to(spec: Compiled) -> None:
    given = tensors(2)
    state = state_of(spec, 2)
    before = {k: v.clone() for k, v in given.items()}
    entries = {k: v.clone() if isinstance(v, Tensor) else v for k, v in state.items()}
    spec(**given, state=state, **ROUTE)
    for key, value in before.items():
        assert torch.equal(given[key], value)
    same(state, entries)


LINEAR = """ssm linear
axis   D
input  x[D], u[D]
state  h[D] = 0.5
h = 0.5*h + x
output y[D] = h + prev(u)
output z[D] = u
"""


@pytest.fixture(scope="module")
def linear() -> Compiled:
    """A spec whose backward needs no state."""
    return ssmc.compile(LINEAR)


RECORDED: dict[str, Callable[[Compiled], dict[str, Any]]] = {
    "a batch": lambda s: {"x": torch.randn(2, 4, 3), "u": torch.randn(2, 4, 3)},
    "with a state": lambda s: {
        "x": torch.randn(2, 4, 3),
        "u": torch.randn(2, 4, 3),
        "state": {"h": torch.randn(2, 3), "prev.u": torch.randn(2, 1, 3), "t": 3},
        "return_state": True,
    },
    "the state alone": lambda s: {"x": torch.randn(2, 4, 3), "u": torch.randn(2, 4, 3), "return_state": True},
}


def loss_of(result: Any) -> Tensor:
    outputs, state = result if isinstance(result[1], Mapping) else (result, {})
    values = [*outputs, *(x for x in state.values() if isinstance(x, Tensor))]
    return sum((x * torch.cos(torch.arange(x.numel()).float()).reshape(x.shape)).sum() for x in values)  # type: ignore[return-value]


def leaves(given: dict[str, Any]) -> tuple[dict[str, Any], list[Tensor]]:
    """The arguments, and those of them that take gradients."""
    state = {k: v.clone().requires_grad_() if isinstance(v, Tensor) else v for k, v in given.get("state", {}).items()}
    own = {k: v.clone().requires_grad_() if isinstance(v, Tensor) else v for k, v in given.items()}
    own |= {"state": state} if state else {}
    return own, [x for x in (*own.values(), *state.values()) if isinstance(x, Tensor)]


@pytest.mark.parametrize("kind", RECORDED)
def test_calls_that_autograd_records_are_quick_too(linear: Compiled, watch: Watch, kind: str) -> None:
    torch.manual_seed(0)
    given = RECORDED[kind](linear)
    own, inputs = leaves(given)
    linear(**own, **ROUTE)
    with torch.no_grad():
        linear(**given, **ROUTE)
    before = watch.count
    for _ in range(2):  # training and evaluation in turn
        own, inputs = leaves(given)
        found = linear(**own, **ROUTE)
        with torch.no_grad():
            same(linear(**given, **ROUTE), usual(linear, False, **given))
    assert watch.count == before + 2  # PyTorch's
    wanted_own, wanted_inputs = leaves(given)
    wanted = usual(linear, False, **wanted_own)
    gradients = torch.autograd.grad(loss_of(found), inputs, create_graph=True, allow_unused=True)
    for g, w in zip(gradients, torch.autograd.grad(loss_of(wanted), wanted_inputs, allow_unused=True), strict=True):
        assert (g is None) == (w is None)
        if g is not None and w is not None:
            torch.testing.assert_close(g, w)


def test_what_autograd_records_in_part(linear: Compiled, watch: Watch) -> None:
    given = {"x": torch.randn(2, 4, 3), "u": torch.randn(2, 4, 3)}
    x = given["x"].clone().requires_grad_()
    linear(**given | {"x": x}, **ROUTE)
    linear(**given, **ROUTE)
    count = watch.count
    y, _ = linear(**given | {"x": x}, **ROUTE)
    assert y.requires_grad
    assert linear(**given, **ROUTE)[0].requires_grad is False
    assert watch.count == count
    # a batch to be broadcast, and none
    y, _ = linear(**given | {"x": x[:1]}, **ROUTE)
    torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0][1], torch.zeros(4, 3))
    y, _ = linear(x=x[0], u=given["u"][0], **ROUTE)
    for _ in range(2):
        y, _ = linear(x=x[0], u=given["u"][0], **ROUTE)
        torch.testing.assert_close(torch.autograd.grad(y.sum(), x)[0][0, -1], torch.ones(3))
    assert y.shape == (4, 3)
