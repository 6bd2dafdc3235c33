#!/usr/bin/env python3
"""Real engines behind the gateway: is what it predicts of their caches what they report?

Usage: scripts/engines/run.py [--warmroute FILE] [--requests N] [--seed N] [--open N] [--at-once N] [--adapter] [--json] ENGINE...

ENGINE is `vllm` (two replicas of its CPU build, KV events and replay on), `warmroute` (two of our CPU workers, the same) or
`llama.cpp` (its server, which publishes nothing, so that the gateway keeps a shadow). All serve SmolLM2-135M-Instruct with caches small
enough to evict. setup.py installs what is missing; vLLM takes 6 GB of disk and 10 GB of memory.

Exit code 0 if every engine kept its promise, 1 if one did not, 2 for wrong usage.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
sys.path.append(str(HERE.parent))
import setup  # noqa: E402
from processes import free_port, running  # noqa: E402
from traffic import Traffic  # noqa: E402

MODEL, ADAPTER = "smollm2", "smollm2-adapted"
# vLLM on a CPU takes a minute to start when it has the machine to itself.
START_PATIENCE_S = 600
# Requests after which a shadow must have learned how large the cache is.
LEARNING = 100


def vllm(flags):
    """The command of a replica, its port, its worker table for the gateway and its environment."""
    python, model = setup.vllm()
    port, events, replay = free_port(), free_port(), free_port()
    published = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": f"tcp://127.0.0.1:{events}",
        "replay_endpoint": f"tcp://127.0.0.1:{replay}",
        "topic": f"kv@127.0.0.1:{port}@{MODEL}",
    }
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--served-model-name", MODEL]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--max-model-len", "2048", "--enforce-eager"]
    command += ["--max-num-seqs", "4", "--block-size", "32", "--num-gpu-blocks-override", "80", "--enable-prefix-caching"]
    command += ["--prefix-caching-hash-algo", "sha256_cbor", "--enable-prompt-tokens-details"]
    command += ["--kv-events-config", json.dumps(published)]
    if flags.adapter:
        command += ["--enable-lora", "--max-lora-rank", "8", "--lora-modules", f"{ADAPTER}={setup.adapter()}"]
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    # Its publisher connects where the address is a plain one, so the gateway listens there.
    table = {"kv_events": f"tcp://*:{events}", "kv_replay": f"tcp://127.0.0.1:{replay}"}
    return command, port, table, environment


def own(flags):
    port, events, replay = free_port(), free_port(), free_port()
    addresses = [f"tcp://127.0.0.1:{one}" for one in (events, replay)]
    command = [flags.warmroute, "worker", "--listen", f"127.0.0.1:{port}", "--model", setup.gguf(), "--alias", MODEL]
    command += ["--kv-cache-tokens", "2560", "--kv-events", addresses[0], "--kv-replay", addresses[1]]
    return command, port, {"kv_events": addresses[0], "kv_replay": addresses[1]}, {}


def llama_cpp(_):
    port = free_port()
    command = [setup.llama_server(), "-m", setup.gguf(), "--alias", MODEL, "--host", "127.0.0.1", "--port", str(port)]
    command += ["-np", "2", "-c", "4096", "-t", "1"]
    return command, port, {}, {}


# By name: how to start one, how many, tokens in a block, and whether its events are exact.
ENGINES = {"vllm": (vllm, 2, 32, True), "warmroute": (own, 2, 16, True), "llama.cpp": (llama_cpp, 1, 16, False)}


def settings(tables, block, tokenizer):
    """The gateway's file."""
    lines = []
    for table in tables:
        lines += ["[[workers]]", *(f"{name} = {json.dumps(value)}" for name, value in table.items())]
    lines += ["[[models]]", f'name = "{MODEL}"', f"tokenizer = {json.dumps(str(tokenizer))}", f"block_tokens = {block}"]
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def fleet(name, flags, logs):
    """The engines and a gateway before them; yields the gateway's URL."""
    start, count, block, _ = ENGINES[name]
    with contextlib.ExitStack() as stack:
        tables = []
        for number in range(count):
            command, port, table, environment = start(flags)
            tables.append({"url": f"http://127.0.0.1:{port}", **table})
            log = logs / f"{name}-{number}.log"
            health = f"http://127.0.0.1:{port}/health"
            stack.enter_context(running(command, health, log, START_PATIENCE_S, {**os.environ, **environment}))
            print(f"{name} {number} is up", file=sys.stderr, flush=True)
        config = logs / f"{name}.toml"
        config.write_text(settings(tables, block, setup.gguf()))
        port = free_port()
        command = [flags.warmroute, "gateway", "--listen", f"127.0.0.1:{port}", "--config", config]
        url = f"http://127.0.0.1:{port}"
        stack.enter_context(running(command, url + "/readyz", logs / f"{name}-gateway.log", 60))
        yield url


class Chat:
    """OpenAI's chats."""

    path = "/v1/chat/completions"

    def body(messages):
        return {"messages": messages, "max_tokens": 8}

    def read(answer):
        """The answer's text, and the prompt's tokens and those of them that were cached."""
        usage = answer["usage"]
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        return answer["choices"][0]["message"]["content"], usage["prompt_tokens"], cached


class Messages:
    """Anthropic's messages."""

    path = "/v1/messages"

    def body(messages):
        system, *others = messages
        return {"system": system["content"], "messages": others, "max_tokens": 8}

    def read(answer):
        usage = answer["usage"]
        cached = usage.get("cache_read_input_tokens") or 0
        text = "".join(block.get("text", "") for block in answer["content"])
        return text, usage["input_tokens"] + cached + (usage.get("cache_creation_input_tokens") or 0), cached


class Responses:
    """OpenAI's responses."""

    path = "/v1/responses"

    def body(messages):
        system, *others = messages
        return {"instructions": system["content"], "input": others, "max_output_tokens": 8, "store": False}

    def read(answer):
        usage = answer["usage"]
        said = [part["text"] for item in answer["output"] if item["type"] == "message" for part in item["content"]]
        return "".join(said), usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]


APIS = {"chat": Chat, "messages": Messages, "responses": Responses}


def ask(url, api, model, messages):
    """The answer's text, and what was predicted and reported of its prompt."""
    body = {"model": model, "temperature": 0, **api.body(messages)}
    request = urllib.request.Request(url + api.path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as response:
        text, prompt, cached = api.read(json.load(response))
        header = lambda name: int(response.headers.get(f"x-warmroute-{name}") or 0)  # noqa: E731
        predicted, counted, worker = header("overlap-tokens"), header("prompt-tokens"), response.headers["x-warmroute-worker"]
    return text, {"predicted": predicted, "cached": cached, "counted": counted, "prompt": prompt, "worker": worker}


def play(url, flags):
    """All requests, at most `at_once` at a time, and what became of each, in the order of their ends."""
    traffic, turn, done = Traffic(flags.seed, flags.requests, flags.open), threading.Lock(), []

    def client():
        while True:
            with turn:
                conversation = traffic.next()
            if conversation is None:
                return
            # Every other conversation is with the adapter: the same texts, and nothing of theirs may be shared.
            model = ADAPTER if flags.adapter and conversation.number % 2 else MODEL
            text, told = ask(url, APIS[flags.api], model, conversation.messages)
            with turn:
                traffic.answered(conversation, text)
                done.append(told)
                if len(done) % 50 == 0:
                    print(f"{len(done)} of {flags.requests}", file=sys.stderr, flush=True)

    clients = [threading.Thread(target=client) for _ in range(flags.at_once)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    return done


def fates(url):
    """What became of the prompts' tokens, by the gateway's count."""
    with urllib.request.urlopen(url + "/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    told = [line.rsplit(" ", 1) for line in lines if line.startswith("warmroute_routed_prompt_tokens_total{")]
    return {re.search('fate="(.*?)"', labels)[1]: int(value) for labels, value in told}


def judged(name, done, fate, flags):
    """What the requests say, and whether the promise was kept."""
    exact = ENGINES[name][3]
    equal = sum(one["predicted"] == one["cached"] for one in done)
    late = done if exact else done[LEARNING:]
    sums = {key: sum(one[key] or 0 for one in late) for key in ("predicted", "cached", "prompt")}
    verdict = {
        "engine": name,
        "requests": len(done),
        "lost": flags.requests - len(done),
        "equal": equal / max(1, len(done)),
        "tokenized_alike": sum(one["counted"] == one["prompt"] for one in done) / max(1, len(done)),
        "predicted_over_reported": sums["predicted"] / max(1, sums["cached"]),
        "cached_over_prompt": sums["cached"] / max(1, sums["prompt"]),
        "fate": fate,
        "by_worker": {worker: sum(one["worker"] == worker for one in done) for worker in sorted({one["worker"] for one in done})},
    }
    right = verdict["equal"] >= (0.99 if name == "vllm" else 1) if exact else abs(verdict["predicted_over_reported"] - 1) <= 0.05
    verdict["kept"] = bool(right and not verdict["lost"])
    return verdict


def shown(verdict, seconds):
    print(f"{verdict['engine']}: {verdict['requests']} requests in {seconds:.0f} s, {verdict['lost']} lost, by worker {verdict['by_worker']}")
    print(f"  predicted = reported cached tokens   {verdict['equal']:.1%} of requests")
    print(f"  predicted / reported, all together   {verdict['predicted_over_reported']:.3f}")
    print(f"  our prompt tokens = the engine's     {verdict['tokenized_alike']:.1%} of requests")
    print(f"  cached / prompt tokens               {verdict['cached_over_prompt']:.1%}")
    print(f"  prompt tokens by fate                {', '.join(f'{fate} {tokens}' for fate, tokens in verdict['fate'].items())}")
    print("  ok" if verdict["kept"] else "  NOT as promised", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="+", choices=ENGINES, metavar="ENGINE")
    parser.add_argument("--warmroute", type=pathlib.Path, default=REPOSITORY / "target/release/warmroute")
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--open", type=int, default=40, help="conversations that are open at any time: more of them need more cache")
    parser.add_argument("--at-once", type=int, default=1)
    parser.add_argument("--api", choices=APIS, default="chat", help="our worker has chats only")
    parser.add_argument("--adapter", action="store_true", help="every other conversation is with an adapter (LoRA); vLLM only")
    parser.add_argument("--json", action="store_true", help="verdicts as JSON lines, with every request")
    flags = parser.parse_args()
    logs = pathlib.Path(tempfile.mkdtemp(prefix="warmroute-engines-"))
    print(f"logs are in {logs}", file=sys.stderr)
    kept = True
    for name in flags.engines:
        with fleet(name, flags, logs) as url:
            begun = time.monotonic()
            done = play(url, flags)
            fate = fates(url)
        verdict = judged(name, done, fate, flags)
        if flags.json:
            print(json.dumps({**verdict, "done": done}))
        else:
            shown(verdict, time.monotonic() - begun)
        kept &= verdict["kept"]
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
