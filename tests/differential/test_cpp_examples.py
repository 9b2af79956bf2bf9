"""The examples through the C++ backend, in processes of their own: against the oracle, and under the sanitizers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ssmc.backends.cpp import toolchain

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(p.stem for p in (ROOT / "examples").glob("*.ssm"))
GROUPS = [NAMES[i::6] for i in range(6)]
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -O1 -g1"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here"),
]


def run(names: list[str], *options: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.differential.cpp_examples", *names, *options],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-4000:]}"
    assert [line.split()[0] for line in done.stdout.splitlines()] == names


def sanitizer_libraries() -> str | None:
    """What must be loaded before Python for a sanitized library to be loaded into it; None where there is none."""
    command = toolchain.toolchain().command
    found = []
    # the C++ library too: the sanitizer looks for its functions when it starts
    for name in ("libasan.so", "libstdc++.so"):
        done = subprocess.run([*command, f"-print-file-name={name}"], capture_output=True, text=True, check=False)
        path = done.stdout.strip()
        if not os.path.isabs(path):
            return None
        found.append(path)
    return " ".join(found)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_examples_are_as_the_oracle_says(dtype: str) -> None:
    run(NAMES, "--dtype", dtype)


def test_the_gradients_of_the_examples_are_as_the_oracle_says() -> None:
    run(NAMES, "--dtype", "float64", "--gradients", "--lengths", "7", "33")


@pytest.mark.parametrize("names", GROUPS, ids=" ".join)
def test_the_examples_touch_no_memory_but_their_own(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    libraries = sanitizer_libraries()
    if libraries is None:
        pytest.skip("the compiler has no sanitizers here")
    store = tmp_path_factory.getbasetemp() / "sanitized"  # one extension for all groups
    options = {"SSMC_CACHE_DIR": str(store), "SSMC_CXXFLAGS": FLAGS, "LD_PRELOAD": libraries}
    run(
        names, "--lengths", "1", "2", "19", ASAN_OPTIONS="detect_leaks=0", UBSAN_OPTIONS="print_stacktrace=1", **options
    )
