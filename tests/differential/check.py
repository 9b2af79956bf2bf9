"""What has to hold of any spec: every legal form is the oracle, forward and backward, however the sequence is cut.

Used on generated specs; each check raises AssertionError with what differs. Every form runs with the chunk the planner
takes, longer than most sequences here, and with a short one, so that chunks and their edges are met.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

import ssmc
from ssmc.expr.arrays import TorchArrays
from ssmc.kernel import interp as kernel
from ssmc.kernel.lower import lower
from ssmc.step.interp import run
from ssmc.step.printer import print_graph
from ssmc.step.reader import read_graph, same_graph
from ssmc.step.sizes import solve_sizes
from ssmc.step.verify import verify
from tests.differential.generate import Generated, sample

FORWARD, BACKWARD, SINGLE = 1e-9, 1e-7, 1e-4  # of the largest value
BATCH = 2
SHORT = (0, 1, 2, 13)
CHUNK = 4
CHUNKED = 18  # more than one of the pieces that a decay with an axis is cut into
LONG = 64  # the longest planned chunk whose edges are looked at
OFTEN = 10  # they are looked at for one seed in so many


def check_spec(spec: Generated, seed: int) -> None:
    """All of it, for one spec."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)  # the precision of a call whose arguments are all integers
    try:
        _check_spec(spec, seed)
    finally:
        torch.set_default_dtype(default)


def _check_spec(spec: Generated, seed: int) -> None:
    f = ssmc.compile(spec.text)
    verify(f.graph)
    assert same_graph(f.graph, read_graph(print_graph(f.graph))), "the step graph's text does not read back"
    checked = Check(spec, f, seed)
    planned = checked.legal_forms()
    cut = {f"{form}:{_chunk(form)}": _chunk(form) for form in planned}
    forms = [*planned, *cut]
    for length in SHORT:
        checked.forward(length, planned)
    for form, chunk in cut.items():
        for length in (chunk - 1, chunk, chunk + 1, 2 * chunk + 1):
            checked.forward(length, [form])
        checked.backward(chunk + 1, [form])
    if seed % OFTEN == 0:
        for chunk in sorted({c for form in planned for c in checked.chunks(form) if 0 < c <= LONG})[-1:]:
            for length in (chunk - 1, chunk, chunk + 1):
                checked.forward(length, planned)
            checked.backward(chunk + 1, planned)
    for length in (2, 13):
        checked.backward(length, planned)
    checked.forward(3, planned, batch=0)
    checked.single(7, planned)
    checked.interpreted(CHUNK + 1, cut)
    if not spec.anticausal:
        checked.in_pieces(13, 5, forms)
        checked.stepwise(6)
    if checked.inputs:
        checked.packed((5, 0, 1, 7), forms)


def _chunk(form: str) -> int:
    return CHUNKED if form == "chunked" else CHUNK


class Check:
    """One compiled spec and its arguments; a call with the same seed and length has the same ones."""

    def __init__(self, spec: Generated, compiled: Any, seed: int) -> None:
        self.spec, self.f, self.seed = spec, compiled, seed
        self.inputs = [p.name for p in spec.ports if p.role == "input"]
        self.known: dict[tuple[int, int], tuple[dict[str, Any], dict[str, Any]]] = {}

    # -- calling ---------------------------------------------------------------------------------------------------

    def sample(self, length: int, salt: int = 0, batch: int = BATCH) -> dict[str, np.ndarray]:
        params = sample(self.spec, np.random.default_rng(self.seed), batch, 1)
        values = sample(self.spec, np.random.default_rng([self.seed, length, salt]), batch, length)
        return {name: x if name in self.inputs else params[name] for name, x in values.items()}

    def split(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs = {name: x for name, x in values.items() if name in self.inputs}
        return inputs, {name: x for name, x in values.items() if name not in self.inputs}

    def oracle(
        self, values: Mapping[str, Any], length: int, state: Any = None, **options: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs, params = self.split(values)
        return run(self.f.graph, inputs, params, state, length, sizes=self.spec.sizes, **options)

    def call(
        self, values: Mapping[str, Any], length: int, state: Any = None, **options: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Outputs and state as the oracle gives them, with a batch of one where nothing of the call has a batch."""
        tensors = {name: torch.as_tensor(x) for name, x in values.items()}
        if not self.inputs:
            options["length"] = length
        result, after = self.f(**tensors, sizes=self.spec.sizes, state=state, return_state=True, **options)
        outputs = self.named(result)
        if self.inputs or set(state or {}) - {"t"}:
            return outputs, after
        return _with_batch(outputs), _with_batch(after)

    def named(self, result: Any) -> dict[str, Any]:
        names = [o.name for o in self.f.graph.outputs]
        return dict(zip(names, [result] if len(names) == 1 else result, strict=True))

    def legal_forms(self) -> list[str]:
        choices = self.f.plan(self.spec.sizes, BATCH, LONG).choices
        legal = {form.name for choice in choices for form in choice.forms if form.legal}
        return ["recurrent", *sorted(legal - {"recurrent"})]

    def chunks(self, form: str) -> list[int]:
        return [choice.chunk for choice in self.f.plan(self.spec.sizes, BATCH, LONG, form=form).choices]

    # -- what has to hold ------------------------------------------------------------------------------------------

    def forward(self, length: int, forms: Iterable[str], batch: int = BATCH) -> None:
        values = self.sample(length, batch=batch)
        if (length, batch) not in self.known:
            self.known[length, batch] = self.oracle(values, length)
        wanted, wanted_state = self.known[length, batch]
        for name, x in wanted.items():
            assert np.all(np.isfinite(x)), f"the oracle's `{name}` is not finite at length {length}"
        for form in forms:
            got, state = self.call(values, length, form=form)
            where = f"form {form}, length {length}"
            same_values(got, wanted, f"outputs, {where}", FORWARD)
            same_values(state, wanted_state, f"state, {where}", FORWARD)

    def single(self, length: int, forms: Iterable[str]) -> None:
        """In single precision, against the oracle at the same, rounded, arguments."""
        rounded = {name: torch.as_tensor(x) for name, x in self.sample(length).items()}
        for name, x in rounded.items():
            if x.is_floating_point() or x.is_complex():
                rounded[name] = x.to(torch.complex64 if x.is_complex() else torch.float32)
        real = any(x.is_floating_point() or x.is_complex() for x in rounded.values())
        if not real:  # nothing says that the precision is single
            return
        wanted, _ = self.oracle({name: x.numpy() for name, x in rounded.items()}, length)
        for form in forms:
            got, _ = self.call(rounded, length, form=form)
            assert all(x.dtype not in (torch.float64, torch.complex128) for x in got.values()), "double precision"
            same_values(got, wanted, f"outputs in single precision, form {form}, length {length}", SINGLE)

    def interpreted(self, length: int, forms: Iterable[str]) -> None:
        """What the kernel programs mean, whatever a backend makes of them; from the middle of a sequence."""
        values = self.sample(length)
        inputs, params = self.split(values)
        _, before = self.oracle(self.sample(3, salt=1), 3)
        wanted, wanted_state = self.oracle(values, length, before)
        batch = BATCH if self.inputs else 1
        for form in forms:
            program = lower(self.f.plan(self.spec.sizes, BATCH, LONG, form=form))
            sizes = solve_sizes(program.graph, {}, self.spec.sizes)
            got, state = kernel.sequence(program, inputs, params, before, sizes, batch, length)
            same_values(got, wanted, f"outputs of the kernel program, form {form}", FORWARD)
            same_values(state, wanted_state, f"state of the kernel program, form {form}", FORWARD)

    def backward(self, length: int, forms: Iterable[str]) -> None:
        """Gradients for inputs, params and the given state, through outputs and the new state."""
        values = self.sample(length)
        _, before = self.oracle(self.sample(3, salt=1), 3)
        weights = Weights(self.seed)

        def leaves() -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, torch.Tensor]]:
            ours = {k: _leaf(v) for k, v in values.items()}
            given = {k: v if k == "t" else _leaf(v) for k, v in before.items()}
            every = {**ours, **{f"state {k}": v for k, v in given.items() if k != "t"}}
            return ours, given, every

        ours, given, every = leaves()
        outputs, after = self.oracle(ours, length, given, xp=TorchArrays())
        wanted = gradients(weights, outputs, after, every)
        for form in forms:
            ours, given, every = leaves()
            outputs, after = self.call(ours, length, given, form=form)
            found = gradients(weights, outputs, after, every)
            same_values(found, wanted, f"gradients, form {form}, length {length}", BACKWARD)

    def in_pieces(self, length: int, first: int, forms: Iterable[str]) -> None:
        values = self.sample(length)
        inputs, params = self.split(values)
        for form in forms:
            whole, whole_state = self.call(values, length, form=form)
            one, state = self.call({**{k: x[:, :first] for k, x in inputs.items()}, **params}, first, form=form)
            rest = {**{k: x[:, first:] for k, x in inputs.items()}, **params}
            two, state = self.call(rest, length - first, state, form=form)
            joined = {k: torch.cat([one[k], two[k]], 1) for k in one}
            same_values(joined, whole, f"two pieces, form {form}", FORWARD)
            same_values(state, whole_state, f"state after two pieces, form {form}", FORWARD)

    def stepwise(self, length: int) -> None:
        values = self.sample(length)
        inputs, params = self.split({k: torch.as_tensor(x) for k, x in values.items()})
        whole, whole_state = self.call(values, length)
        state: Any = None
        found: list[dict[str, Any]] = []
        for i in range(length):
            now = {k: x[:, i] for k, x in inputs.items()}
            result, state = self.f.step(state, **now, **params, sizes=self.spec.sizes)
            found.append(self.named(result))
        if not inputs:
            found, state = [_with_batch(step) for step in found], _with_batch(state)
        joined = {k: torch.stack([step[k] for step in found], 1) for k in whole}
        same_values(joined, whole, "step by step", FORWARD)
        same_values(state, whole_state, "state after steps", FORWARD)

    def packed(self, lengths: tuple[int, ...], forms: Iterable[str]) -> None:
        """Sequences end to end in one row are those sequences alone, and so are the gradients."""
        values = self.sample(sum(lengths))
        ends = np.cumsum((0, *lengths))
        weights = Weights(self.seed)
        for form in forms:
            leaves = {k: _leaf(x[:1] if k in self.inputs else x) for k, x in values.items()}
            inputs, params = self.split(leaves)
            together, _ = self.call(leaves, 0, form=form, cu_seqlens=torch.as_tensor(ends))
            apart: list[dict[str, Any]] = []
            for a, b in itertools.pairwise(ends):
                apart.append(self.call({**{k: x[:, a:b] for k, x in inputs.items()}, **params}, b - a, form=form)[0])
            joined = {k: torch.cat([part[k] for part in apart], 1) for k in together}
            same_values(together, joined, f"packed, form {form}", FORWARD)
            found, wanted = gradients(weights, together, {}, leaves), gradients(weights, joined, {}, leaves)
            same_values(found, wanted, f"gradients of packed sequences, form {form}", BACKWARD)


def _with_batch(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a call that has no batch, as those of a batch of one."""
    return {name: x.unsqueeze(0) if torch.is_tensor(x) else x for name, x in values.items()}


class Weights:
    """What each element of each output counts for in the number whose gradients are compared: drawn once by name."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 99])
        self.drawn: dict[str, torch.Tensor] = {}

    def of(self, name: str, x: torch.Tensor) -> torch.Tensor:
        if name not in self.drawn:
            self.drawn[name] = torch.as_tensor(self.rng.normal(size=(*x.shape, 2)))
        return self.drawn[name]


def gradients(
    weights: Weights, outputs: Mapping[str, Any], state: Mapping[str, Any], leaves: Mapping[str, torch.Tensor]
) -> dict[str, Any]:
    """Of the weighted sum of outputs and state, for the leaves of floating point; zero where nothing depends on one."""
    total = torch.zeros((), dtype=torch.float64)
    for name, x in {**{f"output {k}": v for k, v in outputs.items()}, **state}.items():
        if torch.is_tensor(x) and (x.is_floating_point() or x.is_complex()):
            w = weights.of(name, x)
            total = total + (x.real * w[..., 0]).sum()
            if x.is_complex():
                total = total + (x.imag * w[..., 1]).sum()
    wanted = {k: v for k, v in leaves.items() if v.requires_grad}
    if not total.requires_grad:
        return {k: torch.zeros_like(v) for k, v in wanted.items()}
    found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    return {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(wanted.items(), found, strict=True)}


def _leaf(value: Any) -> torch.Tensor:
    tensor = torch.as_tensor(value).detach().clone()
    return tensor.requires_grad_(tensor.is_floating_point() or tensor.is_complex())


def _plain(x: Any) -> np.ndarray:
    return x.detach().resolve_conj().numpy(force=True) if hasattr(x, "detach") else np.asarray(x)


def same_values(got: Mapping[str, Any], wanted: Mapping[str, Any], what: str, tolerance: float) -> None:
    """Equal names, shapes, kinds and values, to `tolerance` of the largest of each."""
    assert set(got) == set(wanted), f"{what}: {sorted(got)}, not {sorted(wanted)}"
    for name in wanted:
        a, b = _plain(got[name]), _plain(wanted[name])
        assert a.shape == b.shape, f"{what}: `{name}` has the shape {a.shape}, not {b.shape}"
        assert a.dtype.kind == b.dtype.kind, f"{what}: `{name}` is {a.dtype}, not {b.dtype}"
        if not a.size:
            continue
        unequal = a != b  # equal infinities are no error
        if not np.any(unequal):
            continue
        scale = max(float(np.max(np.abs(b[np.isfinite(b)]), initial=0.0)), 1e-3)
        error = float(np.max(np.abs(a[unequal].astype(complex) - b[unequal].astype(complex)))) / scale
        assert error <= tolerance, f"{what}: `{name}` is off by {error:.2g} of its scale"
