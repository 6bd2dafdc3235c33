#!/usr/bin/env python3
"""Sends the gateway's traces to an OpenTelemetry collector, and looks at what it has read.

    python3 -m venv target/rotel && target/rotel/bin/pip install rotel==0.0.1a15     (needs libpython3.11)
    python3 scripts/check_otlp.py --collector target/rotel [--warmroute target/debug/warmroute]

The collector is Rotel, which the Python package carries as a program. It refuses what is no OTLP and writes the spans it took to its log,
where names, ids and attributes are looked at. One of two workers fails, so that requests have two attempts.
"""

import argparse
import contextlib
import glob
import json
import re
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from processes import free_port, running

ASKED = 4
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def flags():
    parser = argparse.ArgumentParser(description="Checks traces with an OpenTelemetry collector")
    parser.add_argument("--collector", required=True, help="virtual environment that has the package rotel")
    parser.add_argument("--warmroute", default="target/debug/warmroute", help="the binary")
    return parser.parse_args()


def program(environment):
    found = glob.glob(f"{environment}/lib/python3*/site-packages/rotel/rotel-agent")
    return found[0] if found else sys.exit(f"{environment} has no rotel-agent; hint: pip install rotel==0.0.1a15 there")


@contextlib.contextmanager
def collecting(binary, log):
    """Runs the collector; where it listens."""
    address = f"127.0.0.1:{free_port()}"
    command = [binary, "start", "--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"]
    command += ["--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}", "--otlp-http-endpoint", address]
    # It has no page that says it is up, but takes a batch of nothing.
    empty = urllib.request.Request(
        f"http://{address}/v1/traces", data=b'{"resourceSpans": []}', headers={"content-type": "application/json"}
    )
    with running(command, empty, log):
        yield f"http://{address}"


def ask(url, body, headers):
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        answer.read()
        return answer.status


def spans(log):
    """What the collector has read, a dictionary for each span."""
    read = []
    for text in log.read_text(errors="replace").split("\nSpan #")[1:]:
        fields = re.findall(r"^ +(?:-> )?([\w. ]+?) *: (.*)$", text, re.MULTILINE)
        read.append({name: re.sub(r"^\w+\((.*)\)$", r"\1", value) for name, value in fields})
    return read


def until_all_came(log, patience_s=15):
    """The spans, once those of all requests are there; a request's own come together."""
    end = time.monotonic() + patience_s
    while sum(span["Parent ID"] == PARENT for span in spans(log)) < ASKED:
        if time.monotonic() > end:
            sys.exit(f"{len(spans(log))} spans have come:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)
    return spans(log)


def check(read):
    """Each request is a span within the client's, and each decision and attempt is one within its request."""
    requests = [span for span in read if span["Parent ID"] == PARENT]
    inner = [span for span in read if span["Parent ID"] in {request["ID"] for request in requests}]
    attempts = [span for span in inner if span["Name"] == "attempt"]
    statuses = sorted(span["http.response.status_code"] for span in attempts)
    found = len(requests), len(inner) - len(attempts), {span["Trace ID"] for span in read}
    if found != (ASKED, ASKED, {TRACE}) or len(requests) + len(inner) != len(read):
        sys.exit(f"this is not what was asked: {read}")
    if statuses.count("200") != ASKED or set(statuses) != {"200", "500"}:
        sys.exit(f"the attempts are not those that were made: {statuses}")
    print(f"{len(read)} spans of one trace were read: {ASKED} requests, {ASKED} decisions, attempts with {statuses}")


def main():
    given = flags()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        log = scratch / "collector.log"
        endpoint = stack.enter_context(collecting(program(given.collector), log))
        workers = []
        for faults in (["--fault", "status_500"], []):
            address = f"127.0.0.1:{free_port()}"
            command = [given.warmroute, "worker", "--engine", "emulated", "--listen", address, *faults]
            stack.enter_context(running(command, f"http://{address}/health", scratch / "worker.log"))
            workers.append(f"http://{address}")
        address = f"127.0.0.1:{free_port()}"
        command = [given.warmroute, "gateway", "--listen", address, "--policy", "round_robin"]
        command += ["--otlp-endpoint", endpoint, "--worker", ",".join(workers)]
        stack.enter_context(running(command, f"http://{address}/readyz", scratch / "gateway.log"))
        headers = {"content-type": "application/json", "traceparent": f"00-{TRACE}-{PARENT}-01"}
        for _ in range(ASKED):
            ask(f"http://{address}/v1/completions", {"model": "emulated", "prompt": "Once", "max_tokens": 4}, headers)
        check(until_all_came(log))


main()
