"""What is asked of the schedules of a spec: by its user, else what `ssmc bench --tune` found at its sizes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssmc.backends.cpp.wishes import PassWishes, Role, Wishes
    from ssmc.plan.machines import Machine

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Scheduling:
    """Of the programs of one graph. `key` is the spec's, `axes` those that it declares; `asked` comes before what was
    tuned. `role`: which of the spec's programs they are, if one that anybody asks for."""

    key: str
    axes: tuple[str, ...]
    asked: Wishes
    role: Role | None = "forward"

    def wishes(self, sizes: Sizes | None, threads: int | None = None) -> Wishes:
        """Everything that is asked, at some sizes (None: at any), for so many threads (as many as a call now has)."""
        if self.asked or sizes is None or self.role is None:
            return self.asked
        from ssmc.backends.cpp.tuned import tuned

        own = {a: s for a, s in sizes.items() if a in self.axes}
        return tuned(self.key, own, threads or threads_now()) or self.asked

    def passes(self, sizes: Sizes | None) -> PassWishes:
        """What is asked of the passes of a program. A backward may be a part of what the user has seen."""
        found = self.wishes(sizes).of(self.role)
        return found if self.role == "forward" else replace(found, must=())

    def chunk(self, sizes: Sizes, threads: int | None = None) -> int:
        """The length of the chunks of time; 0 leaves it to the plan. A backward's is its forward's."""
        return self.wishes(sizes, threads).chunk or 0 if self.role == "forward" else 0

    def derived(self, backward: bool) -> Scheduling:
        """Of the programs of a derivative."""
        return replace(self, role="backward" if backward and self.role == "forward" else None)


def threads_now() -> int:
    """How many threads a call has: torch's, or as many as are of use where that is not loaded."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    from ssmc.backends.cpp.constants import constants

    return constants().threads


def machine_here(threads: int | None = None) -> Machine:
    """The machine that plans for generated C++ are made for: this one, as far as it is known."""
    from ssmc.backends.cpp.constants import constants

    return constants().machine(threads)
