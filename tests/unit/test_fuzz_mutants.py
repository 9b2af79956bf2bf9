"""Mutants of the examples: whatever is typed, the compiler answers with a diagnostic, never with a traceback.

`--mutants 10000` is the full run. A failure prints the mutant whole, to be pasted into a file.
"""

from __future__ import annotations

import random
import re
import time
from pathlib import Path

import pytest

from ssmc.diagnostics import SpecError
from ssmc.source import Source

ROOT = Path(__file__).resolve().parents[2]
SHARDS = 20  # so that the workers share the work
SLOWEST = 5.0  # seconds that any one mutant may take

_TOKEN = re.compile(r"\s+|[^\W\d]\w*|\d[\d.eE]*|->|\*\*|[<>=!]=|.", re.S)
ACCIDENTS = ("delete", "swap", "duplicate", "replace", "insert", "character", "lines", "truncate", "join")
_CHARACTERS = "()[]{}'\"\\;:,.=<>!@#$%^&*+-/|~`?·⊗−×′λΔé\u0000\u200b\ufeff\t\r\n0123456789aNxj_ "


def _examples() -> dict[str, str]:
    return {p.name: p.read_text(encoding="utf-8") for p in sorted((ROOT / "examples").glob("*.ssm"))}


def mutate(text: str, pool: list[str], rng: random.Random) -> str:
    """`text` after one to three small accidents; `pool` has tokens of all examples."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        tokens = _TOKEN.findall(text)
        if not tokens:
            return text
        i, j = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        match rng.choice(ACCIDENTS):
            case "delete":
                del tokens[i : i + rng.choice((1, 1, 2, 5))]
            case "swap":
                tokens[i], tokens[j] = tokens[j], tokens[i]
            case "duplicate":
                tokens.insert(j, tokens[i])
            case "replace":
                tokens[i] = rng.choice(pool)
            case "insert":
                tokens.insert(i, f" {rng.choice(pool)} ")
            case "character":
                at = rng.randrange(len(text))
                tokens = [text[:at], rng.choice(_CHARACTERS), text[at + rng.randrange(2) :]]
            case "lines":
                lines = text.splitlines(keepends=True)
                k = rng.randrange(len(lines))
                line = lines.pop(k)
                for _ in range(rng.randrange(3)):
                    lines.insert(rng.randrange(len(lines) + 1), line)
                tokens = lines
            case "truncate":
                tokens = tokens[:i]
            case "join":
                tokens = [*tokens[:i], *(t for t in tokens[i:] if not t.isspace() or "\n" in t)]
        text = "".join(tokens)
    return text


def front_end(text: str) -> None:
    """Everything between a text and its plan. Raises `SpecError` where the text is wrong."""
    from ssmc.recurrence.analyse import analyse
    from ssmc.step.build import build
    from ssmc.step.verify import verify
    from ssmc.syntax.parser import parse

    source = Source("mutant.ssm", text)
    for spec in parse(source).specs:
        graph = build(spec, source)
        verify(graph)
        analyse(graph)


def _refused(text: str) -> bool:
    """Whether `text` is wrong, and the diagnostics can be shown."""
    try:
        front_end(text)
    except SpecError as error:
        if not error.diagnostics or not str(error).strip():
            raise AssertionError("an error that says nothing") from error
        return True
    return False


@pytest.mark.parametrize("shard", range(SHARDS))
def test_mutants_get_diagnostics(shard: int, request: pytest.FixtureRequest) -> None:
    examples = _examples()
    code = re.sub(r"#.*", "", "".join(examples.values()))
    pool = sorted({t for t in _TOKEN.findall(code) if not t.isspace()})
    refused = 0
    count = -(-request.config.getoption("--mutants") // SHARDS)
    for number in range(count):
        rng = random.Random(f"{shard}/{number}")
        name = rng.choice(list(examples))
        mutant = mutate(examples[name], pool, rng)
        started = time.perf_counter()
        try:
            refused += _refused(mutant)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise AssertionError(f"{what}\nshard {shard}, {number}, of {name}:\n{mutant}") from error
        seconds = time.perf_counter() - started
        assert seconds < SLOWEST, f"{seconds:.1f} s for shard {shard}, {number}, of {name}:\n{mutant}"
    assert 0 < refused <= count
