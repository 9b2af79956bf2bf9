"""`ssmc compile --backend cpp`: the files, and what a saved module does with its library; what `doctor` says of C++."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ssmc.backends.cpp import cache, toolchain

from ssmc.cli.main import cli

pytestmark = pytest.mark.skipif(not toolchain.available(), reason="no C++ compiler here")

SPEC = """ssm leaky
axis   D
input  x[D], length int
param  leak[D] = 0.5
state  h[D] = 1
h = leak*h + x
output y[D] = h + prev(x) + length
"""


def ssmc(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="ssmc")


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spec") / "leaky.ssm"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def made(leaky: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "out"
    done = ssmc("compile", leaky, "--backend", "cpp", "--form", "recurrent", "-o", out)
    assert done.exit_code == 0, done.output
    assert [Path(line).name for line in done.stdout.splitlines()] == ["leaky.cpp", "libleaky.so", "leaky.py"]
    return out


@pytest.fixture
def saved(made: Path, tmp_path: Path) -> Path:
    """The folder of the compiled spec, to change."""
    shutil.copytree(made, tmp_path / "out")
    return tmp_path / "out"


USE = """
import sys, torch, leaky
torch.manual_seed(0)
dtype = torch.{dtype}
x, length = torch.randn(2, 3, 9, 4, dtype=dtype).transpose(1, 0), torch.randint(0, 5, (9,))
leak = torch.rand(4, dtype=dtype)
given = dict(x=x, leak=leak)
given[leaky.ARGUMENTS["length"]] = length
y, state = leaky.apply(**given, return_state=True)
h, before, want = torch.ones(3, 2, 4, dtype=dtype), torch.zeros(3, 2, 4, dtype=dtype), []
for t in range(9):
    h = leak * h + x[:, :, t]
    want.append(h + before + length[t])
    before = x[:, :, t]
torch.testing.assert_close(y, torch.stack(want, 2))
torch.testing.assert_close(state["h"], h)
assert state["t"] == 9 and y.dtype == dtype
one = dict(given, x=x[:, :, :5]) | {{k: v[:5] for k, v in given.items() if v is length}}
two = dict(given, x=x[:, :, 5:]) | {{k: v[5:] for k, v in given.items() if v is length}}
first, state = leaky.apply(**one, return_state=True)
second = leaky.apply(**two, state=state)
torch.testing.assert_close(torch.cat([first, second], 2), y)
assert not any(name.split(".")[0] == "ssmc" for name in sys.modules)
print("right")
"""


def run(folder: Path, code: str = USE, dtype: str = "float32", **environment: str) -> subprocess.CompletedProcess[str]:
    text = textwrap.dedent(code).format(dtype=dtype)
    return subprocess.run(
        [sys.executable, "-c", text],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_saved_module_needs_no_ssmc(saved: Path) -> None:
    done = run(saved)
    assert (done.stdout, done.stderr, done.returncode) == ("right\n", "", 0)


@pytest.mark.slow
def test_double_precision(leaky: Path, tmp_path: Path) -> None:
    done = ssmc("compile", leaky, "--backend", "cpp", "--dtype", "float64", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert run(tmp_path / "out", dtype="float64").stdout == "right\n"


def test_what_a_saved_module_refuses(saved: Path) -> None:
    done = run(saved, dtype="float64")
    assert "compiled for torch.float32" in done.stderr
    code = """
        import torch, leaky
        name = leaky.ARGUMENTS["length"]
        leaky.apply(**{{"x": torch.ones(3, 4), "leak": torch.ones(4, requires_grad=True), name: torch.ones(3).long()}})
    """
    assert "under torch.no_grad()" in run(saved, code).stderr


@pytest.mark.slow
@pytest.mark.parametrize("what", ["machine", "source", "library"])
def test_the_library_is_made_again_where_it_must_be(saved: Path, what: str) -> None:
    library, source, module = saved / "libleaky.so", saved / "leaky.cpp", saved / "leaky.py"
    match what:
        case "machine":
            module.write_text(module.read_text().replace(toolchain.machine(), "another 00"))
        case "source":
            source.write_text(source.read_text() + "// a remark\n")
        case "library":
            library.write_bytes(library.read_bytes()[:1000])
    first = run(saved)
    assert first.stdout == "right\n", first.stderr
    assert "compiling" in first.stderr
    assert len(list(saved.glob("libleaky-*.so"))) == 1


@pytest.mark.slow
def test_a_library_of_its_own_that_is_damaged_is_made_again(saved: Path) -> None:
    (saved / "libleaky.so").unlink()
    assert run(saved).stdout == "right\n"
    (own,) = saved.glob("libleaky-*.so")
    second = run(saved)
    assert (second.stdout, second.stderr) == ("right\n", "")
    own.write_bytes(own.read_bytes()[:1000])
    third = run(saved)
    assert third.stdout == "right\n", third.stderr
    assert own.stat().st_size > 1000


@pytest.mark.slow
def test_a_library_of_another_machine_without_its_source_is_told(saved: Path) -> None:
    module = saved / "leaky.py"
    module.write_text(module.read_text().replace(toolchain.machine(), "another 00"))
    (saved / "leaky.cpp").rename(saved / "elsewhere.cpp")
    done = run(saved)
    assert "ImportError: libleaky.so was compiled for another machine, and there is no leaky.cpp" in done.stderr
    (saved / "elsewhere.cpp").rename(saved / "leaky.cpp")
    assert "for want of a C++ compiler" in run(saved, CXX="no-such-compiler").stderr


@pytest.mark.slow
def test_sizes_that_are_given_are_fixed(leaky: Path, tmp_path: Path) -> None:
    done = ssmc("compile", leaky, "--backend", "cpp", "--size", "D=4", "-o", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert run(tmp_path / "out").stdout == "right\n"
    code = """
        import torch, leaky
        name = leaky.ARGUMENTS["length"]
        leaky.apply(**{{"x": torch.ones(3, 5), "leak": torch.ones(5), name: torch.ones(3).long()}})
    """
    assert "compiled for D = 4, not 5" in run(tmp_path / "out", code).stderr


def test_one_text_is_shown(leaky: Path, tmp_path: Path) -> None:
    assert "ssmc_sequence" in ssmc("compile", leaky, "--backend", "cpp", "--emit", "cpp").stdout
    assembly = ssmc("compile", leaky, "--backend", "cpp", "--emit", "asm").stdout
    assert "ssmc_step:" in assembly
    assert "\n\tret" in assembly
    done = ssmc("compile", leaky, "--backend", "cpp", "--emit", "asm,cpp", "-o", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["leaky.cpp", "leaky.s"]
    assert done.stdout.splitlines() == [str(tmp_path / "out" / name) for name in ("leaky.s", "leaky.cpp")]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--emit", "asm"),
        ("--dtype", "float64", "-o", "out"),
        ("--backend", "cpp"),
        ("--backend", "cpp", "--emit", "lib"),
        ("--backend", "cpp", "--emit", "cpp,asm"),
        ("--backend", "cpp", "--emit", "machine", "-o", "out"),
        (),
    ],
    ids=" ".join,
)
def test_wrong_usage(leaky: Path, wrong: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ssmc("compile", leaky, *wrong).exit_code == 2
    assert not (tmp_path / "out").exists()


def test_without_a_compiler_nothing_is_written(leaky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    done = ssmc("compile", leaky, "--backend", "cpp", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "E760" in done.stderr
    assert "no-such-compiler" in done.stderr
    assert not (tmp_path / "out").exists()
    told = ssmc("doctor").stdout
    assert "`no-such-compiler` is not found" in told


def test_a_state_that_grows_is_no_cpp(tmp_path: Path) -> None:
    path = tmp_path / "all.ssm"
    path.write_text("ssm all\naxis T\ninput x\noutput y = sum[T](past[T](x))\n")
    done = ssmc("compile", path, "--backend", "cpp", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "E766" in done.stderr
    assert not (tmp_path / "out").exists()


def test_doctor_tells_the_compiler_and_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssmc.api.Compiled.self_test", lambda self, **_: ())
    monkeypatch.setenv("SSMC_CACHE_DIR", str(tmp_path))
    cache.compiled('extern "C" int f() { return 1; }', "trial")
    told = ssmc("doctor").stdout
    tools = toolchain.toolchain()
    assert tools.command[0] in told
    assert "-march" in told or "-mcpu" in told or tools.vector == "plain"
    assert f"{tmp_path}/cpp: 1 compiled" in told
