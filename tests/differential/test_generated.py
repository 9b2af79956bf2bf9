"""Generated specs against the oracle; `--specs 500` is the full run, and `python -m tests.differential.coverage 500`
says what those specs hold.

A failure is shrunk to a small spec that fails in the same way, printed ready to be pasted, with the choices that make
it again (`generate.remake`).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pytest

from ssmc.diagnostics import SpecError
from tests.differential.choices import shrink
from tests.differential.generate import Generated, generate, remake

SHRINK_SECONDS = 60.0


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--specs")))


def failure(spec: Generated, seed: int) -> Exception | None:
    """How a spec fails its checks."""
    from tests.differential.check import check_spec

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_spec(spec, seed)
    except Exception as error:
        return error
    return None


def same_way(one: Exception, other: Exception) -> bool:
    """Whether two failures look like one fault: the same class, and the same diagnostic or the same first words."""
    if type(one) is not type(other):
        return False
    if isinstance(one, SpecError) and isinstance(other, SpecError):
        return [d.code for d in one.diagnostics] == [d.code for d in other.diagnostics]
    return str(one).split(",")[0][:20] == str(other).split(",")[0][:20]


def test_every_form_is_the_oracle(seed: int) -> None:
    spec = generate(seed)
    error = failure(spec, seed)
    if error is None:
        return

    def fails(choices: Sequence[int]) -> Generated | None:
        candidate = remake(choices)
        found = failure(candidate, seed)
        return candidate if found is not None and same_way(found, error) else None

    small = shrink(spec, fails, SHRINK_SECONDS)
    last = failure(small, seed) or error
    pytest.fail(
        f"{type(last).__name__}: {last}\n\n{small}# seed {seed}\n\n# before shrinking:\n{spec.text}", pytrace=False
    )


def test_the_generator_makes_what_it_says() -> None:
    """Every kind of component turns up, at every rank of state, and recorded choices make the same spec again."""
    from tests.differential.components import COMPONENTS

    specs = [generate(seed) for seed in range(300)]
    assert {k for s in specs for k in s.kinds} == {c.__name__ for c in COMPONENTS}
    assert all(remake(s.choices).text == s.text for s in specs)
    text = "".join(s.text for s in specs)
    words = (
        "complex",
        "bool",
        "int",
        "reverse",
        "each",
        "prev(",
        "next(",
        "conv(",
        "transfer(",
        "past[",
        "using",
        "@",
        "·",
    )
    assert [w for w in words if w not in text] == []
    assert {len(s.sizes) for s in specs} >= {0, 1, 2, 3}


@pytest.mark.slow
def test_every_form_and_algebra_turns_up() -> None:
    """Some of what `python -m tests.differential.coverage` counts."""
    from tests.differential.coverage import table

    found = table(range(120))
    assert {"recurrent", "scan", "chunked", "conv"} <= set(found["legal form"])
    algebras = {"affine", "maxplus", "logsumexp", "boolean", "clamp", "moebius", "stabilised", "nonlinear"}
    assert algebras <= {word for name in found["algebra"] for word in name.split()}
    assert {"past", "prev", "conv", "next"} <= set(found["delay line of"])
    assert {"0", "1", "2", "3"} <= set(found["rank of a state"])
    assert {"data", "invariant", "index"} <= set(found["coefficients"])


def test_shrinking_finds_a_small_spec() -> None:
    spec = next(s for s in map(generate, range(1000)) if "tanh" in s.text and len(s.choices) > 60)

    def fails(choices: Sequence[int]) -> Generated | None:
        candidate = remake(choices)
        return candidate if "tanh" in candidate.text else None

    small = shrink(spec, fails, 20.0)
    assert "tanh" in small.text
    assert len(small.text.splitlines()) <= 8, small.text
