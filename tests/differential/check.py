"""What has to hold of any spec: every legal form is the oracle, forward and backward, however the sequence is cut.

Used on generated specs; each check raises AssertionError with what differs. Double precision throughout.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

import ssmc
from ssmc.expr.arrays import TorchArrays
from ssmc.step.interp import run
from ssmc.step.printer import print_graph
from ssmc.step.reader import read_graph, same_graph
from ssmc.step.verify import verify
from tests.differential.generate import Generated, sample

FORWARD, BACKWARD = 1e-9, 1e-7  # of the largest value
BATCH = 2
SHORT = (0, 1, 2, 13)


def check_spec(spec: Generated, seed: int) -> None:
    """All of it, for one spec."""
    f = ssmc.compile(spec.text)
    verify(f.graph)
    assert same_graph(f.graph, read_graph(print_graph(f.graph))), "the step graph's text does not read back"
    checked = Check(spec, f, seed)
    forms = checked.legal_forms()
    chunks = sorted({c for form in forms for c in checked.chunks(form) if 0 < c <= 64})
    edges = sorted({c + d for c in chunks[-1:] for d in (-1, 0, 1)})
    for length in dict.fromkeys((*SHORT, *edges)):
        checked.forward(length, forms)
    for length in (2, 13, *edges[-1:]):
        checked.backward(length, forms)
    if not spec.anticausal:
        checked.in_pieces(13, 5, forms)
        checked.stepwise(6)
    checked.packed((5, 0, 1, 7), forms)


class Check:
    """One compiled spec and its arguments; a call with the same seed and length has the same ones."""

    def __init__(self, spec: Generated, compiled: Any, seed: int) -> None:
        self.spec, self.f, self.seed = spec, compiled, seed
        self.inputs = [p.name for p in spec.ports if p.role == "input"]

    # -- calling ---------------------------------------------------------------------------------------------------

    def sample(self, length: int, salt: int = 0) -> dict[str, np.ndarray]:
        params = sample(self.spec, np.random.default_rng(self.seed), BATCH, 1)
        values = sample(self.spec, np.random.default_rng([self.seed, length, salt]), BATCH, length)
        return {name: x if name in self.inputs else params[name] for name, x in values.items()}

    def split(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs = {name: x for name, x in values.items() if name in self.inputs}
        return inputs, {name: x for name, x in values.items() if name not in self.inputs}

    def oracle(
        self, values: Mapping[str, Any], state: Any = None, **options: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        inputs, params = self.split(values)
        return run(self.f.graph, inputs, params, state, sizes=self.spec.sizes, **options)

    def call(self, values: Mapping[str, Any], **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        tensors = {name: torch.as_tensor(x) for name, x in values.items()}
        result, state = self.f(**tensors, sizes=self.spec.sizes, return_state=True, **options)
        return self.named(result), state

    def named(self, result: Any) -> dict[str, Any]:
        names = [o.name for o in self.f.graph.outputs]
        return dict(zip(names, [result] if len(names) == 1 else result, strict=True))

    def legal_forms(self) -> list[str]:
        choices = self.f.plan(self.spec.sizes, BATCH, 64).choices
        legal = {form.name for choice in choices for form in choice.forms if form.legal}
        return ["recurrent", *sorted(legal - {"recurrent"})]

    def chunks(self, form: str) -> list[int]:
        return [choice.chunk for choice in self.f.plan(self.spec.sizes, BATCH, 64, form=form).choices]

    # -- what has to hold ------------------------------------------------------------------------------------------

    def forward(self, length: int, forms: Iterable[str]) -> None:
        values = self.sample(length)
        wanted, wanted_state = self.oracle(values)
        for name, x in wanted.items():
            assert np.all(np.isfinite(x)), f"the oracle's `{name}` is not finite at length {length}"
        for form in forms:
            got, state = self.call(values, form=form)
            where = f"form {form}, length {length}"
            same_values(got, wanted, f"outputs, {where}", FORWARD)
            same_values(state, wanted_state, f"state, {where}", FORWARD)

    def backward(self, length: int, forms: Iterable[str]) -> None:
        """Gradients for inputs, params and the given state, through outputs and the new state."""
        values = self.sample(length)
        _, before = self.oracle(self.sample(3, salt=1))
        rng = np.random.default_rng([self.seed, 99])
        cotangents: dict[str, torch.Tensor] = {}

        def gradients(
            outputs: Mapping[str, Any], state: Mapping[str, Any], leaves: Mapping[str, Any]
        ) -> dict[str, Any]:
            total = torch.zeros((), dtype=torch.float64)
            for name, x in {**{f"output {k}": v for k, v in outputs.items()}, **state}.items():
                if torch.is_tensor(x) and (x.is_floating_point() or x.is_complex()):
                    if name not in cotangents:
                        cotangents[name] = torch.as_tensor(rng.normal(size=(*x.shape, 2)))
                    weights = cotangents[name]
                    total = total + (x.real * weights[..., 0]).sum()
                    if x.is_complex():
                        total = total + (x.imag * weights[..., 1]).sum()
            wanted = {k: v for k, v in leaves.items() if v.requires_grad}
            if not total.requires_grad:
                return {k: torch.zeros_like(v) for k, v in wanted.items()}
            found = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
            return {k: torch.zeros_like(v) if g is None else g for (k, v), g in zip(wanted.items(), found, strict=True)}

        def leaves() -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, torch.Tensor]]:
            ours = {k: _leaf(v) for k, v in values.items()}
            given = {k: v if k == "t" else _leaf(v) for k, v in before.items()}
            every = {**ours, **{f"state {k}": v for k, v in given.items() if k != "t"}}
            return ours, given, every

        ours, given, every = leaves()
        outputs, after = self.oracle(ours, given, xp=TorchArrays())
        wanted = gradients(outputs, after, every)
        for form in forms:
            ours, given, every = leaves()
            outputs, after = self.call(ours, form=form, state=given)
            found = gradients(outputs, after, every)
            same_values(found, wanted, f"gradients, form {form}, length {length}", BACKWARD)

    def in_pieces(self, length: int, first: int, forms: Iterable[str]) -> None:
        values = self.sample(length)
        inputs, params = self.split(values)
        for form in forms:
            whole, whole_state = self.call(values, form=form)
            one, state = self.call({**{k: x[:, :first] for k, x in inputs.items()}, **params}, form=form)
            two, state = self.call({**{k: x[:, first:] for k, x in inputs.items()}, **params}, form=form, state=state)
            joined = {k: torch.cat([one[k], two[k]], 1) for k in one}
            same_values(joined, whole, f"two pieces, form {form}", FORWARD)
            same_values(state, whole_state, f"state after two pieces, form {form}", FORWARD)

    def stepwise(self, length: int) -> None:
        values = self.sample(length)
        inputs, params = self.split({k: torch.as_tensor(x) for k, x in values.items()})
        whole, whole_state = self.call(values)
        state: Any = None
        found: list[dict[str, Any]] = []
        for i in range(length):
            now = {k: x[:, i] for k, x in inputs.items()}
            result, state = self.f.step(state, **now, **params, sizes=self.spec.sizes)
            found.append(self.named(result))
        joined = {k: torch.stack([step[k] for step in found], 1) for k in whole}
        same_values(joined, whole, "step by step", FORWARD)
        same_values(state, whole_state, "state after steps", FORWARD)

    def packed(self, lengths: tuple[int, ...], forms: Iterable[str]) -> None:
        values = self.sample(sum(lengths))
        inputs, params = self.split(values)
        row = {k: x[:1] for k, x in inputs.items()}
        ends = np.cumsum((0, *lengths))
        for form in forms:
            together, _ = self.call({**row, **params}, form=form, cu_seqlens=torch.as_tensor(ends))
            apart: list[dict[str, Any]] = []
            for a, b in itertools.pairwise(ends):
                apart.append(self.call({**{k: x[:, a:b] for k, x in row.items()}, **params}, form=form)[0])
            joined = {k: torch.cat([part[k] for part in apart], 1) for k in together}
            same_values(together, joined, f"packed, form {form}", FORWARD)


def _leaf(value: Any) -> torch.Tensor:
    tensor = torch.as_tensor(value).clone()
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
        scale = max(float(np.max(np.abs(b))), 1e-3)
        error = float(np.max(np.abs(a.astype(complex) - b.astype(complex)))) / scale
        assert error <= tolerance, f"{what}: `{name}` is off by {error:.2g} of its scale"
