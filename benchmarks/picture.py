"""The comparison as a picture, from the record that `benchmarks.peers --json` writes.

    python -m benchmarks.picture RECORD.json PICTURE.svg

A panel a workload and direction, a bar a side, the shortest first; times on a logarithmic axis.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.workloads.base import BACKWARD, FORWARD
from ssmc.runtime.timing import milliseconds as told

OURS, THEIRS, EASIER = "#c2410c", "#64748b", "#cbd5e1"
BAR, TITLE, WIDTH = 0.24, 0.75, 11.0  # inches


def draw(record: Mapping[str, Any], where: Path) -> None:
    """Write the picture; the ending of `where` says as what. Raises ImportError where matplotlib is missing."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    panels = [
        (f"{name}, {direction}", found[direction])
        for name, found in record["workloads"].items()
        for direction in (FORWARD, BACKWARD)
        if direction in found
    ]
    if not panels:
        return
    rows = [panels[at : at + 2] for at in range(0, len(panels), 2)]
    heights = [TITLE + BAR * max(len(panel["sides"]) for _, panel in row) for row in rows]
    figure, places = pyplot.subplots(
        len(rows), 2, figsize=(WIDTH, sum(heights)), height_ratios=heights, squeeze=False, layout="constrained"
    )
    for axes, panel in zip(places.flat, panels, strict=False):
        _panel(axes, *panel)
    for axes in list(places.flat)[len(panels) :]:
        axes.set_visible(False)
    machine = record["machine"]
    where_taken = f"{machine.get('processor', '')}, {machine['threads']} threads, float32"
    figure.suptitle(f"milliseconds, medians of interleaved runs; {where_taken}", fontsize=9)
    where.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(where, dpi=150)
    pyplot.close(figure)


def _panel(axes: Any, title: str, found: Mapping[str, Any]) -> None:
    sides = sorted(found["sides"].items(), key=lambda side: -side[1]["median"])
    times = [side["median"] * 1e3 for _, side in sides]
    colours = [OURS if s["ours"] else EASIER if s["unranked"] or s["wrong"] else THEIRS for _, s in sides]
    axes.barh(range(len(sides)), times, color=colours, height=0.75)
    axes.set_xscale("log")
    axes.xaxis.set_minor_formatter("")
    least = found["least"] * 1e3 if "least" in found else min(times)
    axes.set_xlim(min(*times, least) / 2, max(times) * 4)
    axes.set_yticks(range(len(sides)), [name for name, _ in sides], fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_title(title, fontsize=8, loc="left")
    for at, (milliseconds, (_, side)) in enumerate(zip(times, sides, strict=True)):
        ratio = side["faster than it"]
        label = f" {told(milliseconds / 1e3)}" + (f"  ({ratio:.1f} x)" if side["ours"] and ratio else "")
        label += "  wrong" if side["wrong"] else ""
        axes.text(milliseconds, at, label, va="center", fontsize=7)
    if "least" in found:
        axes.axvline(least, color="black", linewidth=0.8, linestyle=":")
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.picture RECORD.json PICTURE.svg")
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
