#!/usr/bin/env python3
"""Runs each client that people use against a fleet of emulated workers behind the gateway, and says what works.

Usage: scripts/clients/run.py [--warmroute FILE] [CLIENT...]

Clients come from PyPI and npm into a cache directory (WARMROUTE_CLIENTS_CACHE), hey from Debian where oha is not on the path. Exit
code 0 if every check was ok, 1 if one has failed, 2 for wrong usage, 3 if a client could not be had and nothing has failed.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.append(str(HERE.parent))
from processes import free_port, running  # noqa: E402

CACHE = pathlib.Path(
    os.environ.get("WARMROUTE_CLIENTS_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "warmroute-clients"
)
# Pinned, so that a red check is about us.
PYPI = ["openai==3.57.0", "anthropic==2.14.0", "litellm==1.110.2", "langchain-openai==1.7.4", "aiperf==0.13.0"]
NPM = ["openai@6.49.0"]


class Missing(Exception):
    """A client that cannot be had here."""


def python_with(packages):
    """The interpreter of an environment that holds these packages."""
    home = CACHE / "venv"
    python, mark = home / "bin" / "python", home / "installed"
    if mark.exists() and mark.read_text() == "\n".join(packages):
        return python
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    # aiperf needs a hundred packages: pip takes minutes for them, uv seconds.
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"]
    uv = [home / "bin" / "uv", "pip", "install", "--quiet", "--python", python]
    if any(subprocess.run(command).returncode != 0 for command in (pip, [*uv, *packages])):
        raise Missing("the packages could not be installed from PyPI")
    mark.write_text("\n".join(packages))
    return python


def node_modules(packages):
    """A directory with these packages from npm."""
    home = CACHE / "node"
    home.mkdir(parents=True, exist_ok=True)
    if not shutil.which("npm"):
        raise Missing("there is no npm here")
    (home / "package.json").write_text('{"private": true}')
    if subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], cwd=home).returncode != 0:
        raise Missing("the packages could not be installed from npm")
    return home


@contextlib.contextmanager
def fleet(warmroute):
    """Two emulated workers and a worker that echoes, each kind behind a gateway of its own; yields the clients' environment."""
    with contextlib.ExitStack() as stack:

        def start(name, command, path="/health"):
            port = free_port()
            log = CACHE / f"{name}.log"
            stack.enter_context(running([*command(port)], f"http://127.0.0.1:{port}{path}", log))
            return f"http://127.0.0.1:{port}"

        def worker(port):
            listen = ["--listen", f"127.0.0.1:{port}"]
            return [warmroute, "worker", "--engine", "emulated", "--speed", "0", "--allow-fault-injection", *listen]

        def gateway(*workers):
            return lambda port: [warmroute, "gateway", "--listen", f"127.0.0.1:{port}", "--worker", ",".join(workers)]

        workers = [start(f"worker-{number}", worker) for number in range(2)]
        echo = start("echo", lambda port: [sys.executable, HERE / "echo.py", str(port)])
        yield {
            **os.environ,
            "WARMROUTE_URL": start("gateway", gateway(*workers), "/readyz"),
            "WARMROUTE_ECHO_URL": start("gateway-echo", gateway(echo), "/readyz"),
            "WARMROUTE_WORKER_URLS": ",".join(workers),
        }


def script(name):
    """A client whose checks are a Python file."""

    def run(environment):
        return subprocess.run([python_with(PYPI), HERE / name], env=environment).returncode

    return run


def anthropic(environment):
    """Only where the gateway serves Anthropic's API."""
    request = urllib.request.Request(environment["WARMROUTE_URL"] + "/v1/messages", data=b"{}", method="POST")
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError as error:
        if error.code == 404 and b"unknown_url" in error.read():
            raise Missing("this gateway does not serve /v1/messages") from None
    return script("anthropic_python.py")(environment)


def node(environment):
    return subprocess.run(["node", HERE / "openai_node.mjs", node_modules(NPM)], env=environment).returncode


def told(client, sentence, reason):
    """One line in the form of the others; the exit code."""
    print(f"ok      {client}: {sentence}" if not reason else f"failed  {client}: {sentence}: {reason}", flush=True)
    return 1 if reason else 0


def aiperf(environment):
    """A benchmark of 40 streamed requests with shared prefixes, four at a time."""
    python = python_with(PYPI)
    # litellm's wheel carries the tokenizers' files, so that nothing is downloaded.
    where = "import litellm, os; print(os.path.join(os.path.dirname(litellm.__file__), 'litellm_core_utils', 'tokenizers'))"
    ask = subprocess.run([python, "-c", where], capture_output=True, text=True, env={**environment, "LITELLM_LOCAL_MODEL_COST_MAP": "True"})
    out = CACHE / "aiperf"
    shutil.rmtree(out, ignore_errors=True)
    command = [python.parent / "aiperf", "profile", "-m", "emulated", "--url", environment["WARMROUTE_URL"]]
    command += ["--endpoint-type", "chat", "--streaming", "--tokenizer", "builtin", "--request-count", "40", "--concurrency", "4"]
    command += ["--num-prefix-prompts", "4", "--prefix-prompt-length", "128", "--isl", "64", "--osl", "16"]
    command += ["--ui", "none", "--no-gpu-telemetry", "--workers-max", "2", "--artifact-dir", out]
    log = CACHE / "aiperf.log"
    with open(log, "w") as file:
        environment = {**environment, "TIKTOKEN_CACHE_DIR": ask.stdout.strip()}
        code = subprocess.run(command, env=environment, stdout=file, stderr=file).returncode
    reports = sorted(out.rglob("profile_export_aiperf.json"))
    if code != 0 or not reports:
        return told("aiperf", "runs", f"exit code {code}; hint: its output is in aiperf.log of the cache")
    report = json.loads(reports[0].read_text())
    count = report.get("request_count", {}).get("avg")
    errors = report.get("error_request_count", {}).get("avg") or len(report.get("error_summary") or [])
    return told("aiperf", "40 streamed requests without an error", None if count == 40 and not errors else f"{count} done, {errors} errors")


def load(environment):
    """oha, or hey where there is none: 2,000 requests on 16 connections, every one with 200."""
    url = environment["WARMROUTE_URL"] + "/v1/chat/completions"
    body = json.dumps({"model": "emulated", "max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]})
    common = ["-n", "2000", "-c", "16", "-T", "application/json", "-d", body]
    if oha := shutil.which("oha"):
        run = subprocess.run([oha, "-m", "POST", *common, "--no-tui", "--output-format", "json", url], capture_output=True, text=True)
        codes = json.loads(run.stdout or "{}").get("statusCodeDistribution", {})
        return told("oha", "2,000 requests, all 200", None if codes == {"200": 2000} else f"{codes} {run.stderr:.200}")
    hey = shutil.which("hey")
    if not hey and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "--yes", "--quiet", "--quiet", "--no-install-recommends", "hey"]
        subprocess.run(install, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, stdout=subprocess.DEVNULL)
        hey = shutil.which("hey")
    if not hey:
        raise Missing("neither oha nor hey is here")
    run = subprocess.run([hey, "-m", "POST", *common, url], capture_output=True, text=True)
    well = "[200]\t2000 responses" in run.stdout and "Error distribution" not in run.stdout
    return told("hey (no oha here)", "2,000 requests, all 200", None if well else run.stdout[-300:].replace("\n", " "))


CLIENTS = {
    "openai": script("openai_python.py"),
    "openai-node": node,
    "anthropic": anthropic,
    "litellm": script("litellm_python.py"),
    "langchain": script("langchain_python.py"),
    "aiperf": aiperf,
    "load": load,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR") or REPOSITORY / "target")
    parser.add_argument("--warmroute", default=target / "release" / "warmroute", help="the binary [target/release/warmroute]")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=", ".join(CLIENTS))
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.clients if name not in CLIENTS]:
        parser.error(f"no such client: {', '.join(unknown)}; hint: {', '.join(CLIENTS)}")
    if not pathlib.Path(arguments.warmroute).is_file():
        parser.error(f"there is no {arguments.warmroute}; hint: cargo build --release --bin warmroute")
    CACHE.mkdir(parents=True, exist_ok=True)
    failed, missing = [], []
    for name in arguments.clients or CLIENTS:
        try:
            # A fleet for each, so that no client sees what another has left.
            with fleet(arguments.warmroute) as environment:
                if CLIENTS[name](environment) != 0:
                    failed.append(name)
        except Missing as reason:
            missing.append(name)
            print(f"left out {name}: {reason}", flush=True)
    print(f"{'failed: ' + ', '.join(failed) if failed else 'all ok'}{'; left out: ' + ', '.join(missing) if missing else ''}")
    sys.exit(1 if failed else 3 if missing else 0)


if __name__ == "__main__":
    main()
