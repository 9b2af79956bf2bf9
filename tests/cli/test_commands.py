"""The commands, run in the process: what they print, where, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from ssmc.cli.main import COMMANDS, cli
from ssmc.cli.terminal import table

DIAGONAL = """# The smallest one.
ssm tiny
axis   N
input  x[N], a[N]
state  h[N] = 0
h = a * h + x
output y[N] = h
"""
TWO = DIAGONAL + "\nssm peak\ninput u\nstate m = -inf\nm = max(m - 1, u)\noutput y = m\n"
WRONG = "ssm wrong\naxis N\ninput x[N]\nstate h[N]\nh = a * h + x\noutput y[N] = hh\n"


def ssmc(*arguments: str | Path, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], input=stdin, prog_name="ssmc")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.ssm"
    path.write_text(DIAGONAL)
    return path


@pytest.fixture
def two(tmp_path: Path) -> Path:
    path = tmp_path / "two.ssm"
    path.write_text(TWO)
    return path


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    path = tmp_path / "wrong.ssm"
    path.write_text(WRONG)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    path = tmp_path / "data.npz"
    np.savez(path, x=generator.normal(size=(2, 9, 3)), a=generator.uniform(size=(2, 9, 3)))
    return path


def loop(data: Path, h: np.ndarray | float = 0.0) -> np.ndarray:
    """The recurrence of DIAGONAL, step by step."""
    with np.load(data) as archive:
        x, a = archive["x"], archive["a"]
    out = []
    for n in range(x.shape[1]):
        h = a[:, n] * h + x[:, n]
        out.append(h)
    return np.stack(out, axis=1)


# -- all commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = ssmc(command, "--help")
    assert done.exit_code == 0
    assert f"Example: ssmc {command}" in done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "",
        "chekc a.ssm",
        "check",
        "check --nonsense a.ssm",
        "explain",
        "explain a.ssm --size N",
        "explain a.ssm --size N=x",
        "explain a.ssm --size N=-1",
        "explain a.ssm --size N=1 --size N=2",
        "explain a.ssm --batch 0",
        "compile a.ssm",
        "compile a.ssm --backend fortran -o out",
        "run a.ssm --form best",
        "run a.ssm --dtype int8",
    ],
)
def test_wrong_usage_is_two(line: str) -> None:
    done = ssmc(*line.split())
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "Usage: ssmc" in done.stderr


@pytest.mark.parametrize("command", ["check", "explain", "run", "test", "fmt", "compile"])
def test_a_missing_file_is_one(command: str, tmp_path: Path) -> None:
    extra = ["-o", str(tmp_path / "out")] if command == "compile" else []
    done = ssmc(command, tmp_path / "gone.ssm", *extra)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "error[E001]" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["explain", "run", "test", "compile"])
def test_a_wrong_spec_is_one_and_nothing_is_written(command: str, wrong: Path, tmp_path: Path) -> None:
    extra = ["-o", str(tmp_path / "out")] if command == "compile" else []
    done = ssmc(command, wrong, *extra)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("error[") >= 2
    assert [p.name for p in tmp_path.iterdir()] == ["wrong.ssm"]


def test_an_unexpected_exception_is_told_as_a_bug(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("slot")

    monkeypatch.setattr("ssmc.cli.check.check_target", broken)
    done = ssmc("check", tiny)
    assert (done.exit_code, done.stdout) == (70, "")
    assert "this is a bug in ssmc" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in ssmc("check", tiny, "--debug").stderr
    assert "Traceback" in ssmc("--debug", "check", tiny).stderr


def test_an_interruption_is_130(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ssmc.cli.check.check_target", interrupted)
    done = ssmc("check", tiny)
    assert done.exit_code == 130
    assert done.stderr.splitlines()[-1] == "interrupted"


def test_colour_is_for_those_who_ask(wrong: Path) -> None:
    assert "\x1b[" not in ssmc("check", wrong).stderr
    assert "\x1b[" in ssmc("check", wrong, "--color", "always").stderr


def test_tables_are_aligned() -> None:
    assert table([("a", "1"), ("bbb", "22")], ("x", "n"), right=(1,)) == "x     n\n---  --\na     1\nbbb  22"


# -- check -------------------------------------------------------------------------------------------------------


def test_check_prints_a_line_a_spec(two: Path) -> None:
    done = ssmc("check", two)
    assert done.exit_code == 0
    first, second = done.stdout.splitlines()
    assert first.startswith(f"{two}:tiny  h[N]: affine, diagonal, data-dependent")
    assert second.startswith(f"{two}:peak  m: maxplus")
    assert done.stderr == ""


def test_check_of_one_spec_of_a_file(two: Path) -> None:
    assert ssmc("check", f"{two}:peak").stdout.count("\n") == 1
    done = ssmc("check", f"{two}:paek")
    assert done.exit_code == 1
    assert "did you mean `peak`" in done.stderr


def test_check_reports_everything_and_goes_on(wrong: Path, tiny: Path) -> None:
    done = ssmc("check", wrong, tiny, wrong.with_name("gone.ssm"))
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0].startswith(f"{tiny}:tiny")
    assert "`a`" in done.stderr
    assert "`hh`" in done.stderr
    assert "error[E001]" in done.stderr
    assert done.stderr.splitlines()[-1] == "3 errors in 2 of 3 files"


def test_check_reads_the_standard_input() -> None:
    assert ssmc("check", "-", stdin=DIAGONAL).stdout.startswith("<stdin>:tiny")
    done = ssmc("check", "-", stdin=b"ssm \xff")
    assert done.exit_code == 1
    assert "UTF-8" in done.stderr


def test_check_json(two: Path, wrong: Path) -> None:
    done = ssmc("check", "--json", two, wrong)
    assert (done.exit_code, done.stderr) == (1, "")
    good, bad = json.loads(done.stdout)["files"]
    assert [spec["spec"] for spec in good["specs"]] == ["tiny", "peak"]
    assert good["specs"][0]["components"][0]["algebra"] == "affine"
    assert good["diagnostics"] == []
    assert bad["specs"] == []
    assert {"code", "line", "column", "title"} <= set(bad["diagnostics"][0])


# -- fmt ---------------------------------------------------------------------------------------------------------

UNTIDY = "ssm  tiny  # one\naxis N\ninput x[N] ;state h[N]=0\nh=0.5*h+x   # decay\noutput y=h"


def test_fmt_writes_in_place_once(tmp_path: Path) -> None:
    path = tmp_path / "a.ssm"
    path.write_text(UNTIDY)
    path.chmod(0o640)
    assert ssmc("fmt", path).stdout == f"formatted {path}\n"
    formatted = path.read_text()
    assert formatted != UNTIDY
    assert "# one" in formatted
    assert "# decay" in formatted
    assert path.stat().st_mode & 0o777 == 0o640
    assert (ssmc("fmt", path).stdout, path.read_text()) == ("", formatted)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ssm"]


def test_fmt_check_and_diff_write_nothing(tmp_path: Path, tiny: Path) -> None:
    path = tmp_path / "a.ssm"
    path.write_text(UNTIDY)
    done = ssmc("fmt", "--check", path, tiny)
    assert (done.exit_code, done.stdout) == (1, f"would format {path}\n")
    assert done.stderr == "1 file of 2 would change\n"
    done = ssmc("fmt", "--diff", path)
    assert done.exit_code == 0
    assert f"--- {path}" in done.stdout
    assert "-h=0.5*h+x   # decay" in done.stdout
    assert path.read_text() == UNTIDY
    assert ssmc("fmt", "--check", tiny).exit_code == 0


def test_fmt_of_the_standard_input() -> None:
    assert ssmc("fmt", "-", stdin=DIAGONAL).stdout == DIAGONAL
    assert ssmc("fmt", "--check", "-", stdin=UNTIDY).exit_code == 1


def test_fmt_leaves_a_wrong_file_and_formats_the_others(tmp_path: Path) -> None:
    wrong, untidy = tmp_path / "wrong.ssm", tmp_path / "a.ssm"
    wrong.write_text("ssm a\nh = (1 +\n")
    untidy.write_text(UNTIDY)
    done = ssmc("fmt", wrong, untidy)
    assert done.exit_code == 1
    assert "error[" in done.stderr
    assert done.stdout == f"formatted {untidy}\n"
    assert wrong.read_text() == "ssm a\nh = (1 +\n"


def test_the_examples_are_formatted(examples_dir: Path) -> None:
    done = ssmc("fmt", "--check", *sorted(examples_dir.glob("*.ssm")))
    assert (done.exit_code, done.output) == (0, "")


# -- examples ----------------------------------------------------------------------------------------------------


def test_examples_are_listed_printed_and_copied(examples_dir: Path, tmp_path: Path) -> None:
    names = sorted(p.stem for p in examples_dir.glob("*.ssm"))
    assert [line.split()[0] for line in ssmc("examples").stdout.splitlines()[2:]] == names
    assert [e["name"] for e in json.loads(ssmc("examples", "--json").stdout)] == names
    assert ssmc("examples", "ema").stdout == (examples_dir / "ema.ssm").read_text()
    assert ssmc("examples", "-o", tmp_path / "all").exit_code == 0
    assert sorted(p.stem for p in (tmp_path / "all").iterdir()) == names


def test_examples_replace_nothing_unasked(tmp_path: Path) -> None:
    (tmp_path / "ema.ssm").write_text("mine")
    done = ssmc("examples", "gru", "ema", "-o", tmp_path)
    assert done.exit_code == 1
    assert "exists and differs" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["ema.ssm"]
    assert ssmc("examples", "gru", "ema", "-o", tmp_path, "--force").exit_code == 0
    assert ssmc("examples", "gru", "ema", "-o", tmp_path).exit_code == 0
    done = ssmc("examples", "mamab")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "did you mean `mamba`" in done.stderr


def test_every_example_says_what_it_is() -> None:
    assert [e["name"] for e in json.loads(ssmc("examples", "--json").stdout) if len(e["about"]) < 10] == []


# -- explain, compile, run, test, doctor -------------------------------------------------------------------------


def test_explain_for_a_person_and_for_a_program(tiny: Path) -> None:
    done = ssmc("explain", tiny, "--size", "N=4")
    assert done.exit_code == 0
    for word in ("affine", "diagonal", "recurrent", "scan"):
        assert word in done.stdout
    told = json.loads(ssmc("explain", tiny, "--json", "--length", "64").stdout)
    assert told["spec"] == "tiny"
    (component,) = told["components"]
    assert {"states", "algebra", "time", "structure", "forms", "chosen"} <= set(component)
    assert {"name", "legal", "reason", "flops", "bytes", "depth"} <= set(component["forms"][0])


def test_explain_of_an_unknown_pass_is_told(tiny: Path) -> None:
    done = ssmc("explain", tiny, "--after", "nonsense")
    assert done.exit_code in (1, 2)
    assert "nonsense" in done.stderr


def test_one_of_several_specs_must_be_chosen(two: Path) -> None:
    done = ssmc("explain", two)
    assert done.exit_code == 1
    assert "peak" in done.stderr
    assert ssmc("explain", f"{two}:peak").exit_code == 0


def test_compile_writes_a_module_that_needs_only_torch(tiny: Path, tmp_path: Path) -> None:
    done = ssmc("compile", tiny, "-o", tmp_path / "out", "--form", "scan")
    assert done.exit_code == 0
    files = [Path(line) for line in done.stdout.splitlines()]
    assert files
    assert sorted(tmp_path.joinpath("out").rglob("*.py")) == sorted(p for p in files if p.suffix == ".py")
    assert not any("import ssmc" in p.read_text() or "from ssmc" in p.read_text() for p in files)
    assert ssmc("compile", tiny, "-o", tmp_path / "out", "--json").exit_code == 0


def test_a_form_that_is_not_legal_is_refused_with_the_reason(tiny: Path, tmp_path: Path, data: Path) -> None:
    done = ssmc("compile", tiny, "-o", tmp_path / "out", "--form", "conv")
    assert done.exit_code == 1
    assert "conv" in done.stderr
    assert not (tmp_path / "out").exists()
    assert ssmc("run", tiny, "--input", data, "--form", "conv").exit_code == 1


@pytest.mark.parametrize("command", ["run", "compile"])
def test_only_what_works_is_offered(command: str, tiny: Path, data: Path, tmp_path: Path) -> None:
    """Every form and backend that the help lists is one that a call takes; others are wrong usage."""
    from ssmc.api import BACKENDS
    from ssmc.kernel.forms import LOWERINGS

    offered = {o.name: o.type for o in cli.get_command(click.Context(cli), command).params}  # type: ignore[union-attr]
    assert set(offered["form"].choices) == {"auto", *LOWERINGS}  # type: ignore[attr-defined]
    assert set(offered["backend"].choices) == set(BACKENDS)  # type: ignore[attr-defined]
    for option, value in (("--form", "newton"), ("--backend", "triton")):
        done = ssmc(command, tiny, "-o", tmp_path / "out.npz", option, value)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "is not" in done.stderr
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize("form", ["auto", "recurrent", "scan"])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_run_gives_the_numbers_of_the_loop(form: str, suffix: str, tiny: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / f"y{suffix}"
    done = ssmc("run", tiny, "--input", data, "--form", form, "-o", out)
    assert done.exit_code == 0, done.stderr
    arrays = load(out)
    np.testing.assert_allclose(arrays["y"], loop(data), rtol=1e-12)
    np.testing.assert_allclose(arrays["state.h"], loop(data)[:, -1], rtol=1e-12)
    assert int(arrays["state.t"]) == 9


def load(path: Path) -> dict[str, np.ndarray]:
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return dict(load_file(path))
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def test_a_run_goes_on_from_the_states_of_another(tiny: Path, data: Path, tmp_path: Path) -> None:
    whole = load(data)
    for part, steps in (("first", slice(0, 4)), ("second", slice(4, 9))):
        np.savez(tmp_path / f"{part}.npz", **{name: array[:, steps] for name, array in whole.items()})
    assert ssmc("run", tiny, "--input", tmp_path / "first.npz", "-o", tmp_path / "a.npz").exit_code == 0
    states = {name: array for name, array in load(tmp_path / "a.npz").items() if name.startswith("state.")}
    np.savez(tmp_path / "states.npz", **states)
    inputs = ["--input", tmp_path / "second.npz", "--input", tmp_path / "states.npz"]
    assert ssmc("run", tiny, *inputs, "-o", tmp_path / "b.npz").exit_code == 0
    pieces = [load(tmp_path / name)["y"] for name in ("a.npz", "b.npz")]
    np.testing.assert_allclose(np.concatenate(pieces, axis=1), loop(data), rtol=1e-12)
    assert int(load(tmp_path / "b.npz")["state.t"]) == 9


def test_run_in_another_precision(tiny: Path, data: Path, tmp_path: Path) -> None:
    assert ssmc("run", tiny, "--input", data, "--dtype", "float32", "-o", tmp_path / "y.npz").exit_code == 0
    assert load(tmp_path / "y.npz")["y"].dtype == np.float32
    done = ssmc("run", tiny, "--input", data, "--dtype", "bfloat16", "-o", tmp_path / "y.safetensors")
    assert done.exit_code == 0


def test_run_prints_what_came_out(tiny: Path, data: Path) -> None:
    done = ssmc("run", tiny, "--input", data)
    assert "(2, 9, 3)" in done.stdout
    told = json.loads(ssmc("run", tiny, "--input", data, "--json").stdout)
    assert told["out"] is None
    assert told["arrays"]["y"]["shape"] == [2, 9, 3]
    assert told["arrays"]["y"]["max"] == pytest.approx(loop(data).max())


def test_run_on_a_table_and_on_a_sound(two: Path, tmp_path: Path) -> None:
    table_file = tmp_path / "series.csv"
    table_file.write_text("day,u\n1,3\n2,0\n3,7\n4,1\n")
    done = ssmc("run", f"{two}:peak", "--input", table_file, "-o", tmp_path / "y.npz")
    assert done.exit_code == 0
    assert "`day`" in done.stderr
    assert load(tmp_path / "y.npz")["y"].tolist() == [3, 2, 7, 6]
    table_file.write_text("x_0,x_1,a_0,a_1\n1,2,0,0\n3,4,1,0.5\n")
    assert ssmc("run", f"{two}:tiny", "--input", table_file, "-o", tmp_path / "y.npz").exit_code == 0
    assert load(tmp_path / "y.npz")["y"].tolist() == [[1, 2], [4, 5]]


@pytest.mark.parametrize("missing", ["x", "a"])
def test_a_missing_input_is_told_and_nothing_is_written(missing: str, tiny: Path, data: Path, tmp_path: Path) -> None:
    arrays = load(data)
    del arrays[missing]
    np.savez(tmp_path / "part.npz", **arrays)
    done = ssmc("run", tiny, "--input", tmp_path / "part.npz", "-o", tmp_path / "y.npz")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"`{missing}`" in done.stderr
    assert not (tmp_path / "y.npz").exists()


def test_sizes_that_disagree_are_told(tiny: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((5, 3)), a=np.zeros((5, 4)))
    done = ssmc("run", tiny, "--input", tmp_path / "d.npz")
    assert done.exit_code == 1
    assert "`N`" in done.stderr
    assert "3" in done.stderr
    assert "4" in done.stderr


def test_run_of_a_spec_without_inputs(tmp_path: Path) -> None:
    spec = tmp_path / "count.ssm"
    spec.write_text("ssm count\nparam b = 2\nstate n = 0\nn = n + b\noutput y = n\n")
    assert ssmc("run", spec, "--length", "4", "-o", tmp_path / "y.npz").exit_code == 0
    assert load(tmp_path / "y.npz")["y"].tolist() == [2, 4, 6, 8]
    assert ssmc("run", spec).exit_code == 1


def test_run_refuses_a_format_before_it_runs(tiny: Path, data: Path, tmp_path: Path) -> None:
    done = ssmc("run", tiny, "--input", data, "-o", tmp_path / "y.mat")
    assert done.exit_code == 1
    assert "E904" in done.stderr


def test_the_test_command(tiny: Path) -> None:
    done = ssmc("test", tiny)
    assert done.exit_code == 0, done.output
    assert "none missed" in done.stdout
    assert "scan" in done.stdout
    told = json.loads(ssmc("test", tiny, "--json").stdout)
    assert told["ok"] is True
    assert len(told["rows"]) > 4


def test_the_test_command_ends_with_one_where_a_form_misses(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ssmc.api import Compiled
    from ssmc.runtime.selftest import Row

    rows = (Row("scan", 3, "float64", 1e-16, None, True), Row("conv", 3, "float64", 0.5, 0.1, False))
    monkeypatch.setattr(Compiled, "self_test", lambda self, **_: rows)
    done = ssmc("test", tiny)
    assert done.exit_code == 1
    assert "MISS" in done.stdout
    assert "1 missed" in done.stdout


def test_doctor_is_well_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = ssmc("doctor")
    assert done.exit_code == 0, done.stdout
    assert "none missed" in done.stdout
    told = json.loads(ssmc("doctor", "--json").stdout)
    assert told["ok"] is True
    assert {"torch", "python", "self-check"} <= {finding["name"] for finding in told["findings"]}


def test_doctor_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("no memory for the self-check")

    monkeypatch.setattr("ssmc.api.Compiled.self_test", broken)
    done = ssmc("doctor")
    assert done.exit_code == 1
    assert "PROBLEM" in done.stdout
    assert "no memory for the self-check" in done.stdout


def test_a_spec_of_several_on_the_standard_input_is_chosen_as_the_remedy_says() -> None:
    done = ssmc("explain", "-", stdin=TWO)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "E009" in done.stderr
    assert "`-- -:peak`" in done.stderr
    assert ssmc("explain", "--", "-:peak", stdin=TWO).stdout.startswith("peak ")


def test_a_program_after_a_pass_is_json_too(tiny: Path) -> None:
    told = json.loads(ssmc("explain", tiny, "--after", "lower", "--json").stdout)
    assert (told["spec"], told["after"]) == ("tiny", "lower")
    assert told["program"].startswith("kernel tiny")


def test_a_file_that_cannot_be_written_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    crooked = DIAGONAL.replace("axis   N", "axis N")
    for name in ("a.ssm", "b.ssm"):
        (tmp_path / name).write_text(crooked)
    rename = os.replace

    def refuse(source: Path, target: Path) -> None:
        if target.name == "a.ssm":
            raise PermissionError(13, "Permission denied", str(target))
        rename(source, target)

    monkeypatch.setattr("ssmc.files.os.replace", refuse)
    done = ssmc("fmt", tmp_path / "a.ssm", tmp_path / "b.ssm")
    assert done.exit_code == 1
    assert "E902" in done.stderr
    assert (tmp_path / "a.ssm").read_text() == crooked
    assert (tmp_path / "b.ssm").read_text() == DIAGONAL
    assert done.stdout == f"formatted {tmp_path / 'b.ssm'}\n"


def test_a_run_goes_on_from_the_file_of_another(tiny: Path, tmp_path: Path) -> None:
    x, a = np.arange(10.0).reshape(5, 2), np.full((5, 2), 0.5)
    for name, part in (("all", slice(None)), ("first", slice(2)), ("second", slice(2, None))):
        np.savez(tmp_path / f"{name}.npz", x=x[part], a=a[part])
        more = ["--input", tmp_path / "first_out.npz"] if name == "second" else []
        done = ssmc("run", tiny, "--input", tmp_path / f"{name}.npz", *more, "-o", tmp_path / f"{name}_out.npz")
        assert done.exit_code == 0, done.stderr
    whole, first, second = (np.load(tmp_path / f"{name}_out.npz") for name in ("all", "first", "second"))
    np.testing.assert_allclose(np.concatenate([first["y"], second["y"]]), whole["y"])
    assert second["state.t"] == whole["state.t"] == 5
    told = ssmc("run", tiny, "--input", f"y={tmp_path / 'first_out.npz'}:y")
    assert told.exit_code == 1
    assert "`--input` names `y`, which is no input, param or state" in told.stderr


def test_numbers_that_json_has_not_are_texts(tiny: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "odd.npz", x=np.array([[np.nan], [1.0]]), a=np.ones((2, 1)), **{"state.h": np.array([-np.inf])})

    def refuse(name: str) -> None:
        raise ValueError(name)

    done = ssmc("run", tiny, "--input", tmp_path / "odd.npz", "--json")
    assert json.loads(done.stdout, parse_constant=refuse)["arrays"]["y"]["max"] == "nan"


def test_formatting_goes_through_a_link(tiny: Path) -> None:
    link = tiny.with_name("link.ssm")
    link.symlink_to(tiny.name)
    tiny.write_text(tiny.read_text().replace("axis   N", "axis N"))
    assert ssmc("fmt", link).exit_code == 0
    assert link.is_symlink()
    assert tiny.read_text() == DIAGONAL


def test_one_channel_of_a_sound_is_chosen(tmp_path: Path) -> None:
    import wave

    (tmp_path / "sum.ssm").write_text("ssm sum\ninput x\nstate h\nh = h + x\noutput y = h\n")
    with wave.open(str(tmp_path / "two.wav"), "wb") as sound:
        sound.setparams((2, 2, 8000, 0, "NONE", ""))
        sound.writeframes(np.array([[8192, 1], [16384, 1], [-8192, 1]], dtype="<i2").tobytes())
    spec, sound_file = tmp_path / "sum.ssm", tmp_path / "two.wav"
    # time is not the channels, whatever their number: nothing is guessed
    done = ssmc("run", spec, "--input", sound_file)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "E916" in done.stderr
    assert f"--input x={sound_file}:KEY" in done.stderr
    done = ssmc("run", spec, "--input", f"x={sound_file}:0", "-o", tmp_path / "y.npz")
    assert done.exit_code == 0, done.stderr
    assert np.load(tmp_path / "y.npz")["y"].tolist() == [0.25, 0.75, 0.5]
    assert "E907" in ssmc("run", spec, "--input", f"x={sound_file}:2").stderr
