#!/usr/bin/env python3
"""Checks that a report of `warmroute demo --json` shows what the README promises.

    warmroute demo --json > report.json && python3 scripts/check_demo.py report.json [--strict]

Every promise is printed with what was measured. Answers must all be equal, always. The rest depends on who else uses the
machine: by default a figure fails only where it misses its *floor*, which no working router misses; --strict fails on
every promise. Exit code 1 if anything failed.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple


class Promise(NamedTuple):
    what: str
    measured: float
    promised: float
    floor: float
    at_least: bool = True

    def verdict(self):
        meets = (lambda bound: self.measured >= bound) if self.at_least else (lambda bound: self.measured <= bound)
        return "ok" if meets(self.promised) else "missed" if meets(self.floor) else "BROKEN"

    def __str__(self):
        bound = f"{'at least' if self.at_least else 'at most'} {self.promised:g}"
        return f"{self.verdict():7} {self.what}, {bound}: {self.measured:.3f}"


def promises(report):
    """Yields every promise with what this report says of it."""
    rows = {(load["name"], row["policy"]): row for load in report["workloads"] for row in load["policies"]}
    for (workload, policy), row in rows.items():
        equal = min(row["answers_equal"], row["answers"]) / row["requests"]
        yield Promise(f"{workload}, {policy}: share of answers that equal the uncached one", equal, 1.0, 1.0)

    random, aware = rows["desks", "random"], rows["desks", "cache_aware"]
    for key, promised, floor in (("ttft_ms", 5.0, 2.5), ("ttft_warm_ms", 8.0, 4.0)):
        yield Promise(f"desks: {key} of random over cache_aware", random[key]["mean"] / aware[key]["mean"], promised, floor)

    for workload in ("desks", "preamble"):
        row = rows[workload, "cache_aware"]
        yield Promise(f"{workload}: hit rate over the oracle's", row["hit_rate"] / row["oracle_hit_rate"], 0.97, 0.92)
        yield Promise(f"{workload}: busiest worker over mean", row["busiest_over_mean"], 1.25, 1.5, at_least=False)

    all_on_one = rows["preamble", "prefix_hash"]["busiest_over_mean"]
    yield Promise("preamble: prefix_hash's busiest worker over mean", all_on_one, 3.0, 3.0)


def main():
    strict = "--strict" in sys.argv
    report = json.loads(Path(sys.argv[1]).read_text())
    results = list(promises(report))
    print(*results, sep="\n")
    failing = {"BROKEN", "missed"} if strict else {"BROKEN"}
    sys.exit(1 if any(promise.verdict() in failing for promise in results) else 0)


if __name__ == "__main__":
    main()
