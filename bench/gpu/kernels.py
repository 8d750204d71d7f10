"""Sums the times of kernels in the runtime's profile log: `kernels.py LOG`."""

import collections
import re
import sys

UNITS = {"s": 1.0, "ms": 1e-3, "\u00b5s": 1e-6, "us": 1e-6, "ns": 1e-9}
LINE = re.compile(r"\|\s*([\d.]+)(s|ms|\u00b5s|us|ns)\s*\|\s*(.+)")

seconds: dict[str, float] = collections.defaultdict(float)
counts: dict[str, int] = collections.defaultdict(int)
with open(sys.argv[1], encoding="utf-8", errors="replace") as log:
    for line in log:
        if found := LINE.search(line):
            name = re.sub(r"\s+", " ", found[3].strip())[:110]
            seconds[name] += float(found[1]) * UNITS[found[2]]
            counts[name] += 1
total = sum(seconds.values())
print(f"{total:.4f} s in {sum(counts.values())} launches of {len(counts)} kernels")
for name in sorted(seconds, key=seconds.get, reverse=True)[:60]:
    print(f"{seconds[name]:.4f} s {counts[name]:6} {name}")
