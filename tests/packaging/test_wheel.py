"""What is installed from a wheel is whole: built by way of the source archive, and used outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    wheel: Path
    bin: Path
    site: Path
    elsewhere: Path

    def run(self, *command: str | Path) -> str:
        """Run a program of the environment in an empty directory; its output. Fails where it does."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=self.elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Installed:
    """A wheel in an environment of its own. The dependencies are those of the environment that runs the tests, seen
    through a path file: that brings no editable install along, because path files found so are not read."""
    top = tmp_path_factory.mktemp("wheel")
    tree = top / "tree"
    unwanted = shutil.ignore_patterns(
        ".venv", ".git", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "demo-out"
    )
    shutil.copytree(root, tree, ignore=unwanted)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", top / "dist", tree]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (top / "dist").glob("*.whl")

    venv.create(top / "env", with_pip=False)
    python = top / "env" / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    done = subprocess.run(install, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (site,) = (top / "env" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (top / "elsewhere").mkdir()
    return Installed(wheel, top / "env" / "bin", site, top / "elsewhere")


def test_the_wheel_has_the_data_and_nothing_else(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    data = {
        "grammar/ssm.lark",
        "examples/mamba.ssm",
        "backends/cpp/support/types.hpp",
        "backends/cpp/extension/module.cpp",
        "py.typed",
    }
    assert {f"ssmc/{name}" for name in data} <= names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ssmc"}


def test_every_package_comes_from_the_wheel(installed: Installed) -> None:
    code = "import sys, importlib\nfor name in sys.argv[1:]: print(importlib.import_module(name).__file__)"
    packages = ["ssmc", "ssmc.backends.torch", "ssmc.grammar", "ssmc.examples", "ssmc.cli.main"]
    places = installed.run("python", "-c", code, *packages).split()
    assert [place for place in places if not Path(place).is_relative_to(installed.site)] == []
    assert len(places) == len(packages)


def test_the_commands_work(installed: Installed) -> None:
    assert installed.run("ssmc", "--version").startswith("ssmc ")
    copied = installed.run("ssmc", "examples", "mamba", "pulse", "-o", "specs").split()
    assert copied == ["specs/mamba.ssm", "specs/pulse.ssm"]
    lines = installed.run("ssmc", "check", *copied).splitlines()
    assert [line.split()[0] for line in lines] == ["specs/mamba.ssm:mamba", "specs/pulse.ssm:pulse"]
    (made,) = installed.run("ssmc", "compile", "specs/pulse.ssm", "-o", "out").split()
    assert (installed.elsewhere / made).stat().st_size > 0
    (installed.elsewhere / "series.csv").write_text("x\n" + "\n".join(str(n % 7) for n in range(40)) + "\n")
    assert "baseline" in installed.run("ssmc", "run", "specs/pulse.ssm", "--input", "series.csv", "-o", "y.npz")
    assert (installed.elsewhere / "y.npz").exists()
