"""Bounded memos that threads share, and the one lock under which anything is compiled. Without torch."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import RLock
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

# One thread compiles at a time: making a plan or a program adds to the spec's table of expressions, and Python's `ast`
# (3.11) fails in two threads at once.
COMPILING = RLock()


class Recent(OrderedDict[K, V]):
    """A bounded memo that threads share: the least recently used entry goes first."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def get(self, key: K, make: Callable[[], V]) -> V:  # type: ignore[override]
        try:
            found = self[key]
            self.move_to_end(key)
            return found
        except KeyError:  # never there, or dropped by another thread just now
            pass
        with COMPILING:
            if key not in self:
                self[key] = make()
            value = self[key]
            while len(self) > self.most:
                self.popitem(last=False)
        return value
