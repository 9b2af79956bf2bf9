"""The workloads of the project, through the public call, beside their peers.

    python -m benchmarks.peers [W2 W5 …] [--backend cpp] [--rounds 5] [--threads 2] [--json FILE] [--picture FILE]

A peer that is not installed is left out, with a line that says so. Everything is compared with the oracle before it is
timed. Ratios are of medians of one interleaved run.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def options() -> argparse.Namespace:
    made = argparse.ArgumentParser(description="The workloads, through the public call, beside their peers.")
    made.add_argument("names", nargs="*", metavar="WORKLOAD", help="some of them (all): W1a W1b W2 …")
    made.add_argument("--backend", action="append", metavar="NAME", help="of ssmc; may be repeated (all there are)")
    made.add_argument("--form", metavar="FORM", help="of ssmc, in place of the plan's choice")
    made.add_argument("--rounds", type=int, default=7, help="runs of each case (7); slow cases have fewer")
    made.add_argument("--threads", type=int, default=2, help="of every side (2)")
    made.add_argument("--budget", type=float, default=25.0, help="seconds that one table's timed runs should take (25)")
    made.add_argument("--only", choices=("forward", "backward"), help="one of the two directions")
    made.add_argument("--peer", action="append", metavar="TEXT", help="only the peers whose name has this; repeatable")
    made.add_argument("--no-peers", action="store_true", help="ssmc alone")
    made.add_argument("--no-ssmc", action="store_true", help="the peers alone")
    made.add_argument("--limit", type=float, default=150.0, help="seconds that any one answer of a side may take (150)")
    made.add_argument("--slow", action="store_true", help="the slow peers too")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the record there too")
    made.add_argument("--picture", type=Path, metavar="FILE", help="draw the comparison there (.png, .svg, .pdf)")
    return made.parse_args()


def main() -> None:
    given = options()
    # before torch, jax or numba start threads of their own
    threads = str(given.threads)
    os.environ |= {"OMP_NUM_THREADS": threads, "NUMBA_NUM_THREADS": threads}
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[: given.threads])
    from benchmarks.compare import run

    sys.exit(run(given))


if __name__ == "__main__":
    main()
