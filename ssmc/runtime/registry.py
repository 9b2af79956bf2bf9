"""Specs by name, for traced graphs: these hold text and tensors, and find their spec again by the hash of what it says.

Without torch. A spec is known as long as somebody has it; one that a trace has met is kept, for the graph may outlive
the caller's own reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from ssmc.api import Compiled

# All that have a key: the one that came last may go before the others do.
_KNOWN: dict[str, list[ref[Compiled]]] = {}
_KEPT: dict[str, Compiled] = {}


def enter(key: str, compiled: Compiled) -> None:
    """From now on `compiled` is what `key` means; two of one key say the same."""
    _KNOWN[key] = [*(x for x in _KNOWN.get(key, ()) if x() is not None), ref(compiled)]


def spec_of(key: str) -> Compiled:
    """The spec of a key, kept from now on. LookupError where this process has not read it."""
    alive = [x() for x in _KNOWN.get(key, ())]
    found = _KEPT.get(key) or next((x for x in reversed(alive) if x is not None), None)
    if found is None:
        name = key.partition("@")[0]
        raise LookupError(f"the graph was traced with the spec `{name}` ({key}): load it first, with `ssmc.load`")
    return _KEPT.setdefault(key, found)
