#!/usr/bin/env python3
"""Checks that a report of `warmroute demo --json` shows what the README promises.

    warmroute demo --json > report.json && python3 scripts/check_demo.py report.json

Ratios within one run, never absolute times: those depend on the machine. Exit code 1 if any promise is broken, after
naming them all.
"""

import json
import sys
from pathlib import Path

WARM_SPEEDUP = 8.0  # mean time to first token, once each system prompt has been seen
SPEEDUP = 5.0  # the same over the whole run
SHARE_OF_ORACLE = 0.97  # of the hit rate of one cache that forgets nothing
BALANCE = 1.25  # requests of the busiest worker over the mean
ALL_ON_ONE = 2.99  # the same when one of three workers gets everything


def checks(report):
    """Yields (what, measured, whether it is as promised)."""
    rows = {(load["name"], row["policy"]): row for load in report["workloads"] for row in load["policies"]}
    for (workload, policy), row in rows.items():
        answered = f"{row['answers_equal']} of {row['requests']}"
        equal = row["answers_equal"] == row["answers"] == row["requests"]
        yield f"{workload}, {policy}: all answers equal the uncached answer", answered, equal

    random, aware = rows["desks", "random"], rows["desks", "cache_aware"]
    for key, least in (("ttft_ms", SPEEDUP), ("ttft_warm_ms", WARM_SPEEDUP)):
        ratio = random[key]["mean"] / aware[key]["mean"]
        yield f"desks: {key} of random over cache_aware, at least {least}", f"{ratio:.2f}", ratio >= least

    for workload in ("desks", "preamble"):
        row = rows[workload, "cache_aware"]
        share, balance = row["hit_rate"] / row["oracle_hit_rate"], row["busiest_over_mean"]
        yield f"{workload}: hit rate over the oracle's, at least {SHARE_OF_ORACLE}", f"{share:.3f}", share >= SHARE_OF_ORACLE
        yield f"{workload}: busiest worker over mean, at most {BALANCE}", f"{balance:.2f}", balance <= BALANCE

    balance = rows["preamble", "prefix_hash"]["busiest_over_mean"]
    yield "preamble: prefix_hash sends everything to one worker", f"{balance:.2f}", balance >= ALL_ON_ONE


def main():
    report = json.loads(Path(sys.argv[1]).read_text())
    results = list(checks(report))
    for what, measured, promised in results:
        print(f"{'ok    ' if promised else 'BROKEN'}  {what}: {measured}")
    sys.exit(0 if all(promised for _, _, promised in results) else 1)


if __name__ == "__main__":
    main()
