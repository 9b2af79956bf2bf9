"""C++ drivers for the support code: each function in loops over vectors and over numbers, called through ctypes."""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ssmc.backends.cpp.library_text import names, support_text

Array = Any

COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
FLAGS = ("-std=c++17", "-fno-math-errno", "-ffp-contract=fast", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function")
PLAIN = "-march=x86-64" if platform.machine() in ("x86_64", "AMD64") else "-O2"


@dataclass(frozen=True)
class Build:
    """A precision, a number of lanes, and the machine to compile for."""

    real: Literal["float", "double"]
    lanes: int
    machine: str

    @property
    def dtype(self) -> type:
        return np.float32 if self.real == "float" else np.float64

    @property
    def complex(self) -> type:
        return np.complex64 if self.real == "float" else np.complex128

    def __str__(self) -> str:
        return f"{self.real}{self.lanes}"


BUILDS = (
    Build("float", 16, "-march=native"),
    Build("double", 8, "-march=native"),
    Build("float", 4, PLAIN),
    Build("double", 2, PLAIN),
)

UNARY = (
    "exp2", "log2", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "abs", "sign", "real", "imag", "conj", "angle",
    "sin", "cos", "tan", "tanh", "sigmoid", "logsigmoid", "silu", "gelu", "relu", "softplus", "elu", "erf", "floor",
    "round",
)  # fmt: skip
BINARY = ("pow", "mod", "min", "max", "logaddexp")
COMPLEX = ("exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "sign", "conj", "sin", "cos", "tan", "tanh")

POWERS = {
    "0": 0,
    "1": 1,
    "2": 2,
    "3": 3,
    "4": 4,
    "m1": -1,
    "m2": -2,
    "m3": -3,
    "m4": -4,
    "half": 0.5,
    "root": -0.5,
    "e": 2.7,
}


@dataclass(frozen=True)
class Driver:
    build: Build
    library: ctypes.CDLL

    def call(self, name: str, *args: Array) -> Array:
        """The function over whole arrays, their length a multiple of LANES."""
        arrays = [np.ascontiguousarray(a) for a in args]
        assert len(arrays[0]) % self.build.lanes == 0
        out = np.empty_like(arrays[0])
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (out, *arrays)]
        getattr(self.library, name)(*pointers, ctypes.c_int64(len(out)))
        return out


def loops(name: str, code: str, operands: int, kind: str = "real") -> str:
    """`v_name` over vectors and `s_name` over numbers of a kind."""
    args = "xyz"[:operands]
    declared = ", ".join(f"const {kind} *{a}" for a in args)
    text = ""
    for prefix, step, put, get in (
        ("v", "LANES", "store(o + i, {})", "load({} + i)"),
        ("s", "1", "o[i] = {}", "{}[i]"),
    ):
        value = put.format(code.format(*(get.format(a) for a in args)))
        head = f'extern "C" void {prefix}_{name}({kind} *o, {declared}, i64 n)'
        text += f"{head} {{\n    for (i64 i = 0; i < n; i += {step}) {value};\n}}\n"
    return text


def functions() -> str:
    parts = [loops(name, f"m_{name}({{}})", 1) for name in UNARY]
    parts += [loops(name, f"m_{name}({{}}, {{}})", 2) for name in BINARY]
    for name, power in POWERS.items():
        parts.append(loops(f"power_{name}", f"m_pow({{}}, real({power}))", 1))
        parts.append(loops(f"c_power_{name}", f"m_pow({{}}, m_complex(real({power})))", 1, "cx<real>"))
    parts += [loops(f"c_{name}", f"m_{name}({{}})", 1, "cx<real>") for name in COMPLEX]
    for k in range(4):
        parts.append(loops(f"phi{k}", f"m_phi<{k}>({{}})", 1))
        parts.append(loops(f"c_phi{k}", f"m_phi<{k}>({{}})", 1, "cx<real>"))
    for name, code in (("mul", "{} * {}"), ("div", "{} / {}"), ("pow", "m_pow({}, {})")):
        parts.append(loops(f"c_{name}", code, 2, "cx<real>"))
    for name in ("abs", "angle", "real", "imag"):
        parts.append(loops(f"c_{name}", f"m_complex(m_{name}({{}}))", 1, "cx<real>"))
    return "\n".join(parts)


def compiled(text: str, target: Path, *flags: str) -> Path:
    """A shared library of a C++ text, by the flags of generated code."""
    source, library = target.with_suffix(".cpp"), target.with_suffix(".so")
    source.write_text(text)
    assert COMPILER is not None
    command = [COMPILER, *FLAGS, "-fPIC", "-shared", *flags, "-o", str(library), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[:4000]
    return library


def driver(build: Build, folder: Path) -> Driver:
    text = support_text(names(), build.real, build.lanes) + functions()
    return Driver(build, ctypes.CDLL(str(compiled(text, folder / str(build), "-O2", build.machine))))
