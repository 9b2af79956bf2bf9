"""Graphs of names: ways from one to another, and circles. (Importing networkx would take longer than all of build.)"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


def path_to(start: str, goal: str, edges: Mapping[str, Iterable[str]]) -> list[str] | None:
    """The shortest way from `start` to `goal` of at least one edge, both ends included."""
    came: dict[str, str] = {}
    queue = [start]
    while queue:
        here = queue.pop(0)
        for to in edges.get(here, ()):
            if to == goal:
                path = [to, here]
                while path[-1] != start:
                    path.append(came[path[-1]])
                return path[::-1]
            if to not in came and to != start:
                came[to] = here
                queue.append(to)
    return None


def circles(edges: Mapping[str, Iterable[str]]) -> list[set[str]]:
    """The sets of names that all depend on each other (strongly connected, more than one name)."""
    order: list[str] = []
    seen: set[str] = set()
    for start in edges:
        stack = [(start, False)]
        while stack:
            here, left = stack.pop()
            if left:
                order.append(here)
            elif here not in seen:
                seen.add(here)
                stack.append((here, True))
                stack.extend((to, False) for to in edges.get(here, ()))
    back: dict[str, list[str]] = {}
    for here, targets in edges.items():
        for to in targets:
            back.setdefault(to, []).append(here)
    found: list[set[str]] = []
    placed: set[str] = set()
    for root in reversed(order):
        circle: set[str] = set()
        waiting = [root]
        while waiting:
            here = waiting.pop()
            if here not in placed:
                placed.add(here)
                circle.add(here)
                waiting.extend(back.get(here, ()))
        if len(circle) > 1:
            found.append(circle)
    return found
