"""The commands as processes: how quick they start, what they import, and what pipes and signals do to them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SSMC = str(Path(sys.executable).with_name("ssmc"))


# As a user has it: compiled modules are kept, which the environment of the tests may forbid.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [SSMC, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)


def seconds(*arguments: str | Path, times: int = 4) -> float:
    """The processor time of a whole process, the best of some runs.

    The commands measured here neither wait nor use threads: on an idle machine this is the time a user waits, and on
    one that is busy with other tests it still says what the command costs.
    """
    took = []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run(*arguments).returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(took)


def test_check_is_quick(examples_dir: Path) -> None:
    assert seconds("check", examples_dir / "mamba.ssm") < 0.6


def test_explain_is_quick(examples_dir: Path) -> None:
    assert seconds("explain", examples_dir / "mamba.ssm", "--size", "D=1536", "--size", "N=16", "--size", "R=48") < 1.5


@pytest.mark.parametrize("command", ["check", "explain"])
def test_reading_a_spec_does_not_import_torch(command: str, examples_dir: Path) -> None:
    code = f"""
import sys
from ssmc.cli.main import cli
try:
    cli.main(["{command}", {str(examples_dir / "mamba.ssm")!r}])
except SystemExit as leave:
    assert leave.code == 0, leave.code
print("torch" in sys.modules, "triton" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1] == "False False", done.stderr


def test_python_m_is_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "ssmc", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == run("--version").stdout


def test_a_reader_that_leaves_is_no_error() -> None:
    for _ in range(3):
        done = subprocess.run(
            f"{SSMC} examples --json | head -c 10; exit ${{PIPESTATUS[0]}}",
            shell=True,
            executable="/bin/bash",
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_output_is_no_error(examples_dir: Path) -> None:
    done = subprocess.run(f"{SSMC} examples >&-", shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_output_is_told() -> None:
    done = subprocess.run(f"{SSMC} examples >/dev/full", shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "error: cannot write to the standard output: No space left on device\n",
    )


def test_a_closed_input_is_told() -> None:
    done = subprocess.run(f"{SSMC} check - <&-", shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "E901" in done.stderr


def test_interrupting_is_130_and_quiet(tmp_path: Path) -> None:
    # `-` waits for the standard input, which never comes. What runs in the background has interrupts turned off, and
    # would hand that on.
    def heeding() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    reading, writing = os.pipe()
    command = [SSMC, "check", "-"]
    with subprocess.Popen(command, stdin=reading, stderr=subprocess.PIPE, text=True, preexec_fn=heeding) as process:
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=20)
        finally:
            process.kill()
    os.close(reading)
    os.close(writing)
    assert process.returncode == 130
    assert said.split() == ["interrupted"]


def test_no_progress_in_a_pipe(examples_dir: Path) -> None:
    assert run("test", examples_dir / "ema.ssm").stderr == ""
