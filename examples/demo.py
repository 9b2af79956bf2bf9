"""The demonstration that `make demo` runs.

1. Compile `mamba.ssm` to PyTorch code, and print why it runs as it does.
2. Find the beats in a recording of a pulse with `pulse.ssm`, on the command line.
3. Keep the last two seconds of the same recording in 48 numbers with `lmu.ssm`, from Python, and get them back.

The recording is `data2.csv` of the heartpy package (P. van Gent et al., 2019, doi:10.1016/j.trf.2019.09.015; the wheel
carries an MIT licence): the optical pulse sensor of a person, 15,000 samples at 117 a second. At first the sensor hangs
loose; it sits still from about second 50 on.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray

import ssmc

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HERE = Path(__file__).resolve().parent
ORDER = 48  # Legendre coefficients that the memory keeps
WINDOW = 2.0  # seconds that they stand for
SETTLED = 50  # seconds until the sensor sits still

Array = NDArray[np.float64]


def recording() -> tuple[Path, Array, float]:
    """The file, its samples, and how many there are a second. heartpy itself is not imported."""
    found = importlib.util.find_spec("heartpy")
    if found is None or not found.submodule_search_locations:
        raise SystemExit(
            "the recording is in the heartpy package: `make demo` installs it, or pip install 'ssmc[demo]'"
        )
    path = Path(found.submodule_search_locations[0]) / "data" / "data2.csv"
    with path.open(newline="") as file:
        rows = [(float(row["timer"]), float(row["hr"])) for row in csv.DictReader(file)]
    milliseconds = rows[-1][0] - rows[0][0]
    return path, np.array([sample for _, sample in rows]), 1000 * (len(rows) - 1) / milliseconds


def command(*words: str | Path) -> None:
    """Print a command line and run it; paths as seen from here."""
    line = [word if isinstance(word, str) else os.path.relpath(word) for word in words]
    print(f"\n$ ssmc {shlex.join(line)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "ssmc", *line], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def remember(samples: Array, rate: float) -> Array:
    """The LMU's coefficients after every step, `(L, ORDER)`, computed in two pieces: the state goes on."""
    memory = ssmc.load(HERE / "lmu.ssm")
    u = torch.from_numpy(samples - samples.mean()).reshape(-1, 1)
    options = {"theta": torch.tensor([WINDOW * rate], dtype=torch.float64), "sizes": {"N": ORDER}}
    half = len(u) // 2
    first, state = memory(u=u[:half], **options, return_state=True)
    second = memory(u=u[half:], **options, state=state)
    return np.asarray(torch.cat([first, second])[:, 0])


def recall(coefficients: Array, rate: float) -> Array:
    """The window that the coefficients stand for, oldest sample first: a sum of shifted Legendre polynomials."""
    steps = round(WINDOW * rate)
    age = (np.arange(steps)[::-1] + 0.5) / steps
    return np.asarray(np.polynomial.legendre.legval(2 * age - 1, coefficients), dtype=np.float64)


def spectral_rate(samples: Array, rate: float) -> float:
    """Beats a minute by another way: the strongest frequency between 0.5 and 1.8 Hz."""
    spectrum = np.abs(np.fft.rfft((samples - samples.mean()) * np.hanning(len(samples))))
    hertz = np.fft.rfftfreq(len(samples), 1 / rate)
    inside = (hertz > 0.5) & (hertz < 1.8)
    return float(60 * hertz[inside][np.argmax(spectrum[inside])])


def recall_errors(samples: Array, coefficients: Array, rate: float, ends: list[int]) -> list[float]:
    """The root mean square error of the window before each end, relative to the samples' deviation there."""
    steps, mean = round(WINDOW * rate), samples.mean()
    errors = []
    for end in ends:
        true = samples[end - steps : end] - mean
        errors.append(float(np.sqrt(np.mean((recall(coefficients[end - 1], rate) - true) ** 2)) / true.std()))
    return errors


def print_table(samples: Array, beats: Array, coefficients: Array, rate: float) -> None:
    """Beats and recall for each quarter of a minute since the sensor sits still."""
    print("\n  seconds   beats   a minute (median)   a minute (spectrum)   error of the recalled windows")
    every = int(15 * rate)
    for start in range(int(SETTLED * rate), len(samples) - every + 1, every):
        inside = np.flatnonzero(beats[start : start + every])
        minute = 60 * rate / np.median(np.diff(inside))
        spectrum = spectral_rate(samples[start : start + every], rate)
        ends = list(range(start + every // 3, start + every, every // 3))
        error = np.mean(recall_errors(samples, coefficients, rate, ends))
        span = f"{start / rate:4.0f}-{(start + every) / rate:3.0f}"
        print(f"  {span:8}  {len(inside):5}   {minute:17.1f}   {spectrum:19.1f}   {error:29.1%}")


def draw(path: Path, samples: Array, run: dict[str, Array], coefficients: Array, rate: float) -> None:
    """The recording, the detector's states, and one recalled window."""
    seconds = np.arange(len(samples)) / rate
    figure, (whole, detector, window) = plt.subplots(3, 1, figsize=(11, 9), layout="constrained")
    whole.plot(seconds, samples, lw=0.6, color="0.3")
    whole.plot(seconds, run["baseline"], lw=1, color="tab:orange", label="baseline")
    whole.set(title="the recording, and its baseline", xlabel="seconds", ylabel="sensor")
    part = slice(int(55 * rate), int(75 * rate))
    detector.plot(seconds[part], run["height"][part], lw=0.9, color="0.3", label="height over the baseline")
    detector.plot(seconds[part], run["envelope"][part], lw=1, color="tab:blue", label="envelope")
    at = np.flatnonzero(run["beat"][part]) + part.start
    detector.plot(seconds[at], run["height"][at], "v", color="tab:red", label="beat")
    detector.set(title="pulse.ssm: twenty seconds of it", xlabel="seconds", ylim=(-120, 180))
    steps, end = round(WINDOW * rate), part.start + int(10 * rate)
    shown = slice(end - steps, end)
    window.plot(seconds[shown], samples[shown], lw=1.5, color="0.3", label="recorded")
    recalled = recall(coefficients[end - 1], rate) + samples.mean()
    window.plot(seconds[shown], recalled, lw=1, color="tab:red", label=f"from {ORDER} numbers")
    window.set(title="lmu.ssm: the last two seconds, recalled from the state", xlabel="seconds")
    for axes in (whole, detector, window):
        axes.legend(loc="upper left", ncols=3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("demo-out"), help="where the files go")
    out: Path = parser.parse_args().out
    command("compile", HERE / "mamba.ssm", "-o", out / "mamba")
    command("explain", HERE / "mamba.ssm", "--size", "D=1536", "--size", "N=16", "--size", "R=48")

    path, samples, rate = recording()
    command("check", HERE / "pulse.ssm", HERE / "lmu.ssm")
    command("run", HERE / "pulse.ssm", "--input", f"x={os.path.relpath(path)}:hr", "-o", out / "pulse.npz")
    with np.load(out / "pulse.npz") as archive:
        run = {name: archive[name] for name in archive.files}
    coefficients = remember(samples, rate)
    print_table(samples, run["beat"], coefficients, rate)
    draw(out / "pulse.png", samples, run, coefficients, rate)
    print(f"\nthe picture: {out / 'pulse.png'}; Mamba as PyTorch code: {out / 'mamba'}")


if __name__ == "__main__":
    main()
