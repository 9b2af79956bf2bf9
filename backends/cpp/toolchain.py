"""The system's C++ compiler: which, its flags, and how wide this machine's vectors are.

Found once a machine: the answer is kept in the cache folder, under a key of everything it depends on, so that a later
process starts no compiler to learn it.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from ssmc.backends.cpp.folders import folders
from ssmc.backends.cpp.problems import NoCompiler

from ssmc.diagnostics import SpecError

Vector = Literal["avx512", "avx2", "neon", "plain"]
VECTOR_BYTES: dict[str, int] = {"avx512": 64, "avx2": 32, "neon": 16, "plain": 16}

NAMES = ("c++", "g++", "clang++")
FORMAT = "1"  # of what is kept; a new one finds nothing old
PROBE_SECONDS = 60

# -ffast-math is not among them: linked into a library it sets flush-to-zero for the whole process, and -inf is data.
BASE_FLAGS = ("-O3", "-std=c++17", "-fno-math-errno", "-ffp-contract=fast", "-fPIC", "-shared")
# What not every compiler takes: the first of a row that works is used.
ALTERNATIVES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (("-march=native",), ("-mcpu=native",), ()),
    (("-fopenmp",), ()),
)
PROBE = """
#include <cstdint>
#ifdef _OPENMP
#include <omp.h>
#endif
extern "C" std::int64_t ssmc_probe(const std::int64_t *call) {
    std::int64_t sum = 0;
#ifdef _OPENMP
    sum += omp_get_max_threads();
#endif
    typedef float lanes __attribute__((vector_size(16)));
    lanes x = {1, 2, 3, 4};
    x += static_cast<float>(call[0]);
    return sum + static_cast<std::int64_t>(x[3]);
}
"""


@dataclass(frozen=True)
class Toolchain:
    """A compiler that works, and what it makes of this machine. `command` is how it is started."""

    command: tuple[str, ...]
    version: str
    flags: tuple[str, ...]
    vector: Vector
    machine: str

    @property
    def vector_bytes(self) -> int:
        """The width of a vector register; where there is none, of what compilers split without loss."""
        return VECTOR_BYTES[self.vector]

    def lanes(self, real: Literal["float", "double"]) -> int:
        """Numbers of a precision in a vector."""
        return self.vector_bytes // (4 if real == "float" else 8)

    @property
    def openmp(self) -> bool:
        return "-fopenmp" in self.flags

    def all_flags(self) -> tuple[str, ...]:
        """The flags, and those of the environment variable SSMC_CXXFLAGS after them."""
        return (*self.flags, *extra_flags())

    @property
    def identity(self) -> str:
        """What compiled code depends on, besides its text."""
        return "\n".join([*self.command, self.version, *self.all_flags(), self.vector, self.machine])


def extra_flags() -> tuple[str, ...]:
    """What the user adds, such as -fsanitize=address."""
    return tuple(shlex.split(os.environ.get("SSMC_CXXFLAGS", "")))


def toolchain() -> Toolchain:
    """The compiler in use. Raises SpecError where none works."""
    found = _found(os.environ.get("CXX", ""), os.environ.get("PATH", ""), str(folders().store))
    if isinstance(found, NoCompiler):
        raise SpecError([found])
    return found


def available() -> bool:
    """Whether C++ can be compiled here."""
    return unavailable() is None


def unavailable() -> NoCompiler | None:
    """Why C++ cannot be compiled here."""
    try:
        found = _found(os.environ.get("CXX", ""), os.environ.get("PATH", ""), str(folders().store))
    except SpecError:  # no folder to try a compiler in
        return NoCompiler(None, ("no folder can be written to",))
    return found if isinstance(found, NoCompiler) else None


@functools.lru_cache(maxsize=8)
def _found(named: str, path: str, store: str) -> Toolchain | NoCompiler:
    """The first candidate that works. The arguments are what the answer depends on, within a process."""
    tried: list[str] = []
    for command in _candidates(named):
        where = shutil.which(command[0], path=path or None)
        if where is None:
            tried.append(f"`{command[0]}` is not found" + (" (it is what $CXX names)" if named else ""))
            continue
        started = (where, *command[1:])
        kept = _kept_file(started, Path(store))
        found = _read(kept) if kept is not None else None
        if found is None:
            answer = _probe(started)
            if isinstance(answer, str):
                tried.append(answer)
                continue
            found = answer
            if kept is not None:
                _keep(found, kept)
        return found
    return NoCompiler(None, tuple(tried))


def _candidates(named: str) -> list[tuple[str, ...]]:
    """Commands to try. A compiler that the user names is the only one: another would be a surprise."""
    words = shlex.split(named)
    return [tuple(words)] if words else [(name,) for name in NAMES]


# -- asking the compiler -------------------------------------------------------------------------------------------


def _probe(command: tuple[str, ...]) -> Toolchain | str:
    """What the compiler can do, or why it is of no use."""
    shown = " ".join(command)
    try:
        version = _run([*command, "--version"])
        with tempfile.TemporaryDirectory(prefix="ssmc-probe-") as scratch:
            chosen: list[str] = []
            for row in ALTERNATIVES:
                for flags in row:
                    done = _try_flags(command, (*chosen, *flags), Path(scratch))
                    if done.returncode == 0:
                        chosen += flags
                        break
                else:
                    said = (done.stderr.strip().splitlines() or ["it says nothing"])[0]
                    return f"`{shown}` compiles no library: {said}"
        macros = _run([*command, *chosen, "-dM", "-E", "-x", "c++", os.devnull])
    except (OSError, subprocess.SubprocessError) as error:
        return f"`{shown}` does not run: {error}"
    first = next((line.strip() for line in version.stdout.splitlines() if line.strip()), "")
    if version.returncode or not first:
        return f"`{shown} --version` fails"
    defined = {words[1] for line in macros.stdout.splitlines() if len(words := line.split()) > 1}
    # not only the first line: distributions build differing compilers of one number
    full = f"{first} {hashlib.sha256(version.stdout.encode()).hexdigest()[:8]}"
    flags = (BASE_FLAGS[0], *chosen, *BASE_FLAGS[1:])
    return Toolchain(command, full, flags, _vector(defined), machine())


def _try_flags(command: tuple[str, ...], flags: tuple[str, ...], scratch: Path) -> subprocess.CompletedProcess[str]:
    source = scratch / "probe.cpp"
    source.write_text(PROBE, encoding="utf-8")
    # errors for what clang only warns of: a flag that it does not know
    return _run([*command, *BASE_FLAGS, *flags, "-Werror", str(source), "-o", str(scratch / "probe.so")])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
        timeout=PROBE_SECONDS, check=False,
    )  # fmt: skip


def _vector(defined: set[str]) -> Vector:
    if {"__AVX512F__", "__AVX512DQ__", "__AVX512VL__", "__AVX512BW__"} <= defined:
        return "avx512"
    if {"__AVX2__", "__FMA__"} <= defined:
        return "avx2"
    if defined & {"__ARM_NEON", "__aarch64__"}:
        return "neon"
    return "plain"


# -- what is kept --------------------------------------------------------------------------------------------------


def _machine() -> str:
    """This machine as far as code compiled for it can tell it from others: a home folder may be shared by several."""
    parts = [platform.machine(), sys.platform]
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            first = file.read(8192).split("\n\n", 1)[0]
        wanted = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features", "CPU part")
        parts += [line for line in first.splitlines() if line.split(":")[0].strip() in wanted]
    except OSError:
        parts.append(platform.processor())
    return f"{platform.machine()} {hashlib.sha256(repr(parts).encode()).hexdigest()[:12]}"


machine = functools.cache(_machine)


def _kept_file(command: tuple[str, ...], store: Path) -> Path | None:
    """Where the answer for a compiler is kept: the file's name says all that it depends on."""
    try:
        real = os.path.realpath(command[0])
        status = os.stat(real)
    except OSError:
        return None
    asked = [FORMAT, *command, real, str(status.st_size), str(status.st_mtime_ns), machine()]
    asked += [os.environ.get(name, "") for name in ("SDKROOT", "MACOSX_DEPLOYMENT_TARGET", "CPATH", "LIBRARY_PATH")]
    return store / f"toolchain-{hashlib.sha256(repr(asked).encode()).hexdigest()[:24]}.json"


def _read(file: Path) -> Toolchain | None:
    """What was kept; None where nothing is, or not whole."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        found = Toolchain(
            tuple(map(str, data["command"])), str(data["version"]), tuple(map(str, data["flags"])),
            data["vector"], str(data["machine"]),
        )  # fmt: skip
        return found if found.vector in VECTOR_BYTES and data["check"] == _check(found) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(found: Toolchain, file: Path) -> None:
    """Keep the answer; a folder that does not take it costs the next process a moment, no more."""
    try:
        handle, fresh = tempfile.mkstemp(prefix=".tmp-", dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump(asdict(found) | {"check": _check(found)}, out)
            os.replace(fresh, file)
        except OSError:
            Path(fresh).unlink(missing_ok=True)
    except OSError:
        pass


def _check(found: Toolchain) -> str:
    return hashlib.sha256(repr(asdict(found)).encode()).hexdigest()
