"""Processes that a script starts for its own use: each on a free port, waited for until it answers, and ended with the script."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until_up(process, url, patience_s=10):
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"{process.args[0]} has ended with {process.returncode}")
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=1).close()
            return
        time.sleep(0.05)
    sys.exit(f"{url} does not answer within {patience_s} s")


@contextlib.contextmanager
def running(command, url, log, patience_s=10, environment=None):
    with open(log, "w") as file:
        # In a group of its own: vLLM has children that would outlive it.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True
        )
    try:
        until_up(process, url, patience_s)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
