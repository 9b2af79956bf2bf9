"""What someone asks of the schedules of a spec, in place of what the rules of schedule.py would choose.

    {"lane": "N", "grid": ["D"], "chunk": 32}             every pass of the forward and of its backward that can
    {"backward": {"lane": "N"}, "forward.2": {"grid": []}}   of one program; of one pass, as `ssmc explain` counts them

`lane` is an axis or "none", `grid` the axes shared among threads besides the batch, `vectors` how many vectors of the
lane a cell takes where that is shared, `steps` how many steps it takes where there is no recurrence, and `chunk` the
length of the chunks of time, of the forward and with it of the backward.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ssmc.backends.cpp.problems import BadSchedule, CannotBeScheduled

from ssmc.diagnostics import SpecError
from ssmc.step.nodes import StepGraph

Role = Literal["forward", "backward"]
ROLES: tuple[Role, ...] = ("forward", "backward")
NONE = "none"
BY_RULES = "rules"
MOST = {"vectors": 32, "steps": 64, "chunk": 1 << 20}


@dataclass(frozen=True)
class Wish:
    """What is asked of one pass; None leaves it to the rules. The `lane` "none" is none; the `grid` () is the batch."""

    lane: str | None = None
    grid: tuple[str, ...] | None = None
    vectors: int | None = None
    steps: int | None = None

    def over(self, other: Wish) -> Wish:
        """This wish, and the other's where this one says nothing."""
        pairs = ((f.name, getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Wish(**{name: b if a is None else a for name, a, b in pairs})

    def axes(self) -> tuple[tuple[str, str], ...]:
        """(what for, axis) of each axis that is named."""
        lane = [("lane", self.lane)] if self.lane not in (None, NONE) else []
        return (*((x, str(a)) for x, a in lane), *(("grid", a) for a in self.grid or ()))

    def within(self, lanes: Sequence[str], shared: Sequence[str]) -> Wish:
        """What of it a pass can have."""
        lane = self.lane if self.lane in (None, NONE, *lanes) else None
        grid = self.grid if self.grid is None or set(self.grid) <= set(shared) else None
        return Wish(lane, grid, self.vectors, self.steps)

    def told(self) -> dict[str, Any]:
        """As the user writes it."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in given.items() if v is not None}


RULES = Wish()


@dataclass(frozen=True)
class Part:
    """A wish for all passes of the programs of `roles` (`number` 0), or for one pass of them."""

    roles: tuple[Role, ...]
    number: int
    wish: Wish


@dataclass(frozen=True)
class Wishes:
    """All that is asked of a spec's schedules: `by_rules`, that the rules decide, whatever was tuned; `soft`, that
    what cannot be had is left out without a word. `why` is told beside them: who asks."""

    parts: tuple[Part, ...] = ()
    chunk: int | None = None
    by_rules: bool = False
    soft: bool = field(default=False, compare=False)
    why: str = field(default="", compare=False)

    def __bool__(self) -> bool:
        return bool(self.parts) or self.chunk is not None or self.by_rules

    def of(self, role: Role | None) -> PassWishes:
        """Those for one program; None is a program that nobody asks for, a tangent or a second derivative."""
        own = [p for p in self.parts if role in p.roles]
        # the unnamed ones need not fit a backward, which nobody who wrote them has seen
        must = tuple(p for p in own if not self.soft and (role == "forward" or p.roles == ("backward",)))
        return PassWishes(tuple(sorted(own, key=lambda p: (-p.number, len(p.roles)))), must)

    def told(self) -> Any:
        """As the user writes it."""
        if self.by_rules:
            return BY_RULES
        out: dict[str, Any] = {}
        for p in self.parts:
            where = "" if p.roles == ROLES else p.roles[0] + (f".{p.number}" if p.number else "")
            if where:
                out[where] = p.wish.told()
            else:
                out |= p.wish.told()
        return out | ({"chunk": self.chunk} if self.chunk is not None else {})


@dataclass(frozen=True)
class PassWishes:
    """What is asked of the passes of one program; `must` are those parts that have to fit somewhere."""

    parts: tuple[Part, ...] = ()
    must: tuple[Part, ...] = ()

    def for_pass(self, number: int) -> Wish:
        found = RULES
        for p in self.parts:
            if p.number in (0, number):
                found = found.over(p.wish)
        return found


NOTHING = Wishes()


# -- reading ---------------------------------------------------------------------------------------------------------


def wishes_of(asked: Any) -> Wishes:
    """What a user writes: None, a dictionary as above, or "rules" for what the rules choose. Raises SpecError."""
    if asked is None:
        return NOTHING
    if isinstance(asked, str) and asked == BY_RULES:
        return Wishes(by_rules=True, why="by rules, as asked for")
    if isinstance(asked, Wishes):
        return asked
    if not isinstance(asked, Mapping):
        raise _bad('is a dictionary, as {"lane": "N", "chunk": 64}, or "rules"')
    parts: list[Part] = []
    general: dict[str, Any] = {}
    for key, value in asked.items():
        place = re.fullmatch(r"(forward|backward)(?:\.([1-9][0-9]{0,3}))?", key) if isinstance(key, str) else None
        if place is None:
            general[key] = value
            continue
        if not isinstance(value, Mapping):
            raise _bad(f'gives `{key}` {value!r}; it is a dictionary, as {{"lane": "N"}}')
        role: Role = "forward" if place[1] == "forward" else "backward"
        if "chunk" in value and not (role == "forward" and place[2] is None):
            raise _bad("has one `chunk` for the forward and its backward: it stands beside them")
        chunk = value.get("chunk")
        if chunk is not None:
            general["chunk"] = chunk
        wish = _wish({k: v for k, v in value.items() if k != "chunk"})
        parts.append(Part((role,), int(place[2] or 0), wish))
    chunk = _count("chunk", general.pop("chunk", None))
    if general:
        parts.insert(0, Part(ROLES, 0, _wish(general)))
    return Wishes(tuple(p for p in parts if p.wish != RULES), chunk, why="asked for")


def _wish(given: Mapping[Any, Any]) -> Wish:
    known = [f.name for f in fields(Wish)]
    for key in given:
        if key not in known:
            places = "forward, backward, forward.1 and the like"
            raise _bad(f"has no `{key}`; it has {', '.join(known)}, chunk, and {places}")
    lane, grid = given.get("lane"), given.get("grid")
    if lane is not None and not isinstance(lane, str):
        raise _bad(f'gives the lane {lane!r}; it is an axis, or "none"')
    if isinstance(grid, str):
        grid = () if grid == NONE else (grid,)
    if grid is not None and not (isinstance(grid, Sequence) and all(isinstance(a, str) for a in grid)):
        raise _bad(f"gives the grid {given.get('grid')!r}; it is a list of axes")
    return Wish(
        lane, None if grid is None else tuple(dict.fromkeys(grid)), _count("vectors", given.get("vectors")),
        _count("steps", given.get("steps")),
    )  # fmt: skip


def _count(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST[name]:
        raise _bad(f"gives `{name}` {value!r}; it is an integer from 1 to {MOST[name]}")
    return value


def _bad(why: str) -> SpecError:
    return SpecError([BadSchedule(None, why)])


# -- what cannot be had ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Legal:
    """What a pass can have: axes as lanes, and axes that threads share."""

    number: int
    title: str
    lanes: tuple[str, ...]
    shared: tuple[str, ...]


def check(graph: StepGraph, spec: str, wishes: PassWishes, passes: Sequence[Legal]) -> None:
    """Raise SpecError for what has to fit, and fits no pass. `passes` are those of the program with a recurrence."""
    for part in wishes.must:
        mine = [p for p in passes if part.number in (0, p.number)]
        if not mine:
            if part.number:
                numbers = ", ".join(str(p.number) for p in passes) or "none"
                raise _bad(f"names the pass {part.number} of `{spec}`; the passes with a recurrence are: {numbers}")
            continue
        for what, axis in part.wish.axes():
            if not any(axis in (p.lanes if what == "lane" else p.shared) for p in mine):
                raise SpecError([_problem(graph, spec, what, axis, mine)])
        grid = part.wish.grid
        if grid and not any(set(grid) <= set(p.shared) for p in mine):
            why = f"shares {', '.join(f'`{a}`' for a in grid)} among threads: no pass of `{spec}` can share all of them"
            raise _bad(why)


def _problem(graph: StepGraph, spec: str, what: str, axis: str, passes: Sequence[Legal]) -> CannotBeScheduled:
    own = {a.name: a.span for a in graph.axes}
    known = tuple(dict.fromkeys(a for p in passes for a in (p.lanes if what == "lane" else p.shared)))
    if axis not in own:
        why = f"`{spec}` has no such axis"
    elif what == "lane":
        why = "nothing that its steps compute has this axis"
    else:
        why = "a step needs what other indices of it have, a sum over them for instance"
    names = tuple(a for a in known if own.get(a) is not None) or known
    return CannotBeScheduled(own.get(axis), axis, {"lane": "lanes", "grid": "threads"}[what], why, names)
