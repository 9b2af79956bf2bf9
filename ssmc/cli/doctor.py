"""`ssmc doctor`: what is installed, and whether ssmc works here."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass

import click

from ssmc.api import BACKENDS
from ssmc.cli.options import json_option
from ssmc.cli.terminal import plural, print_json, table, working

REQUIRED = ("torch", "numpy", "lark", "sympy", "networkx", "click", "safetensors")
OPTIONAL = ("triton",)
COMPILERS = ("g++", "clang++", "nvcc", "hipcc")

# A cascade that touches most of the way: a reset, an affine state and a max-plus one.
SELF_CHECK = """ssm selfcheck
axis   N = 3
input  x[N], a[N], r bool
state  h[N] = 0, m[N] = -1
h = where(r, 0, sigmoid(a)*h) + x
m = max(m - 1, h)
output y = m
"""


@dataclass(frozen=True)
class Finding:
    """One line of the report. `ok` is None for what is only told; False makes the command exit 1."""

    topic: str
    name: str
    value: str
    ok: bool | None = None


@click.command(
    short_help="What is installed, and a self-check.", epilog="Example: ssmc doctor --json; or ssmc doctor --calibrate"
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="Measure this machine, which takes seconds, and keep what was found; nothing else is looked at.",
)
@json_option
@click.pass_context
def doctor(ctx: click.Context, calibrate: bool, as_json: bool) -> None:
    """Print versions, compilers and accelerators, and compile and compare a small spec.

    What is known of this machine, estimates and schedules of generated C++ are made from: it is measured with
    --calibrate and never else. Exit 1 where something that ssmc needs is missing or the self-check fails.
    """
    if calibrate:
        from ssmc.runtime.calibrate import calibrate as measure

        with working("measuring this machine") as tell:
            measure(tell)
        findings = machine_findings()
    else:
        backends = [Finding("backend", name, "installed") for name in BACKENDS]
        findings = [*_versions(), *_compilers(), *_native(), *machine_findings(), *_tuned(), *_accelerators()]
        findings += backends
        findings.append(_self_check())
    healthy = all(f.ok is not False for f in findings)
    if as_json:
        print_json({"ok": healthy, "findings": [asdict(f) for f in findings]})
    else:
        mark = {True: "ok", False: "PROBLEM", None: ""}
        click.echo(table([(f.topic, f.name, f.value, mark[f.ok]) for f in findings], ("", "name", "found", "")))
    if not healthy:
        ctx.exit(1)


def _versions() -> list[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    def of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    found = [
        Finding("version", "ssmc", of("ssmc") or "not installed"),
        Finding(
            "version", "python", f"{platform.python_version()} on {platform.platform()}", sys.version_info >= (3, 10)
        ),
    ]
    found += [Finding("version", name, of(name) or "missing", of(name) is not None) for name in REQUIRED]
    found += [Finding("version", name, of(name) or "missing (optional)") for name in OPTIONAL]
    return found


def _compilers() -> list[Finding]:
    return [Finding("compiler", name, _compiler_version(name) or "not found") for name in COMPILERS]


def _compiler_version(name: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} does not run: {error}"
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    # nvcc says its release in the fourth line, the others in the first.
    release = next((line for line in lines if "release" in line), lines[0] if lines else "")
    return f"{path}: {release.strip()}"


def _native() -> list[Finding]:
    """What the backend for the CPU has to work with, and where it keeps what it compiled."""
    from ssmc.backends.cpp import cache, folders, library, toolchain
    from ssmc.diagnostics import SpecError

    topic = "c++"
    try:
        places = folders.folders()
    except SpecError as wrong:
        return [Finding(topic, "cache", wrong.diagnostics[0].title)]
    entries = cache.held(places.store)
    megabytes = sum(h.bytes for h in entries) / 1e6
    most = cache.most_bytes() / 1e6
    kept = f"{places.store}: {len(entries)} compiled, {megabytes:.1f} of {most:.0f} MB"
    found = [Finding(topic, "cache", kept)]
    if places.note:
        found.append(Finding(topic, "note", places.note))
    why = toolchain.unavailable()
    if why is not None:
        return [Finding(topic, "compiler", "; ".join((why.diagnostic().title, *why.tried))), *found]
    tools = toolchain.toolchain()
    floats = f"{tools.vector}: {tools.lanes('float')} floats, {tools.lanes('double')} doubles"
    slower = library.why_no_extension()
    return [
        Finding(topic, "compiler", f"{' '.join(tools.command)}: {tools.version}"),
        Finding(topic, "flags", " ".join(tools.all_flags())),
        Finding(topic, "vectors", floats),
        Finding(topic, "threads", "OpenMP" if tools.openmp else "one: the compiler has no OpenMP"),
        Finding(topic, "calls", f"through ctypes: {slower}" if slower else "through an extension of our own"),
        *found,
    ]


def machine_findings() -> list[Finding]:
    """The constants of this machine, and how old they are."""
    from ssmc.backends.cpp.constants import Rate, found

    topic, here = "machine", found()
    c = here.constants
    age = here.age_days
    if age is None:
        since = "defaults: `ssmc doctor --calibrate` measures this machine"
    else:
        days = "today" if age == 0 else f"{plural(age, 'day')} ago"
        since = f"measured {days}{f', {c.processor}' if c.processor else ''}: {here.file}"
    told = [Finding(topic, "constants", since)]
    if here.note:
        told.append(Finding(topic, "note", here.note))
    if c.measured and c.disturbed:
        told.append(Finding(topic, "note", "other processes were busy meanwhile: measure again when it is quiet"))

    def rate(r: Rate, unit: float, digits: int = 0) -> str:
        one, every = f"{r.one / unit:.{digits}f}", f"{r.all / unit:.{digits}f}"
        return one if c.threads == 1 else f"{one}; {c.threads} threads {every}"

    def size(x: int) -> str:
        return f"{x >> 20} MiB" if x >= 1 << 20 else f"{x >> 10} KiB"

    caches = ", ".join(f"{size(x.bytes)} {x.bandwidth / 1e9:.0f}" for x in c.caches)
    return [
        *told,
        Finding(topic, "threads of use", str(c.threads)),
        Finding(topic, "copy, GB/s", rate(c.copy, 1e9)),
        Finding(topic, "streamed, GB/s", rate(c.streamed, 1e9)),
        Finding(topic, "caches, GB/s", caches),
        Finding(topic, "GFLOP/s", rate(c.flops, 1e9)),
        Finding(topic, "10^9 exp/s", rate(c.exps, 1e9, 1)),
        Finding(topic, "µs", f"{c.call * 1e6:.1f} a call, {c.region * 1e6:.2f} a region of threads"),
    ]


def _tuned() -> list[Finding]:
    """The schedules that were tuned for this user, those for other compilers too."""
    from ssmc.backends.cpp.tuned import everything

    found = [(file, x) for file, x in everything()]
    return [Finding("tuned", file.stem, x if isinstance(x, str) else x.told()) for file, x in found]


def _accelerators() -> list[Finding]:
    cores = f"{os.cpu_count()} cores, {platform.machine()}"
    try:
        import torch
    except ImportError:
        return [Finding("device", "cpu", cores)]
    found = [Finding("device", "cpu", f"{cores}, torch uses {torch.get_num_threads()} threads")]
    for n in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(n)
        memory = properties.total_memory / 2**30
        found.append(
            Finding("device", f"gpu {n}", f"{properties.name}, {properties.major}.{properties.minor}, {memory:.0f} GiB")
        )
    if len(found) == 1:
        found.append(Finding("device", "gpu", "none that torch can use"))
    return found


def _self_check() -> Finding:
    """Compile the small spec and compare its forms with the oracle."""

    def run() -> tuple[str, bool]:
        from ssmc import api

        rows = list(api.compile(SELF_CHECK, name="selfcheck").self_test())
        missed = sum(not row.ok for row in rows)
        return f"{len(rows)} comparisons with the oracle, {missed or 'none'} missed", bool(rows) and not missed

    return _guarded("self-check", run)


def _guarded(name: str, run: Callable[[], tuple[str, bool]]) -> Finding:
    # The doctor reports what is broken, whatever it is: this is the one place that takes every exception.
    try:
        value, ok = run()
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        return Finding("ssmc", name, f"{type(error).__name__}: {first}", False)
    return Finding("ssmc", name, value, ok)
