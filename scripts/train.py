#!/usr/bin/env python3
"""Puts a gateway under the load that the compiler is to build it for, for scripts/dist.sh.

    scripts/train.py BINARY PROFILES [--workers BINARY]

BINARY was built with `-Cprofile-generate`, or counts by BOLT's means, and writes what it counted into the directory PROFILES when it ends. The load is what a gateway
sees: chats that grow by a turn, whole and streamed answers, prompts from a few hundred bytes to 60 kB, scrapes between them. Stand-in
workers answer, with room for all of it and with room for a part. Only the gateway counts: beside what a model computes, the way of a request
would not look worth the trouble.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import signal
import sys
import tempfile
from pathlib import Path

from processes import free_port, running

WORKERS = 4
CHATS = 600
# Bytes of the system messages that chats begin with, and how many chats of each length there are in a hundred.
SYSTEM_BYTES = {200: 30, 1_500: 30, 6_000: 25, 24_000: 10, 60_000: 5}
TURNS = 4
WORDS = "the cache of a worker holds what it has read and whoever asks again waits less unless too many ask at once".split()


def text(chance, length):
    return " ".join(chance.choices(WORDS, k=max(1, length // 5)))


def chats(seed):
    """Bodies of chats that are under way at the same time, in the order in which their turns come."""
    chance = random.Random(seed)
    systems = [text(chance, length) for length, share in SYSTEM_BYTES.items() for _ in range(share)]
    under_way = [[{"role": "system", "content": chance.choice(systems)}] for _ in range(CHATS)]
    for _ in range(TURNS):
        for messages in under_way:
            messages.append({"role": "user", "content": text(chance, chance.randrange(40, 1_200))})
            yield {"model": "emulated", "stream": chance.random() < 0.6, "max_tokens": 12, "messages": messages}
            messages.append({"role": "assistant", "content": text(chance, 300)})


def ask(connection, path, body=None):
    headers = {"content-type": "application/json"} if body else {}
    connection.request("POST" if body else "GET", path, body=body and json.dumps(body), headers=headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        sys.exit(f"{path} was answered with {answer.status}")


def load(port, seed):
    connections = [http.client.HTTPConnection("127.0.0.1", port) for _ in range(16)]
    for nth, body in enumerate(chats(seed)):
        ask(connections[nth % len(connections)], "/v1/chat/completions", body)
        if nth % 400 == 0:
            ask(connections[0], "/metrics")
            ask(connections[0], "/v1/models")


@contextlib.contextmanager
def serving(binary, logs, *arguments, profiles=os.devnull):
    """Runs a service and ends it as an operator would: what it counted is written when it ends."""
    port = free_port()
    command = [binary, *arguments, "--listen", f"127.0.0.1:{port}"]
    log = Path(logs) / f"{arguments[0]}-{port}.log"
    environment = dict(os.environ, LLVM_PROFILE_FILE=profiles, WARMROUTE_LOG="error")
    with running(command, f"http://127.0.0.1:{port}/health", log, environment=environment) as process:
        yield port
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def run_fleet(asked, logs, seed, *options):
    with contextlib.ExitStack() as stack:
        stand_in = [asked.workers or asked.binary, logs, "worker", "--engine", "emulated", "--speed", "0", *options]
        workers = [stack.enter_context(serving(*stand_in)) for _ in range(WORKERS)]
        urls = ",".join(f"http://127.0.0.1:{port}" for port in workers)
        profiles = f"{asked.profiles}/gateway-{seed}.profraw"
        gateway = serving(asked.binary, logs, "gateway", "--worker", urls, profiles=profiles)
        load(stack.enter_context(gateway), seed)


def main():
    parser = argparse.ArgumentParser(description="Puts a gateway under load, to build it for that")
    parser.add_argument("binary")
    parser.add_argument("profiles")
    parser.add_argument("--workers", metavar="BINARY", help="plays the workers, if they must not count at all")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as logs:
        run_fleet(asked, logs, 1)
        run_fleet(asked, logs, 2, "--kv-cache-tokens", "100000")


if __name__ == "__main__":
    main()
