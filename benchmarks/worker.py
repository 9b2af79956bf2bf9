"""A side of a comparison in a process of its own, which answers when it is asked.

Thread pools, allocators and compilers of different packages do not meet in one process; one that hangs or crashes is
left out, and the others go on. The process is a fork of this one, which has torch loaded but has started no threads.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.oracle import Expected
from benchmarks.workloads.base import FORWARD, Runs
from ssmc.runtime.timing import seconds_of

# threads of the side before spin a while after their work is done
PAUSE = 0.01


class Lost(Exception):
    """The side did not do what it was asked; the message says why."""


class Worker:
    """`prepare` is called in the new process. Raises Lost wherever a question is not answered."""

    def __init__(self, prepare: Callable[[], Runs], truth: Expected | None, threads: int, limit: float) -> None:
        self.limit = limit
        fork = multiprocessing.get_context("fork")
        self.pipe, theirs = fork.Pipe()
        self.process = fork.Process(target=_serve, args=(theirs, prepare, truth, threads), daemon=True)
        self.process.start()
        theirs.close()
        self.directions: tuple[str, ...] = self._answer("prepare")

    def check(self, direction: str) -> tuple[float, str, float]:
        """The seconds of the first call, and what is furthest from the oracle, and how far."""
        return self.ask("check", direction)  # type: ignore[no-any-return]

    def seconds(self, direction: str, count: int) -> float:
        time.sleep(PAUSE)
        return self.ask("time", direction, count)  # type: ignore[no-any-return]

    def ask(self, *question: Any) -> Any:
        try:
            self.pipe.send(question)
        except OSError:
            raise Lost("its process has ended") from None
        return self._answer(str(question[0]))

    def _answer(self, what: str) -> Any:
        if not self.pipe.poll(self.limit):
            self.close()
            raise Lost(f"no answer to `{what}` within {self.limit:.0f} s")
        try:
            ok, value = self.pipe.recv()
        except EOFError:
            self.process.join(5)
            raise Lost(f"its process ended, status {self.process.exitcode}") from None
        if not ok:
            raise Lost(value)
        return value

    @property
    def alive(self) -> bool:
        return self.process.is_alive()

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, prepare: Callable[[], Runs], truth: Expected | None, threads: int) -> None:
    torch.set_num_threads(threads)
    ready: dict[str, Callable[[], Any]] = {}

    def answer(what: str, direction: str = "", count: int = 1) -> Any:
        match what:
            case "prepare":
                ready.update(prepare().by_direction())
                return tuple(ready)
            case "check":
                return _checked(ready[direction], direction, truth)
            case _:
                return seconds_of(ready[direction], count)

    question: tuple[Any, ...] = ("prepare",)
    try:
        while True:
            try:
                pipe.send((True, answer(*question)))
            except Exception as error:
                first = (str(error).strip().splitlines() or [""])[0]
                pipe.send((False, f"{type(error).__name__}: {first}"))
            question = pipe.recv()
    except EOFError:
        pass
    finally:
        # threads of a package that hang must not keep the process
        os._exit(0)


def _checked(run: Callable[[], Any], direction: str, truth: Expected | None) -> tuple[float, str, float]:
    start = time.perf_counter()
    found = run()
    taken = time.perf_counter() - start
    assert truth is not None
    errors = differences(found, direction, truth)
    worst = max(errors, key=lambda what: errors[what])
    return taken, worst, errors[worst]


def differences(found: Any, direction: str, truth: Expected) -> Mapping[str, float]:
    """How far each output, or each gradient, is from the oracle's."""
    if direction == FORWARD:
        outputs = found if isinstance(found, tuple) else (found,)
        pairs = {f"output {n}": pair for n, pair in enumerate(zip(outputs, truth.outputs, strict=False))}
    else:
        pairs = {f"gradient of {k}": (x, truth.gradients[k]) for k, x in found.items()}
    return {what: _distance(a, b) for what, (a, b) in pairs.items()}


def _distance(found: Any, truth: Tensor) -> float:
    """The largest difference as a part of the largest magnitude, as is the error of sums in single precision."""
    a = found.detach() if isinstance(found, Tensor) else torch.from_numpy(np.asarray(found).copy())
    if a.shape != truth.shape:
        return float("inf")
    off = (a - truth).abs().max().item() / (truth.abs().max().item() or 1.0)
    return off if off == off else float("inf")
