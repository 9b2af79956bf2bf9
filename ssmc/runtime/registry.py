"""Specs by name, for traced graphs: these hold text and tensors, and find their spec again by the hash of what it says.

Without torch. A spec is known as long as somebody has it; one that a trace has met is kept, for the graph may outlive
the caller's own reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from ssmc.api import Compiled

_KNOWN: WeakValueDictionary[str, Compiled] = WeakValueDictionary()
_KEPT: dict[str, Compiled] = {}


def enter(key: str, compiled: Compiled) -> None:
    """From now on `compiled` is what `key` means; two of one key say the same."""
    _KNOWN[key] = compiled


def spec_of(key: str) -> Compiled:
    """The spec of a key, kept from now on. LookupError where this process has not read it."""
    found = _KEPT.get(key) or _KNOWN.get(key)
    if found is None:
        name = key.partition("@")[0]
        raise LookupError(f"the graph was traced with the spec `{name}` ({key}): load it first, with `ssmc.load`")
    return _KEPT.setdefault(key, found)
