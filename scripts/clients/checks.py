"""One line for each check of a client: `ok` or `failed` with the reason; exit code 1 if any has failed."""

import os
import sys
import traceback
import urllib.request

GATEWAY = os.environ.get("WARMROUTE_URL", "http://127.0.0.1:8000")
ECHO = os.environ.get("WARMROUTE_ECHO_URL", "")
WORKERS = [url for url in os.environ.get("WARMROUTE_WORKER_URLS", "").split(",") if url]
MODEL = "emulated"
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather at a place; \u00e4\u00f6\u00fc \U0001f327",
        "parameters": {
            "type": "object",
            "properties": {"place": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
            "required": ["place"],
            "additionalProperties": False,
        },
    },
}

_checks = []


def check(sentence):
    """Declares a check; it fails by raising."""

    def declare(function):
        _checks.append((sentence, function))
        return function

    return declare


def raises(kind, act):
    """The error of that kind that the act must raise."""
    try:
        answer = act()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected, but the answer was {answer!r:.200}")


class Fault:
    """All workers, or these, fail in this way while it lasts."""

    def __init__(self, order, workers=None):
        self.order, self.workers = order.encode(), workers or WORKERS

    def __enter__(self):
        self._tell("POST", self.order)

    def __exit__(self, *_):
        self._tell("DELETE", None)

    def _tell(self, method, body):
        for worker in self.workers:
            urllib.request.urlopen(urllib.request.Request(f"{worker}/faults", data=body, method=method), timeout=5).close()


def main(client):
    """Runs what was declared."""
    failed = 0
    for sentence, function in _checks:
        try:
            function()
            print(f"ok      {client}: {sentence}", flush=True)
        except Exception as error:
            failed += 1
            place = traceback.extract_tb(error.__traceback__)[-1]
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"failed  {client}: {sentence}: {reason:.400} (line {place.lineno} of {os.path.basename(place.filename)})", flush=True)
    sys.exit(1 if failed else 0)
