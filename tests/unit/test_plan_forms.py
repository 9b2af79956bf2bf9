"""Legality, costs and choices of forms."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

import ssmc
from ssmc.plan.choose import choose
from ssmc.plan.costs import CHUNKS
from ssmc.plan.machines import MACHINES, machine
from ssmc.plan.nodes import FORM_NAMES, Form, Plan
from ssmc.plan.work import NOMINAL_SIZE, numbers, parts_of, symbols, work_of

HEAD = (
    "ssm s\naxis H, K, V, D\neach H\ninput x[D], g[D], q[H, K], k[H, K], v[H, V], a[H], w[H, K]\nparam p[D], W[D, D]\n"
)
SPECS = {
    "fixed": "state h[D]\nh = sigmoid(p)*h + x\noutput y = h\n",
    "gated": "state h[D]\nh = sigmoid(g)*h + x\noutput y = h\n",
    "scalar": "state S[H, K, V]\nS = sigmoid(a)*S + k*v\noutput y = q · S\n",
    "rows": "state S[H, K, V]\nS = sigmoid(w)*S + k*v\noutput y = q · S\n",
    "whole": "state S[H, K, V]\nS = sigmoid(a)*S + k*v\noutput y = tanh(S)\n",
    "peak": "state m[D]\nm = max(m - 1, x)\noutput y = m\n",
    "tanh": "state h[D]\nh = tanh(W @ h + x)\noutput y = h\n",
    "count": "input n[K] int, m[V] int\nstate S[K, V] int\nS = S + n*m\noutput y int = sum[K](n*S)\n",
    "delay": "output y = prev(x) + x\n",
}
LEGAL = {
    "fixed": ("recurrent", "scan", "conv"),
    "gated": ("recurrent", "scan"),
    "scalar": ("recurrent", "scan", "chunked"),
    "rows": ("recurrent", "scan", "chunked"),
    "whole": ("recurrent", "scan"),
    "peak": ("recurrent", "scan"),
    "count": ("recurrent", "scan"),
    "tanh": ("recurrent",),
}


@pytest.fixture(scope="module")
def analyses() -> dict[str, Any]:
    return {name: ssmc.compile(HEAD + body).analysis for name, body in SPECS.items()}


def forms_of(plan: Plan, component: int = 0) -> dict[str, Form]:
    return {f.name: f for f in plan.choices[component].forms}


@pytest.mark.parametrize("name", LEGAL)
def test_legality(name: str, analyses: dict[str, Any]) -> None:
    forms = forms_of(choose(analyses[name]))
    assert tuple(n for n in FORM_NAMES if forms[n].legal) == LEGAL[name]
    for form in forms.values():
        assert form.reason
        assert (form.cost is not None) == form.legal


@pytest.mark.parametrize(
    ("name", "form", "words"),
    [
        ("tanh", "scan", "<text>:7"),
        ("gated", "conv", "every step"),
        ("gated", "chunked", "two axes"),
        ("whole", "chunked", "used whole"),
        ("peak", "chunked", "maxplus"),
        ("rows", "conv", "every step"),
    ],
)
def test_reasons(name: str, form: str, words: str, analyses: dict[str, Any]) -> None:
    found = forms_of(choose(analyses[name]))[form]
    assert not found.legal
    assert words in found.reason


def test_a_delay_is_trivial(analyses: dict[str, Any]) -> None:
    (choice,) = choose(analyses["delay"]).choices
    assert choice.form == "recurrent"
    assert [f.name for f in choice.forms if f.legal] == ["recurrent"]
    assert choose(analyses["delay"], form="conv").choices[0].form == "recurrent"


# -- choices -------------------------------------------------------------------------------------------------------


def test_asked_for(analyses: dict[str, Any]) -> None:
    for name, forms in LEGAL.items():
        for form in forms:
            plan = choose(analyses[name], form=form)
            assert plan.choices[0].form == form
            assert plan.choices[0].chunk in CHUNKS[form]
            assert plan.key == ((form, plan.choices[0].chunk),)
            assert choose(analyses[name], form=f"{form}:8").key == ((form, 8),)
            assert choose(analyses[name], form={analyses[name].components[0].registers[0]: form}).key == plan.key


def test_a_form_goes_where_it_is_legal() -> None:
    spec = ssmc.compile(HEAD + "state h[D], c[D]\nh = sigmoid(p)*h + x\nc = tanh(c) + h\noutput y = c\n")
    plan = spec.plan(form="conv")
    assert [c.form for c in plan.choices] == ["conv", "recurrent"]
    assert "not legal here" in plan.choices[1].why
    with pytest.raises(ssmc.SpecError) as caught:
        spec.plan(form="chunked")
    (told,) = caught.value.diagnostics
    assert len(told.notes) == 2
    with pytest.raises(ssmc.SpecError, match="E802"):
        spec.plan(form={"c": "scan"})


def test_one_form_for_states_that_run_together() -> None:
    spec = ssmc.compile(HEAD + "state h[D], c[D]\nd = 2*h\nh = g*c + x\nc = g*d\noutput y = c\n")
    assert spec.plan(form={"h": "scan", "c": "scan"}).choices[0].form == "scan"
    with pytest.raises(ssmc.SpecError, match="E804"):
        spec.plan(form={"h": "scan", "c": "recurrent"})


def test_the_cheapest_is_chosen(analyses: dict[str, Any]) -> None:
    for name in LEGAL:
        for length in (1, 30, 3000):
            for target in MACHINES:
                (choice,) = choose(analyses[name], length=length, machine=target).choices
                costs = {f.name: f.cost.seconds_at for f in choice.forms if f.cost is not None}
                best = "recurrent" if MACHINES[target].stepwise else min(costs, key=costs.__getitem__)
                assert costs[choice.form] == costs[best]


def test_large_states_are_not_scanned_on_a_cpu(analyses: dict[str, Any]) -> None:
    """A scan moves the state several times for each step; it pays where starting operations costs more than that."""
    small, large = ({"D": d} for d in (16, 100_000))
    assert choose(analyses["gated"], sizes=small, length=4096).choices[0].form == "scan"
    assert choose(analyses["gated"], sizes=large, length=4096).choices[0].form == "recurrent"


def test_a_scan_takes_longer_chunks_of_smaller_states(analyses: dict[str, Any]) -> None:
    chunks = [choose(analyses["gated"], form="scan", sizes={"D": d}, length=4096).choices[0].chunk for d in (1, 10**6)]
    assert chunks[0] > chunks[1]


def test_gradients_count(analyses: dict[str, Any]) -> None:
    forward, both = (
        {f.name: f.cost.seconds_at for f in choose(analyses["fixed"], gradients=g).choices[0].forms if f.cost}
        for g in (False, True)
    )
    assert all(both[name] > 3 * seconds for name, seconds in forward.items())


def test_flips_are_where_the_choice_changes(analyses: dict[str, Any]) -> None:
    small = {"D": 8, "H": 2, "K": 16, "V": 16}
    for name in ("fixed", "gated", "scalar"):
        flips = choose(analyses[name], formulas=True, sizes=small).choices[0].flips_at
        assert len(flips) >= 2
        assert flips[0][1] == 1
        for (before, _), (after, at) in pairwise(flips):
            assert choose(analyses[name], length=at, sizes=small).choices[0].form == after
            assert choose(analyses[name], length=at - 1, sizes=small).choices[0].form == before


def test_a_choice_asked_for_does_not_flip(analyses: dict[str, Any]) -> None:
    assert choose(analyses["fixed"], form="scan", formulas=True).choices[0].flips_at == ()


# -- costs -----------------------------------------------------------------------------------------------------------


def test_numbers_and_formulas_are_one(analyses: dict[str, Any]) -> None:
    """Each formula, with the sizes put in, is the number."""
    import sympy

    sizes = {"D": 6, "H": 2, "K": 8, "V": 4}
    for name, analysis in analyses.items():
        for choice in choose(analysis, sizes=sizes, batch=3, length=512, formulas=True).choices:
            for form in choice.forms:
                if form.cost is None:
                    continue
                values = {"B": 3, "L": 512, "c": form.chunk} | sizes
                for text, number in (
                    (form.cost.flops, form.cost.flops_at),
                    (form.cost.bytes, form.cost.bytes_at),
                    (form.cost.depth, form.cost.depth_at),
                ):
                    names = {n: sympy.Symbol(n, positive=True) for n in values}
                    functions = {"ceil": sympy.ceiling, "log2": lambda x: sympy.ceiling(sympy.log(x, 2))}
                    formula = sympy.parse_expr(text, local_dict=names | functions)
                    put = formula.subs({names[n]: v for n, v in values.items()})
                    assert float(put) == pytest.approx(number), (name, form.name, text)


def test_counts_of_a_step(analyses: dict[str, Any]) -> None:
    """h = a*h + x of D elements: a product and a sum; y = q . S of K by V: a product and a sum an element."""
    q, _ = numbers(analyses["gated"].graph, {"D": 10, "H": 1, "K": 1, "V": 1}, 1, 1)
    parts = parts_of(analyses["gated"], analyses["gated"].components[0])
    assert work_of(parts.core, q).flops == 20
    assert work_of(parts.core, q).ops == 2
    assert work_of(parts.core, q).moved == 60
    q, _ = numbers(analyses["scalar"].graph, {"D": 1, "H": 3, "K": 8, "V": 5}, 1, 1)
    readout = work_of(parts_of(analyses["scalar"], analyses["scalar"].components[0]).readout, q)
    assert (readout.flops, readout.dots) == (0, 2 * 3 * 8 * 5)


def test_sizes_that_nothing_fixes_are_nominal(analyses: dict[str, Any]) -> None:
    graph = ssmc.compile("ssm s\naxis P, E = 2*P, N = 4\ninput x[E], y[N]\nstate h[E]\nh = h + x\noutput z = h\n").graph
    q, opened = numbers(graph, {}, 1, 1)
    assert (opened, q.axes) == (("P",), {"P": NOMINAL_SIZE, "E": 2 * NOMINAL_SIZE, "N": 4})
    q, opened = numbers(graph, {"E": 6, "P": 3}, 1, 1)
    assert (opened, q.axes["E"]) == ((), 6)
    assert str(symbols(graph).axes["E"]) == "2*P"


def test_axes_called_like_batch_and_length() -> None:
    spec = ssmc.compile("ssm s\naxis B, L\ninput x[B, L]\nstate h[B, L]\nh = 0.5*h + x\noutput y = h\n")
    cost = forms_of(spec.plan())["recurrent"].cost
    assert cost is not None
    assert cost.flops == "2*B*L*batch*length"


def test_plans_for_calls_do_not_import_sympy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, ssmc; from ssmc.plan.choose import choose; "
        "f = ssmc.compile('ssm s\\ninput x\\nstate h\\nh = 0.5*h + x\\noutput y = h\\n'); choose(f.analysis); "
        "print([m for m in ('sympy', 'torch', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- machines --------------------------------------------------------------------------------------------------------


def test_targets() -> None:
    assert machine("cuda:89").name == "cuda:80"
    assert machine("cuda:70").name == "cuda:80"
    assert machine("cuda:121").name == "cuda:100"
    assert machine("hip:gfx942").name == "hip:gfx942"
    with pytest.raises(ssmc.SpecError, match="did you mean `hip:gfx942`"):
        machine("hip:gfx94")


def test_what_is_saved() -> None:
    spec = ssmc.compile(HEAD + SPECS["fixed"])
    scan = spec.plan({"D": 32}, length=1000, form="scan:128").saved
    assert "saves h where chunks of 128 steps begin: 1.02 kB" in scan  # 8 chunks of 32 numbers
    assert "first runs h again from the start" in spec.plan(form="conv").saved
    modes = (
        "ssm s\naxis D, N\neach D\ninput x[D]\nparam a[D, N], c[D, N] complex\nstate h[D, N] complex\n"
        "h = exp(-exp(a) + 1j*a)*h + x\noutput y[D] = real(c · h)\n"
    )
    stable = ssmc.compile(modes).plan()
    assert stable.choices[0].form == "conv"
    assert "with a backward h runs as recurrent" in stable.saved
    assert ssmc.compile("ssm s\ninput x\nstate h\nh = 0.5*h + x\noutput y = h\n").plan().saved == (
        "keeps the inputs: no gradient needs a state"
    )
    matrix = ssmc.compile(HEAD + SPECS["rows"])
    assert "gradient of the decay of S is a running sum" in matrix.plan({"K": 64, "V": 64}, length=4096).saved
    assert "running sum" not in matrix.plan({"K": 2, "V": 2}, length=64).saved  # too small to be chunked
    grows = ssmc.compile("ssm s\naxis T\ninput x\noutput y = sum[T](past[T](x))\n").plan().saved
    assert grows.startswith("recorded by PyTorch's autograd")


def test_a_forward_that_saves() -> None:
    """Chunks balance the boundaries' memory against the chunk's own; a length asked for, or a form's own, is kept."""
    spec = ssmc.compile("ssm s\naxis D\ninput x[D], g[D]\nstate h[D]\nh = sigmoid(g)*h + x\noutput y[D] = h\n")

    def chunk(length: int, form: str = "recurrent", resumes: int = 0) -> int:
        plan = choose(spec.analysis, form=form, sizes={"D": 64}, length=length, saves={"h"})
        assert plan.saving is not None
        assert plan.saving.registers == ("h",)
        assert [c.chunk for c in plan.choices] == [plan.saving.chunk]
        assert plan.saving.bytes == 4 * 64 * -(-length // plan.saving.chunk)
        return plan.saving.chunk

    assert 16 <= chunk(64) < chunk(4096) <= chunk(1 << 20)
    assert chunk(4096, "scan:32") == 32
    assert choose(spec.analysis, saves={"h"}).key != choose(spec.analysis).key
    assert choose(spec.analysis, form="recurrent:0", saves={"h"}).saving is None
    assert [c.chunk for c in choose(spec.analysis, resumes=48).choices] == [48]


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("decay", ["sigmoid(g)", "sigmoid(h)"])
def test_a_large_matrix_state_is_chunked_whichever_side_decays(decay: str, gradients: bool) -> None:
    """The products of a chunk are worth it from some size on; below it starting them costs more than the steps."""
    spec = ssmc.compile(
        "ssm m\naxis H, K, V\neach H\ninput q[H, K], k[H, K], v[H, V], g[H, K], h[H, V]\nstate S[H, K, V]\n"
        f"S = {decay} * S + k * v\noutput o = q · S\n"
    )
    large, small = ({"H": 4, "K": size, "V": size} for size in (64, 4))
    for length in (64, 2048):
        assert spec.plan(large, length=length, gradients=gradients).choices[0].form == "chunked"
        assert spec.plan(small, length=length, gradients=gradients).choices[0].form != "chunked"
