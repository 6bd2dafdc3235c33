#!/usr/bin/env python3
"""Reads the KV events that our workers publish with the library and the structures that vLLM reads them with.

    cargo run -p warmroute-kv --example kv_messages | python3 scripts/check_kv_events.py      (needs msgspec)
    python3 scripts/check_kv_events.py --replay tcp://127.0.0.1:5558 --form map               (needs pyzmq too; a worker that runs)

The structures repeat vLLM's names, order and types (vllm/distributed/kv_events.py): lists as in 0.23, maps as in 0.28. msgspec
refuses a message with a missing field or another type.
"""

import argparse
import sys
from typing import Any

import msgspec


def structures(as_list):
    """vLLM's batch of events, in the form before 0.24 or after."""

    class KVCacheEvent(msgspec.Struct, array_like=as_list, omit_defaults=True, tag=True):
        pass

    class BlockStored(KVCacheEvent):
        block_hashes: list[bytes | int]
        parent_block_hash: bytes | int | None
        token_ids: list[int]
        block_size: int
        lora_id: int | None
        medium: str | None
        lora_name: str | None
        extra_keys: list[tuple[Any, ...] | None] | None = None
        group_idx: int | None = None
        kv_cache_spec_kind: str | None = None
        kv_cache_spec_sliding_window: int | None = None

    class BlockRemoved(KVCacheEvent):
        block_hashes: list[bytes | int]
        medium: str | None
        group_idx: int | None = None

    class AllBlocksCleared(KVCacheEvent):
        pass

    class KVEventBatch(msgspec.Struct, array_like=True, omit_defaults=True):
        ts: float
        events: list[BlockStored | BlockRemoved | AllBlocksCleared]
        data_parallel_rank: int | None = None

    adapter = "an-adapter-whose-name-is-longer-than-31-bytes"
    tokens = [place**3 * 997 for place in range(32)]
    two = [2**64 - 1, 7]
    return KVEventBatch, [
        BlockStored(two, 300, tokens, 16, None, "GPU", None),
        BlockStored(two, None, tokens, 16, 3, "CPU", adapter, None, 1, "full_attention"),
        BlockRemoved([7], "GPU"),
        BlockRemoved([7, 70_000], "CPU", 1),
        AllBlocksCleared(),
    ]


def replayed(address):
    """Everything that a worker still has, by number."""
    import zmq

    socket = zmq.Context.instance().socket(zmq.DEALER)
    socket.setsockopt(zmq.RCVTIMEO, 10_000)
    socket.connect(address)
    socket.send_multipart([b"", (0).to_bytes(8, "big")])
    while True:
        _, _, number, payload = socket.recv_multipart()
        if number == b"\xff" * 8:
            return
        yield int.from_bytes(number, "big"), payload


def check_worker(address, form):
    batch, _ = structures(form == "array")
    held, messages, counts = set(), 0, {}
    for number, payload in replayed(address):
        read = msgspec.msgpack.decode(payload, type=batch)
        # Lists that msgspec writes have all their defaults at the end; readers do without.
        if form == "map" and msgspec.msgpack.encode(read) != payload:
            sys.exit(f"message {number}: vLLM would write {read} otherwise")
        for event in read.events:
            kind = type(event).__name__
            counts[kind] = counts.get(kind, 0) + 1
            if kind == "BlockStored":
                if len(event.token_ids) != len(event.block_hashes) * event.block_size:
                    sys.exit(f"message {number}: {event} has not the tokens of its blocks")
                held.update(event.block_hashes)
            elif kind == "BlockRemoved":
                held.difference_update(event.block_hashes)
            else:
                held.clear()
        messages += 1
    if not messages:
        sys.exit(f"{address} has nothing to replay; hint: send the worker a prompt of more than one block first")
    print(f"{form}: {messages} messages read, {counts}; {len(held)} blocks are held")


def main():
    flags = argparse.ArgumentParser(description="Reads our KV events as vLLM does")
    flags.add_argument("--replay", help="where a worker replays its events; without it, messages come from stdin")
    flags.add_argument("--form", choices=["map", "array"], default="map")
    flags = flags.parse_args()
    if flags.replay:
        return check_worker(flags.replay, flags.form)
    forms = {"array": (True, 2), "map": (False, None)}
    for line in sys.stdin:
        form, message = line.split()
        as_list, rank = forms.pop(form)
        batch, events = structures(as_list)
        read = msgspec.msgpack.decode(bytes.fromhex(message), type=batch)
        meant = batch(1.5, events, rank)
        if read != meant:
            sys.exit(f"{form}: published {meant}\nread {read}")
        print(f"{form}: {len(events)} events read as they were meant")
    if forms:
        sys.exit(f"no message in these forms: {', '.join(forms)}")


if __name__ == "__main__":
    main()
